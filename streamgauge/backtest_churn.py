"""What would have been said of who leaves, over event files: the very pipeline, and how good it would have been."""

from __future__ import annotations

import csv
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from models.churn import STORED as SAID
from models.churn import WARM_LABELS, WARM_OF_A_KIND, WORDS
from sinks.records import DeadLetter, iso
from sinks.score_records import ModelStatus
from stream.arrays import Floats, Mask
from stream.catalog import Catalog
from stream.churn import FEATURES, STORED, Answers, ChurnDay
from stream.churn_rows import Persons
from stream.churn_said import ScoreBatch
from stream.durations import DAY_MS
from stream.enrich import Pseudonyms
from stream.geo import Geo
from stream.pipeline import Pipeline
from stream.plan import compile_plan
from stream.walltime import clock_ms
from streamgauge.compute import batches
from streamgauge.progress import progress_bar

_SILENCE = tuple(WORDS).index("recency")
"""Where the model's features say for how long somebody has been silent: more is longer."""
COLUMNS = ("person", "as_of", "probability", "label")
BINS = 10


class NamedPseudonyms(Pseudonyms):
    """Pseudonyms that know whose they are, for a file that is to be joined with others by id."""

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        self.ids: dict[str, str] = {}

    def of(self, person: str) -> str:
        pseudonym = super().of(person)
        self.ids[pseudonym] = person
        return pseudonym


@dataclass(frozen=True, slots=True)
class Figures:
    """How well probabilities (n) tell what became of people (n)."""

    auc: float
    """NaN where all of them did the same."""
    log_loss: float
    """Nats."""
    ece: float
    """Expected calibration error over tenths."""


@dataclass(frozen=True, slots=True)
class Tenth:
    """Person-days of which about the same was said."""

    rows: int
    said: float
    left: float


@dataclass(slots=True)
class _Waiting:
    """What was said at the end of a day, until it is known what became of it."""

    as_of_ms: int
    persons: Persons
    probability: Floats
    churned: Mask | None = None


@dataclass(slots=True)
class ChurnBacktest:
    """Takes days as the stage finishes them, writes a line for each person-day, and counts how good it was.

    *Cost*: rows are held for as long as the horizon, and 17 bytes of each answer that counts for good.
    """

    out: TextIO | None
    from_ms: int
    """Days that end before it are learned, but do not count."""
    ids: dict[str, str] | None = None
    """Whom pseudonyms stand for, where they are to be written so."""
    days: int = 0
    person_days: int = 0
    first_ms: int = 0
    last_ms: int = 0
    labels: int = 0
    left: int = 0
    status: ModelStatus | None = None
    swaps: list[int] = field(default_factory=list)
    """When the champion changed."""
    drifts: list[int] = field(default_factory=list)
    _waiting: deque[_Waiting] = field(default_factory=deque)
    _said: list[Floats] = field(default_factory=list)
    _by_recency: list[Floats] = field(default_factory=list)
    _silence: list[Floats] = field(default_factory=list)
    _constant: list[Floats] = field(default_factory=list)
    _churned: list[Mask] = field(default_factory=list)

    def begin(self) -> None:
        if self.out is not None:
            csv.writer(self.out, lineterminator="\n").writerow(COLUMNS)

    def take(self, day: ChurnDay) -> None:
        if day.answers is not None:
            self._answer(day.answers)
        batches = [one.scores for one in day.scores if isinstance(one.scores, ScoreBatch)]
        for batch in batches:
            self._waiting.append(_Waiting(day.end_ms, batch.of.persons, batch.of.said.probability))
            self.person_days += len(batch)
        if self.person_days and not self.days:
            self.first_ms = day.end_ms
        self.days += self.person_days > 0
        self.last_ms = day.end_ms
        for now, when in ((day.status.swapped_ms, self.swaps), (day.status.drifted_ms, self.drifts)):
            if now is not None and now not in when:
                when.append(now)
        self.status = day.status

    def end(self) -> None:
        """Write what nobody will know the answer of."""
        while self._waiting:
            self._write(self._waiting.popleft())

    def _answer(self, answers: Answers) -> None:
        """Days are finished in order, so what is known is of the day that has waited for longest."""
        at = 0
        while self._waiting and self._waiting[0].as_of_ms <= answers.as_of_ms:
            waiting = self._waiting.popleft()
            if waiting.as_of_ms == answers.as_of_ms:
                waiting.churned = answers.churned[at : at + len(waiting.persons)]
                at += len(waiting.persons)
            self._write(waiting)
        churned = answers.churned
        self.labels += len(churned)
        self.left += int(churned.sum())
        if answers.as_of_ms >= self.from_ms:
            said = answers.rows.columns[STORED]
            self._said.append(said[:, SAID.index("probability")])
            self._by_recency.append(said[:, SAID.index("recency")])
            self._silence.append(answers.rows.columns[FEATURES][:, _SILENCE])
            self._constant.append(said[:, SAID.index("constant")])
            self._churned.append(churned)

    def _write(self, waiting: _Waiting) -> None:
        if self.out is None:
            return
        persons = waiting.persons.texts()
        if self.ids is not None:
            persons = [self.ids.get(person, person) for person in persons]
        known = [""] * len(persons) if waiting.churned is None else waiting.churned.astype(np.int8).tolist()
        as_of = iso(waiting.as_of_ms)
        rows = zip(persons, waiting.probability.tolist(), known, strict=True)
        csv.writer(self.out, lineterminator="\n").writerows(
            (person, as_of, f"{probability:.6f}", label) for person, probability, label in rows
        )

    def quality(self) -> tuple[dict[str, Figures], list[Tenth], int, float]:
        """The model and what there is without one, by name; tenths of probability; answers that count, and the share
        of those who left."""
        said, recency, silence, constant, churned = (
            np.concatenate(parts).astype(np.float64) if parts else np.empty(0)
            for parts in (self._said, self._by_recency, self._silence, self._constant, self._churned)
        )
        left = churned.astype(np.bool_)
        named = {"model": said, "recency": recency, "base rate": constant}
        found = {name: figures(one, left) for name, one in named.items()}
        if not len(left):
            return found, [], 0, math.nan
        # Who came last is known whatever is said of it: probabilities of one day are not quite those of another.
        found["recency"] = replace(found["recency"], auc=auc(silence, left))
        # Whoever knows nothing of a person cannot tell two of them apart, also where the share changes from day to day.
        base = found["base rate"]
        found["base rate"] = replace(base, auc=0.5 if not math.isnan(base.auc) else math.nan)
        return found, tenths(said, left), len(left), float(left.mean())


def backtest(
    catalog: Catalog,
    paths: list[Path],
    key: bytes,
    run: ChurnBacktest,
    *,
    geo: Geo | None = None,
    raw_ids: bool = False,
    quiet: bool = False,
) -> list[DeadLetter]:
    """Run files through the pipeline of a catalog with `[churn]`; `run` is told of each day. Returns what was refused.

    Raises FileError for a file that cannot be read.
    """
    # Nothing of this changes what is said of who leaves; `[sessions]` does, as visits are what it says.
    left_out: dict[str, Any] = {
        name: [] for name in ("metric", "forecast", "board", "anomaly", "retention", "funnel", "paths")
    }
    left_out |= dict.fromkeys(("actives", "engagement"))
    people = catalog.people.model_copy(update={"timeline": None})
    plan = compile_plan(catalog.model_copy(update={**left_out, "people": people}), builtin=False)
    pseudonyms = NamedPseudonyms(key) if raw_ids else Pseudonyms(key)
    run.ids = pseudonyms.ids if isinstance(pseudonyms, NamedPseudonyms) else None
    pipeline = Pipeline(plan, pseudonyms, whole_input=True, on_churn=run.take, geo=geo)
    refused: list[DeadLetter] = []
    run.begin()
    with progress_bar(quiet) as bar:
        for batch in batches(paths, plan.streams[0], bar.advance):
            refused.extend(pipeline.add(batch, clock_ms()))
        pipeline.finish(clock_ms())
    run.end()
    return refused


def figures(probability: Floats, left: Mask) -> Figures:
    """Of probabilities (n) and what became of it (n)."""
    if not len(left):
        return Figures(math.nan, math.nan, math.nan)
    held = np.clip(np.where(left, probability, 1 - probability), 1e-6, 1.0)
    ece = sum(one.rows * abs(one.said - one.left) for one in tenths(probability, left) if one.rows) / len(left)
    return Figures(auc(probability, left), float(-np.log(held).mean()), ece)


def auc(probability: Floats, left: Mask) -> float:
    """Chance that one who left had been said to be likelier to than one who stayed; the same counts half."""
    gone = int(left.sum())
    stayed = len(left) - gone
    if not gone or not stayed:
        return math.nan
    _, place, count = np.unique(probability, return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - (count - 1) / 2
    return float((rank[place][left].sum() - gone * (gone + 1) / 2) / (gone * stayed))


def tenths(probability: Floats, left: Mask) -> list[Tenth]:
    """From 0 to 1; those without anybody as well."""
    place = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    rows = np.bincount(place, minlength=BINS)
    said, gone = (np.bincount(place, weights, BINS) for weights in (probability, left.astype(np.float64)))
    return [
        Tenth(int(n), float(a / n) if n else math.nan, float(b / n) if n else math.nan)
        for n, a, b in zip(rows, said, gone, strict=True)
    ]


def report(run: ChurnBacktest, catalog: Catalog) -> Iterator[str]:
    """The summary, for people."""
    assert catalog.churn is not None
    if not run.person_days or run.status is None:
        yield "no person-days: nobody had the events that count, at the end of a day that the files reach"
        return
    horizon = catalog.churn.horizon
    yield (
        f"person-days {run.person_days:,} in {run.days:,} days, {iso(run.first_ms)} to {iso(run.last_ms)}; of "
        f"{run.labels:,} it is known what became of them"
    )
    if not run.labels:
        span = (run.last_ms - run.first_ms) // DAY_MS
        yield (
            f"unproven    nothing could be learned: the days that were scored span {span} days, and who leaves shows "
            f"after {horizon}. Every probability is a guess"
        )
        return
    found, reliability, counted, share = run.quality()
    if not counted:
        yield f"nothing counts: --from is behind {iso(run.last_ms)} less the horizon of {horizon}"
    else:
        since = "" if run.from_ms <= run.first_ms else f" of days from {iso(run.from_ms)} on"
        yield f"counted     {counted:,}{since}; {share:.1%} had nothing that counts within {horizon}"
        yield f"{'':<12}{'AUC':>8}{'log loss':>10}{'ECE':>8}"
        for name, one in found.items():
            yield f"{name:<12}{_number(one.auc):>8}{_number(one.log_loss):>10}{_number(one.ece):>8}"
        yield f"{'said':<12}{'person-days':>12}{'mean said':>11}{'left':>8}"
        for place, tenth in enumerate(reliability):
            if tenth.rows:
                said = f"{place / BINS:.1f} to {(place + 1) / BINS:.1f}"
                yield f"{said:<12}{tenth.rows:>12,}{tenth.said:>11.3f}{tenth.left:>8.3f}"
    status = run.status
    yield f"model       version {status.version}, {status.samples:,} answers learned, {status.state_bytes:,} bytes"
    yield f"            {_when('swapped', run.swaps)}; {_when('drifts', run.drifts)}"
    yield _verdict(run, status)


def _verdict(run: ChurnBacktest, status: ModelStatus) -> str:
    """Whether it is worth anything, and why not."""
    if status.proven:
        return "proven      better than knowing when somebody came last, beyond noise"
    if not run.left:
        return "unproven    everybody came back: there is nobody whom it could have told from the others"
    if run.left == run.labels:
        return "unproven    nobody came back: there is nobody whom it could have told from the others"
    few = min(run.left, run.labels - run.left)
    if run.labels < WARM_LABELS or few < WARM_OF_A_KIND:
        wanted = f"{WARM_LABELS} answers, {WARM_OF_A_KIND} of each kind"
        return (
            f"unproven    too little to go by: {run.labels:,} answers, {few:,} of the rarer kind; {wanted} are needed"
        )
    return "unproven    not better than knowing when somebody came last, as far as can be told from noise"


def _when(what: str, times_ms: list[int]) -> str:
    return f"{what} {', '.join(iso(at) for at in times_ms)}" if times_ms else f"{what} never"


def _number(number: float) -> str:
    return "-" if math.isnan(number) else f"{number:.4f}"
