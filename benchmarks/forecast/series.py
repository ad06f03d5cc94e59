"""Forecasts of series of the Numenta Anomaly Benchmark (Ahmad et al. 2017): how good, how sure, and what they cost."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from models.forecast import Forecaster
from streamgauge.backtest_forecast import Judgement, Series, Trial, forecast, on_grid
from streamgauge.series_file import read_series

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "nab" / "data"
"""`<category>/<file>.csv`, beside the project."""
SERIES = (
    "realKnownCause/nyc_taxi",
    "realTweets/Twitter_volume_AAPL",
    "realTweets/Twitter_volume_CRM",
    "realAWSCloudwatch/elb_request_count_8c0756",
    "realKnownCause/ec2_request_latency_system_failure",
)
"""Those that targets are about: one of each kind."""
OTHERS = (
    "realTweets/Twitter_volume_FB",
    "realTweets/Twitter_volume_IBM",
    "realAWSCloudwatch/ec2_cpu_utilization_825cc2",
    "realAWSCloudwatch/ec2_network_in_257a54",
    "realAWSCloudwatch/ec2_disk_write_bytes_1ef3de",
    "realKnownCause/ambient_temperature_system_failure",
    "realKnownCause/rogue_agent_key_updown",
    "realTraffic/occupancy_6005",
    "realAdExchange/exchange-3_cpc_results",
    "artificialNoAnomaly/art_daily_small_noise",
)
"""Some that nothing was chosen by."""
HORIZONS = (1, 6, 12)
SEASON_S = 86_400.0
CHUNK = 200
"""Steps that the cost is taken over at a time: the least of all chunks is told, as a machine is never quite idle."""


class Absent(RuntimeError):
    """The files are not where they are looked for."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one series. Every value that is there counts, from when the forecaster was warm."""

    judgements: list[Judgement]
    us_per_step: float
    """Processor time of `learn_one`, which includes the forecasts of all horizons, in the cheapest chunk."""
    state_bytes: int


def read(name: str, folder: Path = FOLDER) -> Series:
    """Raises Absent."""
    path = folder / f"{name}.csv"
    if not path.exists():
        raise Absent(f"{path} is missing: the forecast benchmark needs the series of NAB there")
    return on_grid(read_series(path))


def made(series: Series) -> Forecaster:
    return Forecaster(HORIZONS, season_s=SEASON_S, step_s=series.step_ms / 1_000)


def measure(series: Series) -> Figures:
    """With the default options, the season being a day."""
    forecaster, trial = made(series), Trial()
    deque(forecast(series, forecaster, trial), maxlen=0)
    return Figures(trial.judgements, cost(series), len(forecaster.to_bytes()))


def cost(series: Series) -> float:
    values = [math.nan] * (series.places[-1] + 1)
    for row, place in zip(series.rows, series.places, strict=True):
        values[place] = row.value
    forecaster = made(series)
    spent = []
    for start in range(0, len(values) - CHUNK, CHUNK):
        chunk = values[start : start + CHUNK]
        warm = forecaster.warm
        began_s = time.process_time()
        for value in chunk:
            forecaster.learn_one(value)
        if warm:
            spent.append(time.process_time() - began_s)
    return 1e6 * min(spent) / CHUNK


def geometric_mean(values: Iterable[float]) -> float:
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs))
