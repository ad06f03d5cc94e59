"""A few kinds of people, found by their features and named by what sets them apart."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.base import ModelError

if TYPE_CHECKING:
    from river.cluster import KMeans

Floats = NDArray[np.float64]
Features = NDArray[np.floating[Any]]
Name = tuple[tuple[int, bool], ...]
"""Features by number, and whether there is much of them."""

WORDS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "days_rate": ("seldom", "often"),
        "recency": ("lately", "not lately"),
        "age": ("new", "long here"),
    }
)
"""Of features that `ChurnModel` has by itself: what people with little and with much of it are called."""
EVERYBODY = "everybody"
AVERAGE = "average"
MOST = 8
SAMPLE = 2_000
"""Rows of a day that are looked at, at the most, evenly over those there are."""
FOLLOWED = 100
"""Of these so many at most move the centres, evenly again: river takes some 40 us for each."""
FIRST_DAYS = 14
FIRST_ROWS = 40
"""Days, and rows of one, that have to be seen before there are segments."""
STEP = 0.01
"""Of the way to a row that its segment's centre goes: the last 100 rows or so, a day of many people, are what it is."""
SCALE_STEP = 0.02
"""Of a day, in means and deviations, once there were fifty."""
CLIP = 3.0
"""Standard deviations; nobody is further from the mean."""
APART = 1.0
"""Standard deviations that centres have to be apart at least when they are found."""
LEAST_SHARE = 0.03
"""Of the people, for a segment to be found."""
LLOYD_STEPS = 20
TELLING = 0.4
"""Standard deviations that a centre is off the mean in what names it."""
STILL_TELLING = 0.15
"""And in what it may still be named by: names are to last."""
NAMING = 2
"""Words of a name at most."""


class Segments:
    """Up to `count` segments of people by standardised features, in river's online k-means.

    Centres are found among the people of one day, furthest first and then by Lloyd's steps, and from then on follow
    each row a little (`river.cluster.KMeans`, whose random centres are not used, so that the same rows make the same
    segments). `words` has for each feature what people with little and with much of it are called. A name is kept for
    as long as it is true, and no two are alike.

    *Guarantee*: an unknown value stands for its feature's mean; the same calls give the same segments, also when
    stored in between; at most 10 KB of up to 40 features. *Failure*: ModelError for options, shapes and bytes.
    *Cost*: `learn` some 5 ms a day at the most; `assign` is one operation over all rows.
    """

    VERSION = 1

    def __init__(self, words: Mapping[str, tuple[str, str]], count: int = 4) -> None:
        if not words or not 1 <= count <= MOST:
            raise ModelError(f"expected words of a feature and 1 to {MOST} segments, found {len(words)} and {count}")
        self.words = {name: (little, much) for name, (little, much) in words.items()}
        self.count = count
        self._days = 0
        self._mean: Floats = np.zeros(len(words))
        self._square: Floats = np.zeros(len(words))
        self._found: KMeans | None = None
        self._named: list[Name] = []

    @property
    def features(self) -> tuple[str, ...]:
        """In the order of the columns."""
        return tuple(self.words)

    @property
    def names(self) -> tuple[str, ...]:
        """By number of the segment."""
        if len(self._named) < 2:
            return (EVERYBODY,)
        return tuple(", ".join(self._word(at, much) for at, much in telling) or AVERAGE for telling in self._named)

    def assign(self, features: Features) -> NDArray[np.intp]:
        """Each row's segment, (n), by its number."""
        if self._found is None:
            return np.zeros(len(self._checked(features)), dtype=np.intp)
        return _nearest(self._scaled(features), self._centres())

    def learn(self, features: Features) -> None:
        """Learn a day's rows, (n, g), in the given order."""
        rows = self._checked(features)
        if not len(rows):
            return
        sample = _evenly(rows, SAMPLE)
        self._learn_scale(sample)
        scaled = self._scaled(sample)
        if self._found is None:
            if self._days >= FIRST_DAYS and len(scaled) >= FIRST_ROWS:
                self._found = _means(_centres(scaled, self.count))
        else:
            for row in _evenly(scaled, FOLLOWED).tolist():
                self._found.learn_one(dict(enumerate(row)))
        if self._found is not None:
            self._name(self._centres())

    def _learn_scale(self, sample: Floats) -> None:
        self._days += 1
        weight = max(1 / self._days, SCALE_STEP)
        known = ~np.isnan(sample)
        some = known.any(axis=0)
        counts = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, sample, 0.0).sum(axis=0) / counts
        spread = np.square(np.where(known, sample - mean, 0.0)).sum(axis=0) / counts
        off = mean - self._mean
        grown = (1 - weight) * self._square + weight * (spread + (1 - weight) * off * off)
        self._square = np.where(some, grown, self._square)
        self._mean = np.where(some, self._mean + weight * off, self._mean)

    def _scaled(self, features: Features) -> Floats:
        deviation = np.sqrt(self._square)
        varies = deviation > 1e-7 * np.abs(self._mean)
        scaled = (self._checked(features) - self._mean) / np.where(varies, deviation, np.inf)
        return np.clip(np.nan_to_num(scaled, nan=0.0), -CLIP, CLIP)

    def _checked(self, features: Features) -> Floats:
        if features.ndim != 2 or features.shape[1] != len(self.words):
            raise ModelError(f"features: expected (n, {len(self.words)}), found {features.shape}")
        found = np.clip(features.astype(np.float64), -1e15, 1e15)
        found[~np.isfinite(features)] = np.nan
        return found

    def _centres(self) -> Floats:
        assert self._found is not None
        columns = range(len(self.words))
        return np.array([[centre[at] for at in columns] for centre in self._found.centers.values()])

    def _name(self, centres: Floats) -> None:
        before = self._named
        self._named = []
        for segment, centre in enumerate(centres):
            kept = before[segment] if segment < len(before) else ()
            true = all(centre[at] * (1 if much else -1) > STILL_TELLING for at, much in kept[:NAMING])
            if not (kept and true) or kept in self._named:
                order = np.argsort(-np.abs(centre), kind="stable")[:NAMING]
                kept = tuple((int(at), bool(centre[at] > 0)) for at in order if abs(centre[at]) > TELLING)
            while kept in self._named:
                kept = (*kept, self._beside(centres, segment, self._named.index(kept), kept))
            self._named.append(kept)

    def _beside(self, centres: Floats, segment: int, other: int, named: Name) -> tuple[int, bool]:
        """What tells a segment from another one of the same name."""
        apart = centres[segment] - centres[other]
        apart[[at for at, _ in named if len(named) < len(apart)]] = 0.0
        at = int(np.argmax(np.abs(apart)))
        return at, bool(apart[at] > 0)

    def _word(self, at: int, much: bool) -> str:
        return self.words[self.features[at]][much]

    def to_bytes(self) -> bytes:
        """Everything, versioned."""
        state = {
            "words": [[name, *pair] for name, pair in self.words.items()],
            "count": self.count,
            "days": self._days,
            "mean": self._mean.tolist(),
            "square": self._square.tolist(),
            "centres": None if self._found is None else self._centres().tolist(),
            "named": self._named,
        }
        return msgspec.msgpack.encode({"model": "segments", "version": self.VERSION, "state": state})

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """The inverse of `to_bytes`. Raises ModelError for anything else."""
        try:
            packed = msgspec.msgpack.decode(raw)
            found = packed["model"], packed["version"]
            if found != ("segments", cls.VERSION):
                raise ModelError(f"expected segments of version {cls.VERSION}, found {found[0]} of version {found[1]}")
            state = packed["state"]
            made = cls({name: (little, much) for name, little, much in state["words"]}, state["count"])
            made._days = state["days"]
            made._mean, made._square = np.array(state["mean"]), np.array(state["square"])
            if state["centres"] is not None:
                made._found = _means(np.array(state["centres"]))
            made._named = [tuple((at, much) for at, much in telling) for telling in state["named"]]
        except ModelError:
            raise
        except (msgspec.DecodeError, TypeError, LookupError, AttributeError, ValueError, ArithmeticError) as error:
            raise ModelError(f"not the state of segments: {error!r}") from error
        return made


def _means(centres: Floats) -> KMeans:
    # It takes seconds: only who finds segments is to wait for it.
    from river.cluster import KMeans

    found = KMeans(n_clusters=len(centres), halflife=STEP, seed=0)
    for segment, centre in enumerate(centres.tolist()):
        found.centers[segment].update(enumerate(centre))
    return found


def _centres(scaled: Floats, count: int) -> Floats:
    """Up to so many centres of rows, those of more people first."""
    mean: Floats = scaled.mean(axis=0)[None, :]
    distances = np.square(scaled - mean).sum(axis=1)
    if distances.max() < APART * APART:
        return mean
    found = scaled[distances.argmax()][None, :]
    while len(found) < count:
        distances = np.square(scaled[:, None, :] - found).sum(axis=2).min(axis=1)
        if distances.max() < APART * APART:
            break
        found = np.vstack([found, scaled[distances.argmax()]])
    for _ in range(LLOYD_STEPS):
        at = _nearest(scaled, found)
        sizes = np.bincount(at, minlength=len(found))
        kept = np.flatnonzero(sizes >= LEAST_SHARE * len(scaled))
        found = np.stack([scaled[at == segment].mean(axis=0) for segment in kept])
    sizes = np.bincount(_nearest(scaled, found), minlength=len(found))
    largest_first: Floats = found[np.argsort(-sizes, kind="stable")]
    return largest_first


def _evenly(rows: Floats, most: int) -> Floats:
    """At most so many of rows, evenly over them."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.intp)]


def _nearest(scaled: Floats, centres: Floats) -> NDArray[np.intp]:
    distances = np.stack([np.square(scaled - centre).sum(axis=1) for centre in centres])
    nearest: NDArray[np.intp] = distances.argmin(axis=0)
    return nearest
