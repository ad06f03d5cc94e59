"""Forecasts of a series: how good, how sure, and that nothing that a series can do makes them fail."""

from __future__ import annotations

import math
import random
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.base import ModelError
from models.forecast import GOLDEN, HALF, Forecaster
from models.forecast_members import MEMBERS, USUAL, Member

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


def test_a_season_that_costs_nothing_to_know_is_forecast_without_an_error() -> None:
    wave = [10 * math.sin(2 * math.pi * at / DAY) for at in range(5 * DAY)]
    forecaster = show(daily(), wave)
    for horizon in forecaster.horizons:
        quality = forecaster.quality(horizon)
        # Apart from the first ones, that were said before it was known.
        assert quality.mae < 0.01
        assert quality.coverage > 0.99


def test_a_week_is_learned_beside_the_day() -> None:
    """Weekends are another world: what was a day ago says little of a Saturday."""
    draw = random.Random(4)
    hours = [(50.0 if at // 24 % 7 < 5 else 10.0) + draw.gauss(0, 1) for at in range(24 * 7 * 8)]
    day, both = (
        show(Forecaster([6], season_s=seasons, step_s=3_600), hours) for seasons in (DAY_S, (DAY_S, 7 * DAY_S))
    )
    assert both.quality(6).mae < 0.5 * day.quality(6).mae


def test_a_rise_goes_on() -> None:
    draw = random.Random(5)
    forecaster = show(daily(12), rhythm(4 * DAY) + [100 + at + draw.gauss(0, 1) for at in range(60)])
    (found,) = forecaster.forecasts()
    assert 160 < found.value < 180


def test_without_a_season_it_is_held_against_the_last_value() -> None:
    draw = random.Random(6)
    values = [draw.gauss(10, 3) for _ in range(2_000)]
    forecaster = show(Forecaster([1, 4], season_s=None, step_s=60), values)
    assert forecaster.warm
    for horizon in (1, 4):
        quality = forecaster.quality(horizon)
        assert 0.7 < quality.relative < 0.8
        assert 0.88 < quality.coverage < 0.92
    # A season of less than two steps is none.
    assert show(Forecaster([1, 4], season_s=80, step_s=60), values).forecasts() == forecaster.forecasts()


def test_nothing_is_below_zero_where_that_cannot_be() -> None:
    draw = random.Random(7)
    values = [float(draw.random() < 0.1) * draw.expovariate(0.2) for _ in range(1_000)]
    plain, clipped = daily(), daily(non_negative=True)
    lowest = math.inf
    for value in values:
        plain.learn_one(value)
        clipped.learn_one(value)
        lowest = min([lowest, *(each.lower for each in plain.forecasts())])
        for each in clipped.forecasts():
            assert 0 <= each.lower <= each.value <= each.upper
    assert lowest < 0
    assert clipped.quality(6).coverage > 0.88


def test_the_quality_is_what_anybody_would_count() -> None:
    """Each number anew, from what was said and what came."""
    horizons, values = (1, 6, 40), rhythm(6 * DAY, noise=5.0)
    for at in (700, 701, 702, 1_000, 1_400):
        values[at] = math.nan
    forecaster = daily(*horizons)
    said: list[dict[int, tuple[float, float, float]]] = []
    errors: dict[int, list[tuple[float, float, bool]]] = {horizon: [] for horizon in horizons}
    for at, value in enumerate(values):
        for horizon in horizons:
            # Of 40 windows ahead every third is scored.
            due = at - horizon >= 0 and (at - horizon) % -(-horizon // 16) == 0
            if forecaster.warm and due and not math.isnan(value) and horizon in said[at - horizon]:
                found, lower, upper = said[at - horizon][horizon]
                before = next(old for old in values[at - DAY :: -DAY] if not math.isnan(old))
                errors[horizon].append((abs(value - found), abs(value - before), lower <= value <= upper))
        forecaster.learn_one(value)
        said.append({each.horizon: (each.value, each.lower, each.upper) for each in forecaster.forecasts()})
    for horizon in horizons:
        own, theirs, covered = zip(*errors[horizon], strict=True)
        quality = forecaster.quality(horizon)
        assert quality.steps == len(own)
        assert quality.mae == pytest.approx(sum(own) / len(own), rel=1e-4)
        assert quality.relative == pytest.approx(sum(own) / sum(theirs), rel=1e-4)
        assert quality.coverage == pytest.approx(sum(covered) / len(covered))
        blocks = [sum(covered[start : start + 500]) / 500 for start in range(len(covered) - 499)]
        assert quality.worst_coverage == pytest.approx(min(blocks, default=math.nan), nan_ok=True)


def test_what_is_told_of_late_follows_when_the_series_changes() -> None:
    forecaster = show(daily(1), rhythm(7 * DAY))
    assert forecaster.quality(1).recent < 0.85
    draw, value = random.Random(8), 100.0
    walk = [value := value + draw.gauss(0, 1) for _ in range(3 * DAY)]
    show(forecaster, walk)
    assert forecaster.quality(1).recent < 0.1 < forecaster.quality(1).relative


@pytest.mark.parametrize("period", [2, 3, 4, 6, 12, 24, 48, 288])
def test_members_are_scored_at_every_phase_alike(period: int) -> None:
    """Or what is done each half hour would be seen always or never."""
    for phase in range(period):
        places = range(phase, 200 * period, period)
        scored = sum(bool(place * GOLDEN & HALF) for place in places) / len(places)
        assert 0.35 < scored < 0.65


def test_chances_are_those_of_past_errors() -> None:
    forecaster = daily(1, 6)
    assert math.isnan(forecaster.chance_above(1, 100.0))
    show(forecaster, rhythm(6 * DAY))
    for each in forecaster.forecasts():
        chances = [forecaster.chance_above(each.horizon, each.value + off) for off in (-100, -2, 0, 2, 100)]
        assert chances == sorted(chances, reverse=True)
        assert chances[0] > 0.99
        assert 0.3 < chances[2] < 0.7
        assert chances[4] < 0.01
    happened, expected = 0, 0.0
    for value in rhythm(12 * DAY)[6 * DAY :]:
        expected += forecaster.chance_above(1, 103.0)
        forecaster.learn_one(value)
        happened += value > 103.0
    assert expected == pytest.approx(happened, rel=0.1)


SERIES = {
    "constant": [7.0] * 900,
    "zeros": [0.0] * 900,
    "one value": [3.5],
    "two values": [3.5, -2.0],
    "nothing": [math.nan] * 900,
    "negative": [-abs(value) for value in rhythm(900)],
    "holes": [value if at % 7 < 4 else math.nan for at, value in enumerate(rhythm(1_500))],
    "a long hole": [*rhythm(700), *[math.nan] * 1_200, *rhythm(700)],
    "not finite": [math.inf if at % 50 == 0 else -math.inf if at % 51 == 0 else v for at, v in enumerate(rhythm(900))],
    "spikes": [1e30 if at % 97 == 0 else -1.7e308 if at % 201 == 0 else v for at, v in enumerate(rhythm(1_500))],
    "tiny": [5e-324 * (at % 3) for at in range(900)],
    "a shift": [*rhythm(800), *rhythm(800, level=1e6)],
    "then constant": [*rhythm(600), *[4.0] * 900, *rhythm(300)],
    "growing": [1.05**at for at in range(1_500)],
    "alternating": [(-1.0) ** at * at for at in range(900)],
}


@pytest.mark.parametrize("name", SERIES)
@pytest.mark.parametrize("season_s", [None, DAY_S, 60 * DAY_S, (DAY_S, 7 * DAY_S)])
def test_no_series_makes_it_fail(name: str, season_s: float | None) -> None:
    forecaster = Forecaster([1, 6, 50], season_s=season_s, step_s=STEP_S)
    for value in SERIES[name]:
        forecaster.learn_one(value)
        for each in forecaster.forecasts():
            assert all(map(math.isfinite, (each.value, each.lower, each.upper)))
            assert each.lower <= each.value <= each.upper
        if forecaster.warm:
            assert len(forecaster.forecasts()) == 3
    restored = Forecaster.from_bytes(forecaster.to_bytes())
    assert restored.forecasts() == forecaster.forecasts()
    for horizon in (1, 6, 50):
        quality = forecaster.quality(horizon)
        assert not quality.mae < 0
        assert math.isnan(quality.coverage) or 0 <= quality.coverage <= 1


def test_a_constant_is_forecast_as_it_is() -> None:
    forecaster = show(daily(), [7.1] * 900)
    for each in forecaster.forecasts():
        assert each.lower == each.value == each.upper == pytest.approx(7.1, rel=1e-7)
    quality = forecaster.quality(6)
    assert (quality.mae, quality.coverage) == (0.0, 1.0)
    # Nobody can be better than a baseline without an error, and nothing can be told by it.
    assert math.isnan(quality.relative)
    # It begins to move: intervals follow at once.
    show(forecaster, rhythm(DAY))
    assert forecaster.quality(6).worst_coverage > 0.85


def test_after_a_shift_of_the_level_it_is_soon_as_good_as_before() -> None:
    forecaster = show(daily(), rhythm(7 * DAY) + rhythm(3 * DAY, level=400.0, seed=9))
    for each in forecaster.forecasts():
        assert each.value == pytest.approx(400, abs=15)
        assert each.upper - each.lower < 40


def test_a_hole_is_a_step_that_passes() -> None:
    """What comes after it is where it would have been: seasons keep their phase."""
    values = rhythm(9 * DAY, noise=0.5)
    whole, holed = daily(), daily()
    show(whole, values)
    show(holed, [math.nan if 4 * DAY <= at < 4 * DAY + 100 else value for at, value in enumerate(values)])
    for one, other in zip(whole.forecasts(), holed.forecasts(), strict=True):
        assert other.value == pytest.approx(one.value, abs=1.0)


@pytest.mark.parametrize("season_s", [DAY_S, 1_500 * STEP_S])
def test_holes_that_are_skipped_are_holes(season_s: float) -> None:
    values = rhythm(6 * DAY, noise=0.5)
    for holes in (1, 40, 300):
        one, other = (show(Forecaster([1, 6], season_s=season_s, step_s=STEP_S), values) for _ in range(2))
        show(one, [math.nan] * holes)
        other.skip(holes)
        assert one.to_bytes() == other.to_bytes()
    far = Forecaster([1, 6], season_s=season_s, step_s=STEP_S)
    show(far, values)
    before = far.quality(6).steps
    # A whole number of days and seasons later, and in no time.
    far.skip(1_500 * DAY * 10_000)
    assert all(math.isfinite(each.value) for each in far.forecasts())
    show(far, values[:6])
    # Only what was said last is held against what came so much later, and the phase is the same.
    assert far.quality(6).steps == before + 1
    show(far, values[6:100])
    for each in far.forecasts():
        assert each.value == pytest.approx(values[99 + each.horizon], abs=4)


@pytest.mark.parametrize("step_s", [1.0, 10.0, 60.0, 300.0, 420.0, 3_600.0])
@pytest.mark.parametrize("season_s", [DAY_S, 7 * DAY_S, (DAY_S, 7 * DAY_S)])
def test_bytes_are_bounded_whatever_the_step(step_s: float, season_s: float) -> None:
    horizons = [24, 47, 288] if isinstance(season_s, float) else [1, 6, 12]
    forecaster = Forecaster(horizons, season_s=season_s, step_s=step_s)
    show(forecaster, rhythm(2_500, level=123456.789))
    assert len(forecaster.to_bytes()) <= 10_000


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


values = st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, 0.0, 1e30])


@settings(max_examples=60, deadline=None)
@given(
    series=st.lists(values, max_size=120),
    cuts=st.sets(st.integers(0, 120), max_size=4),
    season=st.sampled_from([None, 4, 7, (3, 11), 900]),
    horizons=st.sets(st.integers(1, 60), min_size=1, max_size=4),
    non_negative=st.booleans(),
)
def test_a_restart_anywhere_changes_nothing(
    series: list[float],
    cuts: set[int],
    season: int | tuple[int, int] | None,
    horizons: set[int],
    non_negative: bool,
) -> None:
    plain, restarted = (
        Forecaster(sorted(horizons), season_s=season, step_s=1.0, non_negative=non_negative) for _ in range(2)
    )
    for at, value in enumerate(series):
        if at in cuts:
            restarted = Forecaster.from_bytes(restarted.to_bytes())
        plain.learn_one(value)
        restarted.learn_one(value)
        assert restarted.forecasts() == plain.forecasts()
        for each in plain.forecasts():
            assert math.isfinite(each.value)
            assert each.lower <= each.value <= each.upper < math.inf
    assert restarted.to_bytes() == plain.to_bytes()


RIVER = ("river_holt_winters", "river_snarimax")


@pytest.mark.parametrize("name", RIVER)
def test_members_of_river_take_part_and_survive_a_restart(name: str) -> None:
    forecaster = Forecaster([1, 6], season_s=48 * STEP_S, step_s=STEP_S, members=(name,))
    assert forecaster.members == ("naive", "seasonal_naive", name)
    draw = random.Random(2)
    wave = [10 * math.sin(2 * math.pi * at / 48) + draw.gauss(0, 4) for at in range(700)]
    show(forecaster, wave[:500])
    restored = Forecaster.from_bytes(forecaster.to_bytes())
    show(forecaster, wave[500:])
    show(restored, wave[500:])
    assert restored.to_bytes() == forecaster.to_bytes()
    alone = show(Forecaster([1, 6], season_s=48 * STEP_S, step_s=STEP_S, members=()), wave)
    assert forecaster.quality(1).mae < alone.quality(1).mae


@pytest.mark.parametrize("name", SERIES)
@pytest.mark.parametrize("member", RIVER)
def test_no_series_makes_members_of_river_fail(name: str, member: str) -> None:
    forecaster = Forecaster([1, 6], season_s=40 * STEP_S, step_s=STEP_S, members=(member,))
    for value in SERIES[name][:800]:
        forecaster.learn_one(value)
        for each in forecaster.forecasts():
            assert all(map(math.isfinite, (each.value, each.lower, each.upper)))
    restored = Forecaster.from_bytes(forecaster.to_bytes())
    assert restored.forecasts() == forecaster.forecasts()


class Runaway(Member):
    """Diverges, and then has nothing to say at all."""

    name: ClassVar[str] = "runaway"
    _at = 0

    def learn(self, value: float) -> None:
        self._at += 1

    def forecasts(self) -> list[float]:
        said = [3.0 ** min(self._at, 600), math.inf, math.nan][self._at // 100 % 3]
        return [said] * len(self.horizons)


def test_a_member_that_diverges_has_no_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    values = rhythm(4 * DAY)
    plain = show(daily(), values)
    monkeypatch.setattr("models.forecast_members.MEMBERS", {**MEMBERS, "runaway": f"{__name__}:Runaway"})
    monkeypatch.setattr("models.forecast.MEMBERS", {**MEMBERS, "runaway": f"{__name__}:Runaway"})
    forecaster = daily(members=(*USUAL, "runaway"))
    for value in values:
        forecaster.learn_one(value)
        assert all(math.isfinite(each.value) for each in forecaster.forecasts())
    assert forecaster.quality(6).mae == pytest.approx(plain.quality(6).mae, rel=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizons": []}, "horizons: expected one to 4 different ones, found"),
        ({"horizons": [1, 1]}, "horizons: expected one to 4 different ones"),
        ({"horizons": [1, 2, 3, 4, 5]}, "horizons: expected one to 4 different ones"),
        ({"horizons": [0]}, "horizons: expected a whole number from 1 to 2016, found 0"),
        ({"horizons": [1.5]}, "horizons: expected a whole number from 1 to 2016, found 1.5"),
        ({"step_s": 0}, "step_s: expected seconds from 0.001 to 1e.10, found 0"),
        ({"step_s": math.nan}, "step_s: expected seconds"),
        ({"season_s": -1.0}, "season_s: expected seconds"),
        ({"season_s": [1, 2, 3]}, "season_s: expected 2 seasons at the most, found 3"),
        ({"coverage": 1.0}, "coverage: expected a number from 0.5 to 0.99, found 1.0"),
        ({"members": ["arima"]}, "members: expected some of naive, .*; found 'arima'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"horizons": [1], "season_s": DAY_S, "step_s": STEP_S} | options
    with pytest.raises(ModelError, match=message):
        Forecaster(given.pop("horizons"), **given)
    with pytest.raises(ModelError, match="horizon: expected one of 1, found 3"):
        daily(1).quality(3)


def test_bytes_that_are_no_forecaster_are_refused() -> None:
    raw = show(daily(), rhythm(500)).to_bytes()
    for odd in (b"", b"\x01", b"\x80\x04N.", raw[: len(raw) // 2]):
        with pytest.raises(ModelError):
            Forecaster.from_bytes(odd)
    packed = msgspec.msgpack.decode(raw)
    with pytest.raises(ModelError, match="expected a forecaster of version 1, found 2"):
        Forecaster.from_bytes(msgspec.msgpack.encode(packed | {"forecaster": 2}))
    for key in packed.keys() - {"forecaster"}:
        for odd_part in (None, {}, [], "odd", [[]]):
            with pytest.raises(ModelError):
                Forecaster.from_bytes(msgspec.msgpack.encode(packed | {key: odd_part}))
