"""People who come and go, as events; pipelines with a stage of churn; and the labels worked out another way."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sinks.score_records import PersonScore
from stream.batches import RawBatch
from stream.catalog import parse
from stream.churn import ChurnDay
from stream.durations import DAY_MS
from stream.enrich import Pseudonyms
from stream.people.journal import Files
from stream.pipeline import Pipeline, Snapshot
from stream.plan import Plan, compile_plan
from tests.batches import T0, data_batch, pseudonyms

HORIZON, ACTIVE = 3 * DAY_MS, 5 * DAY_MS
CATALOG = """
[event]
time = "t"
person = "who"
allowed_lateness = "2h"
[churn]
horizon = "3d"
active = "5d"
min_events = 2
high = 0.7
medium = 0.4
[[churn.feature]]
name = "depth"
kind = "mean"
value = "depth"
words = "depth"
[churn.actions]
high = ["offer a voucher"]
[churn.actions.factor]
depth = ["show something new"]
"""

Event = dict[str, Any]
Row = tuple[str, int]
"""A person, by pseudonym, and the end of a day."""


def plan_of(text: str = CATALOG) -> Plan:
    return compile_plan(parse(text), builtin=False)


def visits(people: int, days: int, seed: int = 1) -> list[Event]:
    """Events in order of time: each person has a pace of their own and leaves for good at some time."""
    rng = random.Random(seed)
    events: list[Event] = []
    for number in range(people):
        at = T0 + rng.uniform(0, days / 2) * DAY_MS
        pace, leaves = rng.choice([0.3, 0.8, 2.0]), rng.random() * 0.3
        while at < T0 + days * DAY_MS:
            depth = round(rng.gauss(5, 2), 3)
            events.append({"t": int(at), "who": f"p{number}", "depth": depth, "n": len(events)})
            if rng.random() < leaves:
                break
            at += rng.expovariate(1 / (pace * DAY_MS)) + 1
    return sorted(events, key=lambda event: event["t"])


def oracle(events: Iterable[Event], least: int = 2) -> dict[Row, bool | None]:
    """Whether each person had left, for each person-day, worked out for each by itself; None where nobody knows."""
    times: dict[str, list[int]] = {}
    for event in events:
        times.setdefault(pseudonyms().of(event["who"]), []).append(event["t"])
    last_ms = max(max(some) for some in times.values())
    found: dict[Row, bool | None] = {}
    for end_ms in range(T0, last_ms + 1, DAY_MS):
        for person, some in times.items():
            seen = [at for at in some if at <= end_ms]
            if len(seen) >= least and max(seen) > end_ms - ACTIVE:
                known = end_ms + HORIZON <= last_ms - last_ms % DAY_MS
                came = any(end_ms < at <= end_ms + HORIZON for at in some)
                found[person, end_ms] = not came if known else None
    return found


@dataclass
class Heard:
    """All that a stage of churn has said."""

    days: list[ChurnDay] = field(default_factory=list)

    @property
    def scores(self) -> dict[Row, PersonScore]:
        return {(one.person, one.as_of_ms): one for day in self.days for part in day.scores for one in part.scores}

    @property
    def probabilities(self) -> dict[Row, float]:
        return {row: score.probability for row, score in self.scores.items()}

    @property
    def labels(self) -> dict[Row, bool | None]:
        """Of each row that has a score; None where it is not known."""
        found: dict[Row, bool | None] = dict.fromkeys(self.scores)
        for day in self.days:
            if day.answers is not None:
                persons = day.answers.rows.persons.texts()
                for person, churned in zip(persons, day.answers.churned.tolist(), strict=True):
                    found[person, day.answers.as_of_ms] = churned
        return found


def made(
    heard: Heard,
    plan: Plan | None = None,
    *,
    shards: int = 1,
    whole: bool = False,
    files: Files | None = None,
    key: Pseudonyms | None = None,
) -> Pipeline:
    return Pipeline(
        plan or plan_of(),
        key or pseudonyms(),
        shards=shards,
        whole_input=whole,
        files=files,
        on_churn=heard.days.append,
    )


def batches(events: Sequence[Event], size: int = 40) -> list[RawBatch]:
    """As they come from a stream, each read when its latest event happens."""
    found: list[RawBatch] = []
    read_at_ms = T0
    for at in range(0, len(events), size):
        some = events[at : at + size]
        read_at_ms = max(read_at_ms, *(event["t"] for event in some))
        found.append(data_batch(some, read_at_ms=read_at_ms, first=at))
    return found


def whole(events: Sequence[Event], plan: Plan | None = None, *, shards: int = 1) -> Heard:
    """All at once, as `compute` and the backtest do it."""
    heard = Heard()
    pipeline = made(heard, plan, shards=shards, whole=True)
    for batch in batches(events):
        pipeline.add(batch, batch.read_at_ms)
    pipeline.finish(T0)
    return heard


def live(
    events: Sequence[Event], plan: Plan | None = None, *, shards: int = 1, restarts: Iterable[int] = (), size: int = 40
) -> Heard:
    """Batch by batch, with a tick after each, a snapshot every other time, and going back to the last one after the
    batches `restarts`; what had come since then comes again. Streams do not end, so the last days are said by
    `finish`."""
    heard = Heard()
    pipeline = made(heard, plan, shards=shards)
    files = pipeline.snapshot().files
    saved: tuple[int, int, Snapshot | None] = (0, 0, None)
    todo, back = batches(events, size), set(restarts)
    at = 0
    while at < len(todo):
        pipeline.add(todo[at], todo[at].read_at_ms)
        pipeline.tick(todo[at].read_at_ms)
        at += 1
        if at in back:
            back.discard(at)
            at, said, snapshot = saved
            del heard.days[said:]
            pipeline = made(heard, plan, shards=shards, files=files)
            if snapshot is not None:
                pipeline.restore(snapshot)
        elif at % 2 == 0:
            saved = (at, len(heard.days), pipeline.snapshot())
    pipeline.finish(T0)
    return heard
