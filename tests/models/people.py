"""People who come, slow down and leave, as person-days with their labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.churn import ChurnModel, PersonDays
from models.quality import DAY_MS


class Day(NamedTuple):
    people: PersonDays
    """With two inputs: how deep the last visits went, and noise."""
    churned: NDArray[np.bool_]
    """Known a horizon later."""


Days = list[Day]


def people(
    seed: int,
    count: int,
    days: int,
    horizon_days: int,
    active_days: int = 14,
    depth: Callable[[int], float] = lambda _: 1.0,
) -> Days:
    """A BG/NBD process in which visits get shallower in the last week before somebody leaves.

    `depth` tells for a day by how much: what a drift changes.
    """
    draw = np.random.default_rng(seed)
    visits: list[NDArray[np.float64]] = []
    for _ in range(count):
        rate, leave = max(draw.gamma(1.2, 0.4), 0.03), draw.beta(1.2, 14)
        times = draw.uniform(-30, days * 0.9) + np.cumsum(draw.exponential(1 / rate, draw.geometric(leave)))
        visits.append(times[times < days + horizon_days])
    visits = [times for times in visits if len(times)]
    depths = []
    for times in visits:
        left = times[-1] < days
        away = np.clip((times[-1] - times) / 8 + 0.15, 0, 1) if left else np.ones(len(times))
        shares = np.array([depth(int(max(when, 0))) for when in times])
        depths.append(5 * (1 - 0.55 * shares * (1 - away)) + draw.normal(0, 1.2, len(times)))
    found = []
    for day in range(1, days):
        rows = []
        for times, deep in zip(visits, depths, strict=True):
            n = int(np.searchsorted(times, day, side="right"))
            if n < 2 or times[n - 1] <= day - active_days:
                continue
            came = n < len(times) and times[n] <= day + horizon_days
            recent = float(deep[max(0, n - 3) : n].mean())
            rows.append(
                (times[0], times[n - 1], n, len(np.unique(np.floor(times[:n]))), recent, draw.normal(), not came)
            )
        if rows:
            columns = np.array(rows, dtype=np.float64)
            ms = (columns[:, :2] * DAY_MS).astype(np.int64)
            counts = columns[:, 2:4].astype(np.int64)
            inputs = columns[:, 4:6].copy()
            shown = PersonDays(day * DAY_MS, ms[:, 0], ms[:, 1], counts[:, 0], counts[:, 1], inputs)
            found.append(Day(shown, columns[:, 6] > 0))
    return found


def live(model: ChurnModel, days: Days, stored_every: int = 0) -> list[NDArray[np.float64]]:
    """Show a model day after day, labels as they become known. Returns the probabilities it gave."""
    waiting = {}
    said = []
    for at, (shown, churned) in enumerate(days):
        now_ms = shown.as_of_ms
        for scored_ms in [ms for ms in waiting if ms + model.horizon_ms <= now_ms]:
            model.learn(*waiting.pop(scored_ms), now_ms)
        prepared = model.prepare(shown)
        scores = model.score(prepared)
        waiting[now_ms] = prepared, scores.stored, churned
        said.append(scores.probability)
        if stored_every and at % stored_every == 0:
            # All that goes on is in the bytes.
            model = ChurnModel.from_bytes(model.to_bytes())
    return said
