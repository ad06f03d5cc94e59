"""Rates of visits, lent from the whole population where a person has few, and what a silence means beside them.

Times are in horizons, so that the same numbers do for a game's hours and a shop's months.
"""

from __future__ import annotations

from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NAMES: Final = ("log_rate", "log_missed", "surprise", "gone_rarely", "gone_often")
LEAST_TIME = 1 / 336
"""Horizons that the first and the last visit count as apart at least: an hour, of a fortnight."""
RARELY, OFTEN = 0.03, 0.3
"""Of people who leave after a visit, as assumed by the last two features: the model finds out what lies between."""
FADE = 0.9
"""What the days before count for, in the population."""
LEAST_ROWS = 10.0
SHAPES = (0.2, 20.0)
SCALES = (1e-3, 100.0)
MOST_SURPRISE = 30.0
MOST_LOGIT = 8.0


class Population:
    """How the rates of all people are spread: a gamma distribution of shape r and scale a, of the last two weeks or so.

    From the moments of the logarithms of rates, as those of rates themselves are ruled by a few: with psi and psi' the
    digamma and trigamma functions, mean(log rate) = psi(r) - log(a) and var(log rate) = psi'(r) + the mean of
    psi'(visits), the last for what is unknown of each rate itself.
    """

    def __init__(self) -> None:
        # Rows, sums of log rates, of their squares and of what each is unknown by; faded.
        self._moments: Floats = np.zeros(4)

    def observe(self, repeats: Floats, span: Floats) -> None:
        """See a day's people: visits after the first, (n), and the time from the first to the last, (n)."""
        there = repeats >= 1
        if not there.any():
            return
        log_rate = np.log(repeats[there] / (span[there] + LEAST_TIME))
        unknown = 1 / repeats[there]
        seen = [len(log_rate), log_rate.sum(), np.square(log_rate).sum(), unknown.sum()]
        self._moments = FADE * self._moments + np.array(seen)

    @property
    def shape_and_scale(self) -> tuple[float, float]:
        """r and a; 1 and 1 horizon before there are people enough to know."""
        rows, total, squares, unknown = self._moments.tolist()
        if rows < LEAST_ROWS:
            return 1.0, 1.0
        mean = total / rows
        spread = max(squares / rows - mean * mean - unknown / rows, 1e-3)
        # psi'(r) = 1/r + 1/2r^2, and psi(r) = log(r + 1) - 1/(2(r + 1)) - 1/r, up to higher powers.
        shape = _within((1 + np.sqrt(1 + 2 * spread)) / (2 * spread), SHAPES)
        psi = np.log(shape + 1) - 1 / (2 * (shape + 1)) - 1 / shape
        return shape, _within(np.exp(min(psi - mean, 50.0)), SCALES)

    def to_state(self) -> list[float]:
        numbers: list[float] = self._moments.tolist()
        return numbers

    @classmethod
    def from_state(cls, state: list[float]) -> Self:
        made = cls()
        made._moments[:] = state
        return made


def features(repeats: Floats, span: Floats, silence: Floats, shape: float, scale: float) -> Floats:
    """Hazard features, (n, 5), of people with so many visits after the first, from the first to the last, and since.

    With r and a of the population, x, t and s of a person: the rate (r + x) / (a + t); the visits missed since the
    last one, rate x s; the surprise (r + x) log((a + t + s) / (a + t)), which is minus the log of the probability of so
    long a silence at an unknown rate; and twice the logit of not coming within the horizon, either for having left
    for good (BG/NBD: Fader, Hardie and Lee 2005) or by chance.
    """
    count, exposed = shape + repeats, scale + span
    rate = count / exposed
    surprise = np.minimum(count * np.log1p(silence / exposed), MOST_SURPRISE)
    by_chance = np.exp(-count * np.log1p(1 / (exposed + silence)))
    columns = [np.log(rate), np.log1p(rate * silence), surprise]
    for leaving in (RARELY, OFTEN):
        gone = 1 / (1 + np.exp(-surprise) * (1 - leaving) / leaving)
        columns.append(logit(gone + (1 - gone) * by_chance))
    return np.column_stack(columns)


def logit(probability: Floats) -> Floats:
    """Within `MOST_LOGIT`."""
    least = 1 / (1 + np.exp(MOST_LOGIT))
    held = np.clip(probability, least, 1 - least)
    found: Floats = np.log(held) - np.log1p(-held)
    return found


def _within(value: Any, bounds: tuple[float, float]) -> float:
    return float(min(max(value, bounds[0]), bounds[1]))
