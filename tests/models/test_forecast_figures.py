"""What forecasts are held to over real series, and that the recorded figures say so."""

from __future__ import annotations

import json
from collections import deque

import pytest

from benchmarks.forecast.__main__ import RESULTS, TARGETS, summary
from benchmarks.forecast.series import FOLDER, SERIES, Absent, Figures, made, read
from benchmarks.targets import is_met
from streamgauge.backtest_forecast import Trial, forecast


@pytest.mark.skipif(not FOLDER.exists(), reason="the real data is not here")
def test_real_series_are_forecast_as_well_as_promised() -> None:
    found = {}
    for name in SERIES:
        series = read(name)
        forecaster, trial = made(series), Trial()
        deque(forecast(series, forecaster, trial), maxlen=0)
        # Timing is the benchmark's.
        found[name] = Figures(trial.judgements, 0.0, len(forecaster.to_bytes()))
    result = summary(found)
    assert {key: result[key] for key, target in TARGETS.items() if not is_met(target, result[key])} == {}
    recorded = json.loads(RESULTS.read_text())
    for key in TARGETS.keys() - {"us_per_step"}:
        assert recorded[key] == pytest.approx(result[key], abs=0.002), key


def test_what_is_recorded_meets_the_targets() -> None:
    recorded = json.loads(RESULTS.read_text())
    assert recorded["targets"] == dict.fromkeys(TARGETS, "met")
    assert set(SERIES) <= set(recorded["series"])


def test_series_that_are_not_there_are_told_of() -> None:
    with pytest.raises(Absent, match=r"no_such\.csv is missing: the forecast benchmark needs the series of NAB there"):
        read("realKnownCause/no_such")
