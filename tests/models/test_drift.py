"""What is a drift and what is not; and whether one model is better than another beyond noise."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.calibration import sigmoid
from models.drift import KEPT, Drift
from models.paired import SURE, Paired
from models.quality import DAY_MS

Day = tuple[NDArray[np.float64], NDArray[np.bool_]]
HORIZON_DAYS = 14


def days(seed: int, count: int, people: int, worse_from: int = 10**9, level: float = 0.0) -> list[Day]:
    """People with labels that stay the same for a horizon or so, as overlapping labels do."""
    draw = np.random.default_rng(seed)
    logit = draw.normal(level, 1.5, people)
    luck = draw.random(people)
    found = []
    for day in range(count):
        new = draw.random(people) < 1 / HORIZON_DAYS
        logit = np.where(new, draw.normal(level, 1.5, people), logit)
        luck = np.where(new, draw.random(people), luck)
        true = logit if day < worse_from else 0.2 * logit + 0.7
        found.append((sigmoid(logit), luck < sigmoid(true)))
    return found


def alarms(drift: Drift, shown: list[Day]) -> list[int]:
    return [at for at, day in enumerate(shown) if drift.learn(*day)]


@pytest.mark.parametrize("people", [30, 100, 500])
def test_alarms_are_rare_while_nothing_changes_however_people_repeat(people: int) -> None:
    found = [alarms(Drift(), days(seed, 365, people, level=-0.5)) for seed in range(6)]
    assert sum(map(len, found)) <= 4, "more than two in three years"


@pytest.mark.parametrize("people", [300, 800])
def test_a_drift_is_noticed_within_three_weeks_of_labels(people: int) -> None:
    found = [alarms(Drift(), days(seed, 150, people, worse_from=120)) for seed in range(8)]
    noticed = [any(120 <= at < 141 for at in each) for each in found]
    assert sum(noticed) >= 7, "an alarm just before, without a reason, may leave it too little to compare with"


def test_other_people_are_no_drift() -> None:
    shown = [*days(1, 100, 500, level=-2.5), *days(2, 100, 500, level=0.0)]
    assert alarms(Drift(), shown) == []


def test_getting_better_is_no_drift() -> None:
    wrong = [(sigmoid(3 * np.log(p / (1 - p))), truth) for p, truth in days(3, 60, 500)]
    assert alarms(Drift(), [*wrong, *days(3, 120, 500)[60:]]) == []


def test_three_people_are_too_few_to_tell() -> None:
    assert alarms(Drift(), days(4, 300, 3, worse_from=100)) == []


def test_a_stored_one_decides_the_same() -> None:
    shown = days(5, 2 * KEPT, 200, worse_from=KEPT + 60)
    kept, stored = Drift(), Drift()
    decided = []
    for at, day in enumerate(shown):
        decided.append((kept.learn(*day), stored.learn(*day)))
        if at % 3:
            stored = Drift.from_state(stored.to_state())
        assert len(stored.to_state()["shown"]) <= 4 * KEPT
    assert any(one for one, _ in decided)
    assert all(one == other for one, other in decided)
    assert kept.to_state() == stored.to_state()


def differences(seed: int, count: int, ahead: float, noise: float) -> list[float]:
    """Of daily losses, each of which shares most labels with the next."""
    draw = np.random.default_rng(seed)
    single = draw.normal(0, noise, count + HORIZON_DAYS)
    smooth = np.convolve(single, np.ones(HORIZON_DAYS) / np.sqrt(HORIZON_DAYS), "valid")[:count]
    return (ahead + smooth).tolist()


def beyond_since(shown: list[float]) -> int | None:
    paired = Paired(HORIZON_DAYS * DAY_MS, SURE)
    for day, ahead in enumerate(shown):
        paired.learn(day * DAY_MS, ahead)
        if paired.beyond_noise:
            return day
    return None


def test_equals_are_not_told_apart_in_a_year() -> None:
    found = [beyond_since(differences(seed, 365, 0.0, 0.02)) for seed in range(100)]
    assert sum(each is not None for each in found) <= 5


def test_the_better_one_is_found() -> None:
    for seed in range(10):
        assert beyond_since(differences(seed, 365, 0.02, 0.01)) is not None
        assert beyond_since(differences(seed, 365, -0.02, 0.01)) is None


def test_hardly_better_is_not_better() -> None:
    assert beyond_since([0.001] * 365) is None
    since = beyond_since([0.01] * 365)
    assert since is not None
    assert since >= 2 * HORIZON_DAYS


def test_a_stored_pair_says_the_same() -> None:
    kept, stored = Paired(HORIZON_DAYS * DAY_MS, SURE), Paired(HORIZON_DAYS * DAY_MS, SURE)
    for day, ahead in enumerate(differences(3, 200, 0.01, 0.01)):
        kept.learn(day * DAY_MS, ahead)
        stored.learn(day * DAY_MS, ahead)
        stored = Paired.from_state(stored.to_state())
        assert (kept.ahead, kept.beyond_noise) == (stored.ahead, stored.beyond_noise)
