"""Segments: that they find kinds of people there are, keep them, and name them truly."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.base import ModelError
from models.segments import AVERAGE, EVERYBODY, FIRST_DAYS, Segments

Floats = NDArray[np.float64]
Kinds = NDArray[np.intp]

WORDS = {"rate": ("seldom", "often"), "recency": ("lately", "not lately"), "depth": ("shallow", "deep")}
CENTRES = np.array([[5.0, 10.0, 0.0], [5.0, 40.0, 0.0], [20.0, 10.0, 0.0], [20.0, 10.0, 4.0]])


def people(day: int, count: int = 400, kinds: int = 4) -> tuple[Floats, Kinds]:
    """Kinds of people, well apart."""
    draw = np.random.default_rng(day)
    kind = draw.integers(0, kinds, count)
    return CENTRES[kind] + draw.normal(size=(count, 3)) * [1.5, 3.0, 0.4], kind


def learned(days: int, **options: int) -> Segments:
    segments = Segments(WORDS)
    for day in range(days):
        segments.learn(people(day, **options)[0])
    return segments


def test_kinds_of_people_are_found_and_named() -> None:
    segments = learned(60)
    shown, kind = people(1_000)
    assigned = segments.assign(shown)
    pairs = {(int(a), int(b)) for a, b in zip(kind, assigned, strict=True)}
    shares = np.array([[np.mean(assigned[kind == a] == b) for b in range(4)] for a in range(4)])
    assert (shares.max(axis=1) > 0.97).all()
    assert len({int(each) for each in shares.argmax(axis=1)}) == 4, pairs
    by_kind = [segments.names[segment] for segment in shares.argmax(axis=1)]
    assert "not lately" in by_kind[1]
    assert "often" in by_kind[2]
    assert "deep" in by_kind[3]
    assert len(set(by_kind)) == 4


def test_before_there_is_enough_to_see_all_are_one() -> None:
    assert Segments(WORDS).names == (EVERYBODY,)
    segments = learned(FIRST_DAYS - 1)
    assert segments.names == (EVERYBODY,)
    assert set(segments.assign(people(1)[0])) == {0}
    three = learned(100, count=3)
    assert three.names == (EVERYBODY,)


def test_people_who_are_all_alike_are_one() -> None:
    segments = Segments(WORDS)
    for _ in range(30):
        segments.learn(np.full((200, 3), 1 / 3))
    assert segments.names == (EVERYBODY,)
    assert set(segments.assign(np.full((200, 3), 1 / 3))) == {0}


def test_segments_and_names_are_the_same_from_day_to_day() -> None:
    segments = learned(40)
    names, (shown, _) = segments.names, people(1_000)
    before = segments.assign(shown)
    for day in range(40, 120):
        segments.learn(people(day)[0])
        assert segments.names == names
    assert np.mean(segments.assign(shown) == before) > 0.97


def test_a_name_that_is_no_longer_true_goes() -> None:
    segments = learned(60)
    deep = next(at for at, name in enumerate(segments.names) if "deep" in name)
    for day in range(60, 200):
        shown, kind = people(day)
        shown[kind == 3, 2] -= 8 * min(1.0, (day - 60) / 60)
        segments.learn(shown)
    assert "deep" not in segments.names[deep]
    assert any("shallow" in name for name in segments.names)
    assert len(set(segments.names)) == len(segments.names)


def test_no_two_have_the_same_name() -> None:
    words = {"rate": ("seldom", "often"), "recency": ("lately", "not lately")}
    for seed in range(8):
        draw = np.random.default_rng(seed)
        centres = draw.normal(size=(4, 2)) * 5
        segments = Segments(words)
        for _ in range(30):
            segments.learn(centres[draw.integers(0, 4, 200)] + draw.normal(size=(200, 2)))
            assert len(set(segments.names)) == len(segments.names)


def test_it_goes_on_as_if_it_had_not_been_stored() -> None:
    kept, stored = Segments(WORDS), Segments(WORDS)
    for day in range(40):
        shown, _ = people(day, count=100)
        shown[::9, 1] = np.nan
        kept.learn(shown)
        stored.learn(shown)
        stored = Segments.from_bytes(stored.to_bytes())
        np.testing.assert_array_equal(kept.assign(shown), stored.assign(shown))
        assert kept.names == stored.names
    assert kept.to_bytes() == stored.to_bytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, 0.0])
def test_nothing_makes_it_fail(value: float) -> None:
    segments = Segments(WORDS)
    for day in range(40):
        shown = people(day, count=80)[0]
        shown[:, 2] = value
        shown[day % 80] = value
        segments.learn(shown)
        segments.learn(shown[:0])
        assigned = segments.assign(shown)
        assert assigned.min() >= 0
        assert assigned.max() < len(segments.names)
    assert all(segments.names)


def test_state_is_small() -> None:
    words = {f"feature_{at}": (f"little of {at}", f"much of {at}") for at in range(40)}
    segments = Segments(words)
    draw = np.random.default_rng(1)
    for _ in range(30):
        segments.learn(draw.normal(size=(300, 40)) * 3 + draw.integers(0, 4, 300)[:, None])
    assert len(segments.names) > 1
    assert len(segments.to_bytes()) <= 10_000


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ModelError, match="expected words of a feature and 1 to 8 segments, found 0 and 4"):
        Segments({})
    with pytest.raises(ModelError, match="found 3 and 99"):
        Segments(WORDS, count=99)
    with pytest.raises(ModelError, match=r"features: expected \(n, 3\), found \(5, 2\)"):
        Segments(WORDS).learn(np.zeros((5, 2)))
    raw = learned(20).to_bytes()
    for bad in (raw[:-1], raw.replace(b"segments", b"segmentz"), b"", b"\x01"):
        with pytest.raises(ModelError):
            Segments.from_bytes(bad)


def test_those_of_the_middle_are_average() -> None:
    words = {"rate": ("seldom", "often")}
    segments = Segments(words, count=3)
    draw = np.random.default_rng(2)
    for _ in range(30):
        segments.learn(draw.choice([-10.0, 0.0, 10.0], 300)[:, None] + draw.normal(size=(300, 1)))
    assert sorted(segments.names) == sorted(["seldom", AVERAGE, "often"])
