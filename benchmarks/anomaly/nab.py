"""The labelled series of the Numenta Anomaly Benchmark (Ahmad et al. 2017), a detector over them, and its score."""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from models.base import Detector
from models.registry import make_detector

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "nab"
"""`score.py`, `data/<category>/<file>.csv` and `labels/`, beside the project."""
PUBLISHED = {
    "ARTime": (78.2, 70.4, 83.1),
    "CAD OSE": (74.1, 71.7, 76.9),
    "Numenta HTM": (71.2, 65.0, 75.9),
    "Random Cut Forest": (52.0, 38.3, 61.0),
    "windowed Gaussian": (36.7, 21.4, 45.2),
}
"""Standard, low FP and low FN of others on the same files."""
OPEN = 3.0
"""The score that alerts with a detector that names none: the catalog's default."""
JOIN_S = 0.4 * 86_400
"""Alerts nearer to one another are one episode: a fifth of two days."""

Series = tuple[list[float], list[float]]
"""Times in epoch seconds, and values."""


class Absent(RuntimeError):
    """The files are not where they are looked for."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a detector scored on all files with one set of options. Scores are NAB's, 100 at the best."""

    standard: float
    low_fp: float
    low_fn: float
    loo: float
    """Standard, each file at the threshold that was best for the others."""
    threshold: float
    """The detector's default."""
    standard_at_threshold: float
    false_episodes_per_10k: float
    """Runs of rows at or above it, outside of the labelled windows and of the first 15 % (750 rows at the most), which
    no score counts, for 10,000 such rows; runs less than 0.4 days apart are one."""
    us_per_row: float
    """Processor time of `score_one` and `learn_one` together."""
    max_bytes: int
    """Of the state at the end of a file."""


def scorer(folder: Path = FOLDER) -> ModuleType:
    """The module `score.py`. Raises Absent."""
    path = folder / "score.py"
    spec = importlib.util.spec_from_file_location("nab_score", path)
    if not path.exists() or spec is None or spec.loader is None:
        raise Absent(f"{path} is missing: the anomaly benchmark needs the files of NAB there, with score.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with warnings.catch_warnings():
        # It leaves the file of the labels for the garbage collector to close.
        warnings.simplefilter("ignore", ResourceWarning)
        module.geometry()
    return module


def corpus(score: ModuleType) -> dict[str, Series]:
    """Each file's times and values. Times of NAB have no zone; they are taken for UTC."""
    return {
        name: ([datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp() for when in times], values.tolist())
        for name, (times, values) in score.load().items()
    }


def run(detector: Detector, series: Series) -> list[float]:
    """The score of each row, learned after it was scored."""
    scores = []
    for time_s, value in zip(*series, strict=True):
        row = {"value": value, "time": time_s}
        scores.append(detector.score_one(row))
        detector.learn_one(row)
    return scores


def false_episodes(times: list[float], scores: list[float], windows: list[int], threshold: float) -> int:
    """How many episodes are outside of windows, where `windows` is -1."""
    found, last_s = 0, -1e18
    for time_s, score, window in zip(times, scores, windows, strict=True):
        if window == -1 and score >= threshold:
            found += time_s - last_s >= JOIN_S
            last_s = time_s
    return found


def cost(name: str, options: Mapping[str, Any], score: ModuleType) -> dict[str, float]:
    """What a threshold takes, which nobody would ask for anomalies it was not told of: as `Figures` has it."""
    spent_s, rows, largest = 0.0, 0, 0
    for series in corpus(score).values():
        detector = make_detector(name, options)
        began_s = time.process_time()
        rows += len(run(detector, series))
        spent_s += time.process_time() - began_s
        largest = max(largest, len(detector.to_bytes()))
    return {"us_per_row": 1e6 * spent_s / rows, "max_bytes": largest}


def measure(name: str, score: ModuleType) -> Figures:
    """A detector of the registry with its default options, new for each file."""
    scores: dict[str, list[float]] = {}
    geometry = score.geometry()
    threshold, spent_s, false, outside, largest = OPEN, 0.0, 0, 0, 0
    for file, series in corpus(score).items():
        detector = make_detector(name, {})
        threshold = float(getattr(detector, "OPEN", OPEN))
        began_s = time.process_time()
        scores[file] = run(detector, series)
        spent_s += time.process_time() - began_s
        largest = max(largest, len(detector.to_bytes()))
        windows = geometry[file][0].tolist()
        false += false_episodes(series[0], scores[file], windows, threshold)
        outside += windows.count(-1)
    arrays = {file: np.array(found) for file, found in scores.items()}
    best = score.score(arrays, loo=True)
    fixed = score.score(arrays, threshold=threshold)
    return Figures(
        standard=float(best["standard"]["score"]),
        low_fp=float(best["reward_low_FP_rate"]["score"]),
        low_fn=float(best["reward_low_FN_rate"]["score"]),
        loo=float(best["standard"]["loo_score"]),
        threshold=threshold,
        standard_at_threshold=float(fixed["standard"]["score"]),
        false_episodes_per_10k=10_000 * false / outside,
        us_per_row=1e6 * spent_s / sum(len(found) for found in scores.values()),
        max_bytes=largest,
    )
