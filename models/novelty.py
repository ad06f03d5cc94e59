"""The default detector: a row is strange when it breaks records, of its value, of its hour, or of its shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from models.base import DAY_S, Detector, Expected, ModelError, Warmth, read
from models.profile import Profile, band
from models.records import Beyond, Records
from models.shape import Shape

SEASON_S = 2 * DAY_S
SEASONS = 0.5
"""That hours and shapes are remembered before one of them can be new: they begin later than the values."""
QUIET_SHARE = 0.2
"""Of a season: a score is told only when it is above all of that time before it."""
QUIET_CELLS = 48
"""That a season is divided into to remember those."""
UNIT = 3.0
"""Makes 3 of a sum of 1, which is where an alert opens by default."""
VALUE_MARGIN = 0.75
SHAPE_MARGIN = 2.0
"""Times the noise of extremes that a record has to be exceeded by; distances of shapes are the jumpier."""
STEP_WEIGHT = 0.25
STEP_ROWS = 100
"""Before which every step between levels is new, and none is news."""
LEVELS = 8
LEVEL_SPREADS = 2.0
"""Mean absolute deviations that a coarse level is wide."""
CLIP_SPREADS = 8.0
"""As far from the level as a value counts for a shape: a spike is told by its value, not by all shapes it is in."""
CLEARLY = 0.5
"""A term of all time from which on a value scores above everything that did before."""
LARGEST = 1e150
"""Values beyond are taken for this, so that no sum or square of them overflows."""
EXACTNESS = 1e-9
"""Of the value; nothing smaller is a difference."""
VALUE, HOUR, SHAPE, STEP = "value", "hour", "shape", "step"
Terms = tuple[float, float, float, float]
NONE: Terms = (0.0, 0.0, 0.0, 0.0)


class _Row:
    """What was found of a row: the score, and all that is needed to say why."""

    __slots__ = ("above", "beyond", "coarse", "score", "shape", "step", "strange", "usual", "value")

    def __init__(self, value: float) -> None:
        self.value = value
        self.usual: tuple[float, float] | None = None
        self.beyond: Beyond | None = None
        self.above: Beyond | None = None
        self.shape: Beyond | None = None
        self.coarse = -1
        self.step = False
        self.strange = 0.0
        self.score = 0.0


class Novelty(Detector):
    """How new a row is, as a sum over horizons h of one, two and four seasons and of all time.

    `3 · (Σ_h max(value_h, hour_h) + Σ_h shape_h + step / 4)`, where the terms of `Records` are of the value, of its
    difference from what `Profile` expects, and of the distance that `Shape` finds; `step` is 1 for two successive
    coarse levels of the value that never followed one another. A value that is beyond all time by a term of 1/2 or more
    scores above everything before it. A score that is not above all of the last fifth of a
    season is 0, so that an incident is told when it begins, and again when it gets worse.

    A season is a time, not a number of rows, and everything is measured in the series' own noise: the same options
    suit rows of a minute and of an hour, and values of any unit. `OPEN` is the score that alerts by default.

    *Cost*: `cost_us` for a row; what is costly is done once a 48th of a season. *Limits*: nothing that happened before
    is strange, also when it was an incident then; the second of two like it is told by the shorter horizons only.
    """

    name: ClassVar[str] = "novelty"
    cost_us: ClassVar[float] = 20.0
    max_bytes: ClassVar[int] = 24_000
    OPEN: ClassVar[float] = 3.0

    def __init__(self, season_s: float = SEASON_S, utc_offset_s: float = 0.0) -> None:
        if not 60.0 <= season_s <= 400 * DAY_S:
            raise ModelError(f"season_s: expected seconds between a minute and 400 days, found {season_s!r}")
        if not -DAY_S <= utc_offset_s <= DAY_S:
            raise ModelError(f"utc_offset_s: expected seconds within a day, found {utc_offset_s!r}")
        self.season_s = float(season_s)
        self.utc_offset_s = float(utc_offset_s)
        self._profile = Profile(self.utc_offset_s)
        self._values = Records(self.season_s, VALUE_MARGIN)
        self._above = Records(self.season_s, VALUE_MARGIN)
        self._distances = Records(self.season_s, SHAPE_MARGIN)
        self._shape = Shape(self.season_s)
        self._warmth = Warmth()
        # Of the shape that ended with the row last learned, until the next one is.
        self._distance: float | None = None
        # The coarse level of the row last learned, and a bit for each pair of levels that was seen.
        self._level = -1
        self._steps = 0
        # The strangest of each cell, and the cell's number, for a fifth of a season.
        self._quiet: list[list[float]] = []
        # The strangest of all rows.
        self._peak = 0.0
        self._known: tuple[float, float, _Row] | None = None
        # Of the row last scored: value and spread that were expected, and why it is strange.
        self._told: tuple[float, float] | None = None
        self._why = ""

    @property
    def warm(self) -> bool:
        return self._warmth.warm

    @property
    def expected(self) -> Expected | None:
        return None if self._told is None else band(*self._told)

    def score_one(self, x: Mapping[Any, Any]) -> float:
        value, time_s = self._read(x)
        if value != value:
            self._told = self._profile.usual(time_s) or self._profile.overall
            self._why = ""
            return 0.0
        row = self._look(value, time_s)
        self._told = row.usual or self._profile.overall
        self._why = self._words(row) if row.score else ""
        return row.score

    def learn_one(self, x: Mapping[Any, Any]) -> None:
        value, time_s = self._read(x)
        if value != value:
            return
        row = self._look(value, time_s)
        self._known = None
        self._warmth.saw(time_s)
        self._hush(row.strange, time_s)
        self._peak = max(self._peak, row.strange)
        if self._distance is not None:
            self._distances.learn(self._distance, time_s)
        level, spread = self._profile.level, self._profile.spread
        clipped = value
        if spread > 0:
            far = CLIP_SPREADS * spread
            if value > level + far:
                clipped = level + far
            elif value < level - far:
                clipped = level - far
        self._distance = self._shape.learn(clipped, time_s)
        self._values.learn(value, time_s)
        if row.usual is not None:
            self._above.learn(value - row.usual[0], time_s)
        if row.coarse >= 0:
            if self._level >= 0:
                self._steps |= 1 << (self._level * LEVELS + row.coarse)
            self._level = row.coarse
        self._profile.learn(value, time_s)

    def _read(self, x: Mapping[Any, Any]) -> tuple[float, float]:
        """Value and time, the time no earlier than the last one."""
        value, time_s = read(x)
        if value > LARGEST:
            value = LARGEST
        elif value < -LARGEST:
            value = -LARGEST
        if self._warmth.rows and time_s < self._warmth.last_s:
            time_s = self._warmth.last_s
        return value, time_s

    def _look(self, value: float, time_s: float) -> _Row:
        """What there is to say of a row. Changes nothing but what is kept of the last answer."""
        if self._known is not None and self._known[0] == value and self._known[1] == time_s:
            return self._known[2]
        row = _Row(value)
        tolerance = EXACTNESS * abs(value)
        row.beyond = self._values.beyond(value, tolerance)
        row.usual = self._profile.usual(time_s)
        if row.usual is not None and self._above.seasons >= SEASONS:
            row.above = self._above.beyond(value - row.usual[0], tolerance + EXACTNESS * abs(row.usual[0]))
        if self._distance is not None and self._distances.seasons >= SEASONS:
            found = self._distances.beyond(self._distance, EXACTNESS * abs(self._profile.level))
            row.shape = found if found is not None and found.high else None
        row.coarse = coarse = self._coarse(value)
        if coarse >= 0 and self._level >= 0 and self._warmth.rows > STEP_ROWS:
            row.step = not self._steps >> (self._level * LEVELS + coarse) & 1
        strange = STEP_WEIGHT if row.step else 0.0
        if row.beyond is not None or row.above is not None:
            terms = row.beyond.terms if row.beyond is not None else NONE
            others = row.above.terms if row.above is not None else NONE
            strange += sum(map(max, terms, others))
        if row.shape is not None:
            strange += sum(row.shape.terms)
        if row.beyond is not None and row.beyond.terms[-1] >= CLEARLY:
            # The sum saturates, and a spike widens the range that the next one is measured by.
            strange = max(strange, self._peak + row.beyond.terms[-1])
        row.strange = strange
        if strange > 0 and strange > self._loudest(time_s):
            row.score = UNIT * strange
        self._known = value, time_s, row
        return row

    def _coarse(self, value: float) -> int:
        """Which of the coarse levels a value is at; -1 while the series is constant."""
        level, spread = self._profile.level, self._profile.spread
        if spread <= EXACTNESS * abs(level):
            return -1
        place = (value - level) / (LEVEL_SPREADS * spread) + LEVELS / 2
        return 0 if place < 0 else int(place) if place < LEVELS else LEVELS - 1

    def _loudest(self, time_s: float) -> float:
        since = (time_s - QUIET_SHARE * self.season_s) // (self.season_s / QUIET_CELLS)
        return max((strange for cell, strange in self._quiet if cell >= since), default=0.0)

    def _hush(self, strange: float, time_s: float) -> None:
        """Remember how strange a row was, and forget whatever was less so before it, or is too long ago."""
        if strange <= 0:
            return
        cell_s = self.season_s / QUIET_CELLS
        since = (time_s - QUIET_SHARE * self.season_s) // cell_s
        cell = time_s // cell_s
        self._quiet = [one for one in self._quiet if one[0] >= since and one[1] > strange]
        if not self._quiet or self._quiet[-1][0] < cell:
            self._quiet.append([cell, strange])

    def _words(self, row: _Row) -> str:
        """The components that make up a score, the weightiest first."""
        found: list[tuple[float, str]] = []
        time_s = self._warmth.last_s
        if row.beyond is not None:
            extreme = "highest" if row.beyond.high else "lowest"
            span = _span(self._values.span_s(row.beyond.horizon, time_s))
            found.append((sum(row.beyond.terms), f"{extreme} in {span}"))
        if row.above is not None and row.usual is not None:
            values = f"{_number(row.value)} instead of {_number(row.usual[0])}"
            found.append((sum(row.above.terms), f"far from what is usual at this hour: {values}"))
        if row.shape is not None:
            found.append((sum(row.shape.terms), "shape not seen before"))
        if row.step:
            found.append((STEP_WEIGHT, "step not seen before"))
        return "; ".join(words for _, words in sorted(found, key=lambda one: -one[0]))

    def to_state(self) -> dict[str, Any]:
        return {
            "season_s": self.season_s,
            "profile": self._profile.to_state(),
            "values": self._values.to_state(),
            "above": self._above.to_state(),
            "distances": self._distances.to_state(),
            "shape": self._shape.to_state(),
            "warmth": self._warmth.to_state(),
            "distance": self._distance,
            "level": self._level,
            "steps": self._steps,
            "quiet": self._quiet,
            "peak": self._peak,
            "told": self._told,
            "why": self._why,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        made = cls(state["season_s"], state["profile"]["utc_offset_s"])
        made._profile = Profile.from_state(state["profile"])
        made._values = Records.from_state(state["values"])
        made._above = Records.from_state(state["above"])
        made._distances = Records.from_state(state["distances"])
        made._shape = Shape.from_state(state["shape"])
        made._warmth = Warmth.from_state(state["warmth"])
        made._distance = state["distance"]
        made._level = state["level"]
        made._steps = state["steps"]
        made._quiet = [list(one) for one in state["quiet"]]
        made._peak = state["peak"]
        made._told = None if state["told"] is None else (state["told"][0], state["told"][1])
        made._why = state["why"]
        return made


def _number(value: float) -> str:
    return f"{value:,.0f}" if 1_000 <= abs(value) < 1e15 else f"{value:.3g}"


def _span(seconds: float) -> str:
    for unit_s, unit in ((DAY_S, "days"), (3_600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.0f} seconds"
