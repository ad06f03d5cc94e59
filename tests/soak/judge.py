"""Whether a row of measurements says that nothing grows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median


@dataclass(frozen=True, slots=True)
class Sample:
    """A wall and its server at one moment."""

    at_s: float
    """Since the first one."""
    heap_bytes: float
    """What the page's scripts hold, after a garbage collection."""
    nodes: float
    """Nodes of the document, those that nobody sees any more included."""
    listeners: float
    rss_bytes: float
    """Of the API process."""
    number: str
    """The number of a tile that moves with every event."""
    is_live: bool


@dataclass(frozen=True, slots=True)
class Bound:
    """By how much something may be more in the last third than in the second, and rise from one end to the other."""

    of: str
    share: float
    constant: float


BOUNDS = (
    Bound("heap_bytes", 0.10, 300_000),
    Bound("nodes", 0.05, 100),
    Bound("listeners", 0.05, 30),
    # An allocator gives nothing back, and takes in steps.
    Bound("rss_bytes", 0.10, 8_000_000),
)
LEAST_SAMPLES = 9


def judge(samples: Sequence[Sample]) -> list[str]:
    """What is not as it should be; nothing when all is flat, the line was live throughout and numbers moved.

    The first third is warming up: code is compiled, history is filled in.
    """
    if len(samples) < LEAST_SAMPLES:
        return [f"expected at least {LEAST_SAMPLES} samples; found {len(samples)}"]
    problems = [problem for bound in BOUNDS for problem in _grown(samples, bound)]
    lost = [sample.at_s for sample in samples if not sample.is_live]
    if lost:
        problems.append(f"the line was not live at {', '.join(f'{at_s:.0f} s' for at_s in lost)}")
    still = [late.at_s for early, late in pairwise(samples) if early.number == late.number]
    if still:
        problems.append(f"the number stood still before {', '.join(f'{at_s:.0f} s' for at_s in still)}")
    return problems


def rise_per_s(samples: Sequence[Sample], of: Callable[[Sample], float]) -> float:
    """Slope of the straight line with the least squares."""
    mean_s, mean = fmean(sample.at_s for sample in samples), fmean(map(of, samples))
    spread = sum((sample.at_s - mean_s) ** 2 for sample in samples)
    return sum((sample.at_s - mean_s) * (of(sample) - mean) for sample in samples) / spread


def _grown(samples: Sequence[Sample], bound: Bound) -> list[str]:
    def of(sample: Sample) -> float:
        return float(getattr(sample, bound.of))

    third = len(samples) // 3
    second, last = samples[third:-third], samples[-third:]
    before, after = median(map(of, second)), median(map(of, last))
    allowed = bound.share * before + bound.constant
    found = []
    if after > before + allowed:
        found.append(f"{bound.of}: {before:,.0f} in the second third, {after:,.0f} in the last")
    settled = samples[third:]
    rise = rise_per_s(settled, of) * (settled[-1].at_s - settled[0].at_s)
    if rise > allowed:
        found.append(f"{bound.of}: rises by {rise:,.0f} over the last two thirds, where {allowed:,.0f} are allowed")
    return found
