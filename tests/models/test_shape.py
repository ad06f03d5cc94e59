"""The left discord of a series by the hour, against one worked out from all pairs."""

from __future__ import annotations

import math
import random

import pytest

from models.shape import APART, KEPT, LENGTH, Shape

SEASON_S = 48 * 3600.0


def by_pairs(cells: list[float]) -> float | None:
    """The distance of the last twelve cells, by the definition."""
    now = len(cells) - LENGTH
    if len(cells) < 2 * LENGTH + APART:
        return None
    starts = range(max(0, now - KEPT), now - APART + 1)
    distances = (sum((cells[now + k] - cells[at + k]) ** 2 for k in range(LENGTH)) for at in starts)
    return math.sqrt(min(distances) / LENGTH)


def test_it_is_the_least_distance_by_the_definition() -> None:
    draw = random.Random(6)
    shape, cells = Shape(SEASON_S), []
    for hour in range(900):
        value = draw.gauss(0, 1) + math.sin(hour / 4)
        if hour:
            assert shape.learn(value, hour * 3600.0) == (
                pytest.approx(by_pairs(cells), abs=1e-9) if by_pairs(cells) is not None else None
            )
        else:
            assert shape.learn(value, 0.0) is None
        cells.append(value)


def test_a_cell_is_the_mean_of_its_rows() -> None:
    draw = random.Random(6)
    fine, coarse = Shape(SEASON_S), Shape(SEASON_S)
    for hour in range(100):
        rows = [draw.gauss(0, 1) for _ in range(6)]
        found = [fine.learn(value, hour * 3600.0 + at * 600.0) for at, value in enumerate(rows)]
        expected = coarse.learn(sum(rows) / 6, hour * 3600.0)
        assert found[0] == (None if expected is None else pytest.approx(expected))
        assert found[1:] == [None] * 5


def test_a_course_that_was_seen_is_near_and_another_far() -> None:
    shape = Shape(SEASON_S)
    found = [shape.learn(math.sin(2 * math.pi * hour / 24), hour * 3600.0) for hour in range(24 * 14)]
    assert found[-1] == pytest.approx(0, abs=1e-6)
    flat = [shape.learn(0.0, (24 * 14 + hour) * 3600.0) for hour in range(13)]
    assert flat[-1] is not None
    assert flat[-1] > 0.5


def test_no_shape_reaches_over_a_long_gap() -> None:
    shape = Shape(SEASON_S)
    for hour in range(100):
        shape.learn(float(hour % 24), hour * 3600.0)
    found = [shape.learn(float(hour % 24), hour * 3600.0) for hour in range(200, 230)]
    assert found[:LENGTH] == [None] * LENGTH
    assert found[LENGTH] is not None


def test_a_cell_that_is_missing_is_taken_for_the_one_before() -> None:
    draw = random.Random(6)
    holed, whole = Shape(SEASON_S), Shape(SEASON_S)
    last = 0.0
    for hour in range(200):
        value = draw.gauss(0, 1)
        if hour % 9 == 5:
            whole.learn(last, hour * 3600.0)
            continue
        found = holed.learn(value, hour * 3600.0)
        assert found == whole.learn(value, hour * 3600.0)
        last = value


def test_state_and_back() -> None:
    draw = random.Random(6)
    for hours in (0, 1, 5, 13, 30, 500, 1_000):
        shape = Shape(SEASON_S)
        for hour in range(hours):
            shape.learn(draw.gauss(0, 1), hour * 3600.0)
        again = Shape.from_state(shape.to_state())
        for hour in range(hours, hours + 50):
            value = draw.gauss(0, 1)
            assert again.learn(value, hour * 3600.0) == shape.learn(value, hour * 3600.0)
        assert again.to_state() == shape.to_state()
