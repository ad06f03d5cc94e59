"""The people: who belongs to the community on a day, who is around in a given minute, who joins.

The population is a function of time, not a history: `people` seats, each held by one member after another.
A seat fixes how long its members stay and how keen they are; a hash of (member, day) decides on which days a
member shows up, and a hash of (member, hour) when on such a day. So any day of any year can be looked up
without simulating the days before it, and whatever the rate of events, a member is active on some days only,
in a few sittings.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from streamgauge.demo.rhythm import HOUR_MS, Rhythm, hour_of_day

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

COMMUNITIES = (
    "Riverside", "Old Town", "Northgate", "Harbour", "University", "Hillside", "Westfield", "Orchard",
)  # fmt: skip
COMMUNITY_SIZES = (0.27, 0.19, 0.15, 0.12, 0.10, 0.08, 0.06, 0.03)
PLATFORMS = ("android", "ios", "web")
PLATFORM_SIZES = (0.44, 0.36, 0.20)

# A crowd stays the same for this long. Sittings last an hour but start at any multiple of it.
CROWD_MS = 300_000
SITTINGS_PER_DAY = 2.2


def mix(*parts: Keys | Ints | int) -> Keys:
    """A 64-bit hash of whole numbers, element by element (splitmix64; Steele, Lea and Flood, 2014)."""
    state = np.zeros(1, np.uint64)
    for part in parts:
        state = state ^ np.asarray(part).astype(np.uint64)
        state = state + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return state


def share(keys: Keys) -> Floats:
    """Keys as numbers, evenly spread over 0 ≤ x < 1."""
    return (keys >> np.uint64(11)).astype(np.float64) * 2.0**-53


@dataclass(frozen=True, slots=True)
class Day:
    """The members of one local day, by seat."""

    members: Keys  # key of the member who holds the seat
    present: npt.NDArray[np.bool_]  # shows up on this day
    joins_ms: Ints  # when the member joins, if today; else -1


@dataclass(frozen=True, slots=True)
class Crowd:
    """The people around during one `CROWD_MS`, ready to be drawn in proportion to how active they are."""

    seats: Ints
    members: Keys
    sittings: Keys  # key of the hour or so that a member is spending here: their session
    reach: Floats  # cumulative share of activity, last = 1

    def draw(self, uniform: Floats) -> Ints:
        """Positions in this crowd for uniform numbers in 0 ≤ u < 1."""
        return np.minimum(np.searchsorted(self.reach, uniform, side="right"), len(self.seats) - 1)


class Population:
    """A few thousand people who join, come back with a habit of their own, fade and leave.

    Stays are log-normal (most try it for days or weeks, some stay for years), activity is Pareto (a few
    people make much of the traffic), and members fade over the last third of their stay.
    """

    def __init__(self, seed: int, people: int, rhythm: Rhythm) -> None:
        if people < 1:
            raise ValueError(f"people must be at least 1, got {people}")
        self._seed = seed
        self._rhythm = rhythm
        rng = np.random.default_rng([seed, 0x5EA7])
        normal = rng.standard_normal(people)
        self._stay_days = np.clip(np.rint(45 * np.exp(1.2 * normal)), 1, 900).astype(np.int64)
        self._shift_days = (rng.random(people) * self._stay_days).astype(np.int64)
        keenness = -0.9 + 0.5 * normal + 1.1 * rng.standard_normal(people)
        self._daily = 1 / (1 + np.exp(-keenness))
        self._activity = np.minimum(1 + rng.pareto(1.5, people), 60)
        self._sitting_shift_ms = rng.integers(0, HOUR_MS // CROWD_MS, people) * CROWD_MS
        self._seats = np.arange(people)
        self.community = rng.choice(len(COMMUNITIES), people, p=COMMUNITY_SIZES).astype(np.uint8)
        self.platform = rng.choice(len(PLATFORMS), people, p=PLATFORM_SIZES).astype(np.uint8)
        self.joins_per_day = float((1 / self._stay_days).sum())
        # Looked up again and again while slots of the same minutes are made.
        self.day = lru_cache(maxsize=4)(self._day)
        self.crowd = lru_cache(maxsize=4)(self._crowd)

    def _day(self, day: date) -> Day:
        turn, age = np.divmod(day.toordinal() + self._shift_days, self._stay_days)
        members = np.maximum(mix(self._seed, self._seats, turn), np.uint64(1))  # 0 is nobody
        start_ms, end_ms = self._rhythm.day_span(day)
        hour = hour_of_day(share(mix(members, 1)))
        joins_ms = np.where(age == 0, start_ms + (hour / 24 * (end_ms - start_ms)).astype(np.int64), -1)
        left = 1 - age / self._stay_days
        habit = np.where(age < 7, self._daily**0.6, self._daily)  # what is new is used more
        chance = habit * np.clip(3 * left, 0.1, 1) * self._rhythm.day_factor(day)
        present = (age == 0) | (share(mix(members, 2, day.toordinal())) < chance)
        return Day(members, present, joins_ms)

    def _crowd(self, start_ms: int) -> Crowd:
        day = self.day(self._rhythm.local(start_ms).date())
        joined = day.joins_ms <= start_ms
        sittings = mix(day.members, 3, (start_ms + self._sitting_shift_ms) // HOUR_MS)
        chance = SITTINGS_PER_DAY / 24 * self._rhythm.level(start_ms)
        sitting = day.present & joined & (share(sittings) < chance)
        # In a village at night nobody may be up: then whoever shows up today, then any member, will do.
        around = next(who for who in (sitting, day.present & joined, joined, joined | True) if who.any())
        seats = np.flatnonzero(around)
        reach = np.cumsum(self._activity[seats])
        return Crowd(seats, day.members[seats], sittings[seats], reach / reach[-1])

    def joiners(self, start_ms: int, end_ms: int) -> tuple[Ints, Keys, Ints]:
        """Seats, keys and joining times (epoch ms) of the members who join in a span within one local day."""
        day = self.day(self._rhythm.local(start_ms).date())
        seats = np.flatnonzero((day.joins_ms >= start_ms) & (day.joins_ms < end_ms))
        return seats, day.members[seats], day.joins_ms[seats]
