"""Forecasts of a series: how good, how sure, and that nothing that a series can do makes them fail."""

from __future__ import annotations

import math
import random

import pytest

from models.base import ModelError
from models.forecast import Forecaster

STEP_S = 300.0
DAY_S = 86_400.0
DAY = 288


def rhythm(steps: int, *, seed: int = 3, level: float = 100.0, noise: float = 2.0) -> list[float]:
    """A daily wave of ±10 with noise."""
    draw = random.Random(seed)
    return [level + 10 * math.sin(2 * math.pi * at / DAY) + draw.gauss(0, noise) for at in range(steps)]


def daily(*horizons: int, **options: object) -> Forecaster:
    return Forecaster(horizons or (1, 6, 12), season_s=DAY_S, step_s=STEP_S, **options)  # type: ignore[arg-type]


def show(forecaster: Forecaster, values: list[float]) -> Forecaster:
    for value in values:
        forecaster.learn_one(value)
    return forecaster


def test_nothing_is_said_before_a_first_error_is_known() -> None:
    forecaster = daily(1, 3)
    assert forecaster.forecasts() == ()
    show(forecaster, [5.0])
    assert forecaster.forecasts() == ()
    show(forecaster, [6.0])
    assert [each.horizon for each in forecaster.forecasts()] == [1]
    show(forecaster, [6.0, 6.0])
    assert [each.horizon for each in forecaster.forecasts()] == [1, 3]


def test_a_rhythm_with_noise_is_forecast_better_than_by_the_day_before() -> None:
    forecaster = show(daily(), rhythm(14 * DAY))
    for horizon in forecaster.horizons:
        quality = forecaster.quality(horizon)
        # Of two independent errors the difference is 1.41 times one of them.
        assert 0.7 < quality.relative < 0.82
        assert quality.mase == pytest.approx(quality.relative, rel=0.02)
        assert 0.88 < quality.coverage < 0.92
        assert quality.worst_coverage > 0.86


@pytest.mark.parametrize("cut", [0, 1, 13, 287, 288, 400, 1_000])
def test_a_round_trip_goes_on_identically(cut: int) -> None:
    values = rhythm(cut + 400)
    values[cut + 5 : cut + 8] = [math.nan, math.inf, 1e6]
    forecaster = show(daily(), values[:cut])
    raw = forecaster.to_bytes()
    restored = Forecaster.from_bytes(raw)
    assert restored.to_bytes() == raw
    for value in values[cut:]:
        assert restored.forecasts() == forecaster.forecasts()
        restored.learn_one(value)
        forecaster.learn_one(value)
    assert restored.to_bytes() == forecaster.to_bytes()


def test_bytes_that_are_no_forecaster_are_refused() -> None:
    raw = show(daily(), rhythm(500)).to_bytes()
    for odd in (b"", b"\x01", b"\x80\x04N.", raw[: len(raw) // 2]):
        with pytest.raises(ModelError):
            Forecaster.from_bytes(odd)
