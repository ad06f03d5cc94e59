"""Who is about to leave: a probability for each person and day, learned from what comes true a horizon later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from models import hazard
from models.base import ModelError
from models.calibration import Platt, log_loss, sigmoid
from models.drift import Drift
from models.hazard import Population
from models.logistic import Logistics
from models.paired import LIKELY, SURE, Paired
from models.quality import DAY_MS, Baselines, Prequential, Quality

Floats = NDArray[np.float64]
Stored = NDArray[np.float32]

ALPHA = 0.05
"""The learning rate of the first champion: river's own."""
QUICK_ALPHA = 0.2
"""That of challengers."""
WARM_LABELS = 500
WARM_OF_A_KIND = 30
"""Labels there must be in all, and of those who stayed and of those who left, before a score is proven."""
STORED: Final = ("probability", "raw_0", "raw_1", "calibrated_0", "calibrated_1", "recency", "constant")
"""Columns of what is stored with a row until its label is known."""
WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "events_rate": "how often events come",
        "events_missed": "events missed since the last one",
        "events_surprise": "silence beside the usual pace of events",
        "events_gone_rarely": "chance to have left, by the pace of events",
        "events_gone_often": "chance to have left after few events",
        "days_rate": "how often days are active",
        "days_missed": "active days missed since the last one",
        "days_surprise": "silence beside the usual pace of active days",
        "days_gone_rarely": "chance to have left, by the pace of active days",
        "days_gone_often": "chance to have left after few active days",
        "recency": "time since the last event",
        "age": "time since the first event",
        "events": "events so far",
    }
)
"""What the model's own features are, by name; inputs have the names they were given."""
_RECENCY: Final = tuple(WORDS).index("recency")
_TICKS: Final = 336.0
"""Of a horizon: an hour of a fortnight. Recency is the logarithm of as many."""


@dataclass(frozen=True, slots=True)
class PersonDays:
    """`n` people at one moment."""

    as_of_ms: int
    first_ms: NDArray[np.int64]
    """(n): the first qualifying event up to then; epoch milliseconds."""
    last_ms: NDArray[np.int64]
    """(n): the last one."""
    events: NDArray[np.int64]
    """(n): how many there are."""
    days: NDArray[np.int64]
    """(n): on how many days. What comes in bursts has its pace in days."""
    inputs: Floats
    """(n, k): what else is known, by the model's `names`; NaN where unknown."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """`n` rows as the model learns and scores them: all that has to wait for the labels, besides `Scores.stored`."""

    as_of_ms: int
    features: NDArray[np.float32]
    """(n, g), by the model's `feature_names`; NaN where unknown."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What is said of `n` rows."""

    probability: Floats
    """(n): to stay away for the horizon; above 0 and below 1."""
    logit: Floats
    """(n): of the probability, after calibration; what explanations add up to."""
    confidence: Floats
    """(n): from 0 to 1. 1 - the width of the 95 % Wilson interval of the share of people who left of those with a
    probability in the same tenth, counting a row as `1 / horizon in days`, as people are there day after day."""
    proven: bool
    version: int
    stored: Stored
    """(n, 7): columns `STORED`, to be handed back with the labels."""


class Factor(NamedTuple):
    name: str
    contribution: float
    """To the logit; above 0 makes leaving likelier than it is with the feature's mean."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a row has its score: `intercept`, contributions and `rest` add up to `logit`."""

    logit: float
    intercept: float
    """What it would be if all features were at their means."""
    factors: tuple[Factor, ...]
    """The largest, by size."""
    rest: float
    """Of all other features."""


class ChurnModel:
    """The probability that a person has no event in the next `horizon_ms`, learned online from delayed labels.

    Hazard features (`models/hazard.py`), of events and of active days, and the inputs go into two online logistic
    regressions. One is the champion, which scores. The other one, with a quicker learning rate, takes its place when
    it has been better beyond noise on the same days; it begins anew when the champion drifts. The logits of either are
    calibrated by what came true, and everything is counted as it was said at the time.

    A day goes: `learn` with the rows of a horizon ago and their labels; then `prepare` and `score` of today's. The
    same calls give the same numbers, also when the model is saved and restored in between.

    `logs` are the inputs that are counts, amounts or durations: their `log(1 + x)` is learned, and 0 for less than 0.

    *Guarantee*: no input gives NaN or an exception: what is not finite is unknown, an unknown feature stands for its
    mean and teaches nothing. *Failure*: ModelError for options, bytes, and arrays whose shapes do not fit.
    *Cost*: some 25 us of one core a row to prepare, score and learn with 15 inputs; at most 10 KB with up to 30.
    """

    VERSION = 1
    """Of the state; bytes of another are refused."""

    def __init__(self, names: Sequence[str], *, horizon_ms: int, active_ms: int, logs: Sequence[str] = ()) -> None:
        self.names = tuple(names)
        self.logs = tuple(logs)
        self.horizon_ms = horizon_ms
        self.active_ms = active_ms
        self.feature_names = (*WORDS, *self.names)
        if len(set(self.feature_names)) < len(self.feature_names):
            raise ModelError(f"names: expected each once and none of {', '.join(WORDS)}, found {', '.join(names)}")
        if not set(logs) <= set(names):
            raise ModelError(f"logs: expected some of {', '.join(names)}, found {', '.join(logs)}")
        if not 0 < horizon_ms <= active_ms:
            raise ModelError(f"horizon_ms: expected 1 to active_ms, {active_ms}, found {horizon_ms}")
        self._logged = np.array([name in logs for name in names], dtype=np.bool_)
        self._by_events, self._by_days = Population(), Population()
        self._models = Logistics(len(self.feature_names), (ALPHA, QUICK_ALPHA))
        self._platts = [Platt(), Platt()]
        self._began_ms = [0, 0]
        self._champion = 0
        self._baselines = Baselines()
        self._prequential = Prequential()
        self._drift = Drift()
        self._against_recency = Paired(horizon_ms, LIKELY)
        self._against_champion = Paired(horizon_ms, SURE)
        self._labels = [0, 0]
        self.version = 1
        """Of the champion: how many there have been."""
        self.swapped_ms: int | None = None
        """When the champion became it; None for the first one."""
        self.drifts = 0
        self.drifted_ms: int | None = None

    @property
    def trained(self) -> int:
        """Labels learned."""
        return sum(self._labels)

    @property
    def proven(self) -> bool:
        """Whether labels are enough, and the model has been better than recency alone beyond noise."""
        warm = self.trained >= WARM_LABELS and min(self._labels) >= WARM_OF_A_KIND
        return warm and self._against_recency.beyond_noise

    @property
    def quality(self) -> Quality:
        return self._prequential.quality(self.proven)

    def prepare(self, day: PersonDays) -> Prepared:
        """The features of a day's people, whose rates are learned by that. To be called once for each day."""
        if day.inputs.shape != (len(day.events), len(self.names)):
            raise ModelError(f"inputs: expected ({len(day.events)}, {len(self.names)}), found {day.inputs.shape}")
        horizon = float(self.horizon_ms)
        span = np.maximum(day.last_ms - day.first_ms, 0) / horizon
        silence = np.maximum(day.as_of_ms - day.last_ms, 0) / horizon
        columns: list[Floats] = []
        for population, counts in ((self._by_events, day.events), (self._by_days, day.days)):
            repeats = np.maximum(counts - 1, 0).astype(np.float64)
            population.observe(repeats, span)
            columns.append(hazard.features(repeats, span, silence, *population.shape_and_scale))
        events = np.maximum(day.events, 0)
        own = [np.log1p(_TICKS * silence), np.log1p(_TICKS * (span + silence)), np.log1p(events)]
        inputs = np.where(self._logged, np.log1p(np.maximum(day.inputs, 0.0)), day.inputs)
        features = np.column_stack([*columns, *own, np.clip(inputs, -1e30, 1e30)])
        features[:, len(WORDS) :][~np.isfinite(day.inputs)] = np.nan
        return Prepared(day.as_of_ms, features.astype(np.float32))

    def score(self, prepared: Prepared) -> Scores:
        """What the model says of rows now. Changes nothing."""
        features = self._checked(prepared)
        raw = self._models.logits(features)
        calibrated = np.stack([platt(each) for platt, each in zip(self._platts, raw, strict=True)])
        logit = calibrated[self._champion]
        probability = sigmoid(logit)
        by_recency, constant = self._baselines.say(self._silence(features))
        everybody = np.full(len(features), constant)
        stored = np.column_stack([probability, *raw, *calibrated, by_recency, everybody]).astype(np.float32)
        repeats = max(1.0, self.horizon_ms / DAY_MS)
        confidence = self._prequential.reliability.confidence(probability, repeats)
        return Scores(probability, logit, confidence, self.proven, self.version, stored)

    def learn(self, prepared: Prepared, stored: Stored, churned: NDArray[np.bool_], as_of_ms: int) -> None:
        """Learn what became of rows, (n), a horizon after they were scored.

        Everything that is counted is what was said then, `stored`. `as_of_ms` is when the labels became known.
        """
        features = self._checked(prepared)
        if stored.shape != (len(features), len(STORED)) or churned.shape != (len(features),):
            raise ModelError(
                f"expected {len(features)} rows of {len(STORED)} columns and their labels,"
                f" found {stored.shape} and {churned.shape}"
            )
        if not len(features):
            return
        said = stored.astype(np.float64)
        self._count(prepared.as_of_ms, features, said, churned, as_of_ms)
        weight = 1 / max(1.0, self.horizon_ms / DAY_MS)
        for slot, platt in enumerate(self._platts):
            if prepared.as_of_ms >= self._began_ms[slot]:
                platt.learn(said[:, 1 + slot], churned, weight)
        self._baselines.learn(self._silence(features), churned)
        order = _mixed(len(features))
        self._models.learn(features[order], churned[order])
        left = int(churned.sum())
        self._labels = [self._labels[0] + len(churned) - left, self._labels[1] + left]

    def _count(self, scored_ms: int, features: Stored, said: Floats, churned: NDArray[np.bool_], as_of_ms: int) -> None:
        """Count what was said, and act on it: a better challenger takes over, a drift makes it begin anew."""
        probability, by_recency, constant = said[:, 0], said[:, 5], said[:, 6]
        silence = self._silence(features)
        self._prequential.learn(probability, by_recency, constant, silence, churned, as_of_ms)
        loss = float(log_loss(probability, churned).mean())
        self._against_recency.learn(as_of_ms, float(log_loss(by_recency, churned).mean()) - loss)
        challenger = 1 - self._champion
        if scored_ms >= max(self._began_ms):
            both = [float(log_loss(sigmoid(said[:, 3 + slot]), churned).mean()) for slot in (0, 1)]
            self._against_champion.learn(as_of_ms, both[self._champion] - both[challenger])
        if self._drift.learn(probability, churned):
            self.drifts += 1
            self.drifted_ms = as_of_ms
            self._models.begin(challenger, QUICK_ALPHA)
            self._platts[challenger] = Platt()
            self._began_ms[challenger] = as_of_ms
            self._against_champion = Paired(self.horizon_ms, SURE)
        elif self._against_champion.beyond_noise:
            self._champion = challenger
            self.version += 1
            self.swapped_ms = as_of_ms
            self._against_champion = Paired(self.horizon_ms, SURE)

    def contributions(self, prepared: Prepared) -> tuple[Floats, float]:
        """What each feature adds to each row's logit, (n, g), and what is there without any."""
        platt = self._platts[self._champion]
        scaled = self._models.scaled(self._checked(prepared), self._champion)
        weights = platt.slope * self._models.weights[self._champion]
        return scaled * weights, platt(self._models.intercepts[self._champion : self._champion + 1]).item()

    def explain(self, features: NDArray[np.float32], top: int = 5) -> Explanation:
        """Why a row of features, (g), is scored as it is now."""
        found, intercept = self.contributions(Prepared(0, features[None, :]))
        added = found[0]
        order = np.argsort(-np.abs(added), kind="stable")[:top]
        factors = tuple(Factor(self.feature_names[at], float(added[at])) for at in order if added[at] != 0)
        rest = float(np.delete(added, order).sum())
        logit = intercept + sum(each.contribution for each in factors) + rest
        return Explanation(logit, intercept, factors, rest)

    def _silence(self, features: Stored) -> Floats:
        """Time since the last event, as a share of the time people are looked at, (n)."""
        ticks = np.expm1(features[:, _RECENCY].astype(np.float64))
        return np.clip(ticks / _TICKS * (self.horizon_ms / self.active_ms), 0.0, 1.0)

    def _checked(self, prepared: Prepared) -> Stored:
        features = prepared.features
        if features.ndim != 2 or features.shape[1] != len(self.feature_names):
            raise ModelError(f"features: expected (n, {len(self.feature_names)}), found {features.shape}")
        return features

    def to_bytes(self) -> bytes:
        """The whole model, versioned. Not a pickle: it survives other versions of every library."""
        return msgspec.msgpack.encode({"model": "churn", "version": self.VERSION, "state": self._to_state()})

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """The model as it was. Raises ModelError for anything but bytes of this model and version."""
        try:
            packed = msgspec.msgpack.decode(raw)
            found = packed["model"], packed["version"]
        except (msgspec.DecodeError, TypeError, KeyError) as error:
            raise ModelError(f"not the state of a model of churn: {error}") from error
        if found != ("churn", cls.VERSION):
            raise ModelError(f"expected churn of version {cls.VERSION}, found {found[0]} of version {found[1]}")
        try:
            return cls._from_state(packed["state"])
        except (TypeError, LookupError, AttributeError, ValueError, ArithmeticError) as error:
            raise ModelError(f"not a state of a model of churn: {error!r}") from error

    def _to_state(self) -> dict[str, Any]:
        return {
            "names": self.names,
            "logs": self.logs,
            "horizon_ms": self.horizon_ms,
            "active_ms": self.active_ms,
            "by_events": self._by_events.to_state(),
            "by_days": self._by_days.to_state(),
            "models": self._models.to_state(),
            "platts": [platt.to_state() for platt in self._platts],
            "began_ms": self._began_ms,
            "champion": self._champion,
            "baselines": self._baselines.to_state(),
            "prequential": self._prequential.to_state(),
            "drift": self._drift.to_state(),
            "against_recency": self._against_recency.to_state(),
            "against_champion": self._against_champion.to_state(),
            "labels": self._labels,
            "version": self.version,
            "swapped_ms": self.swapped_ms,
            "drifts": self.drifts,
            "drifted_ms": self.drifted_ms,
        }

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        made = cls(state["names"], horizon_ms=state["horizon_ms"], active_ms=state["active_ms"], logs=state["logs"])
        made._by_events = Population.from_state(state["by_events"])
        made._by_days = Population.from_state(state["by_days"])
        made._models = Logistics.from_state(state["models"])
        made._platts = [Platt.from_state(each) for each in state["platts"]]
        made._began_ms = list(state["began_ms"])
        made._champion = state["champion"]
        made._baselines = Baselines.from_state(state["baselines"])
        made._prequential = Prequential.from_state(state["prequential"])
        made._drift = Drift.from_state(state["drift"])
        made._against_recency = Paired.from_state(state["against_recency"])
        made._against_champion = Paired.from_state(state["against_champion"])
        made._labels = list(state["labels"])
        made.version = state["version"]
        made.swapped_ms = state["swapped_ms"]
        made.drifts = state["drifts"]
        made.drifted_ms = state["drifted_ms"]
        return made


def _mixed(rows: int) -> NDArray[np.intp]:
    """An order of rows that is always the same and has neighbours far apart.

    Rows come in an order of something, and the intercept would go after whatever was last.
    """
    step = max(1, round(rows * 0.6180339887))
    while np.gcd(step, rows) != 1:
        step += 1
    return np.arange(rows) * step % rows
