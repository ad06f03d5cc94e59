"""The judge of a soak knows a leak from noise."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.soak.judge import Sample, judge, rise_per_s

FLAT = Sample(0.0, 8e6, 3_000, 200, 120e6, "0", True)


def _soak(of: str = "heap_bytes", grown: Callable[[float], float] = lambda share: 0.0) -> list[Sample]:
    """Ten minutes with noise of a percent; `grown` says by how much, from 0 at the start to 1 at the end."""
    chance = random.Random(4)
    return [
        replace(
            FLAT,
            at_s=15.0 * number,
            number=str(number),
            **{of: getattr(FLAT, of) * chance.uniform(0.99, 1.01) + grown(number / 40)},
        )
        for number in range(41)
    ]


def test_noise_and_a_warm_up_are_flat() -> None:
    assert judge(_soak()) == []
    assert judge(_soak(grown=lambda share: 20e6 * min(share, 0.2))) == []
    sawtooth = [replace(one, heap_bytes=one.heap_bytes + 400e3 * (at % 4)) for at, one in enumerate(_soak())]
    assert judge(sawtooth) == []


@pytest.mark.parametrize(("of", "by"), [("heap_bytes", 4e6), ("nodes", 800), ("listeners", 200), ("rss_bytes", 60e6)])
def test_what_grows_is_named(of: str, by: float) -> None:
    for grown in (lambda share: by * share, lambda share: by * (share > 0.7), lambda share: by * share**2):
        problems = judge(_soak(of, grown))
        assert problems
        assert all(problem.startswith(f"{of}: ") for problem in problems)


def test_a_lost_line_a_number_that_stands_still_and_too_few_samples_are_told() -> None:
    samples = _soak()
    samples[20] = replace(samples[20], is_live=False, number=samples[19].number)
    assert judge(samples) == ["the line was not live at 300 s", "the number stood still before 300 s"]
    assert judge(samples[:5]) == ["expected at least 9 samples; found 5"]
    assert rise_per_s([FLAT, replace(FLAT, at_s=2.0, nodes=3_010)], lambda one: one.nodes) == 5
