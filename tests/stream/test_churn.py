from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from sinks.records import Point
from sinks.score_records import Level, PersonScore
from stream.churn import FEATURES, ChurnDay, ChurnStage
from stream.churn_files import PREFIX
from stream.durations import DAY_MS
from stream.enrich import Pseudonyms
from stream.people.journal import MemoryFiles
from stream.snapshots import StateError
from tests.batches import T0, pseudonyms
from tests.stream.churning import (
    CATALOG,
    HORIZON,
    Event,
    Heard,
    Row,
    batches,
    live,
    made,
    oracle,
    plan_of,
    visits,
    whole,
)

EVENTS = visits(60, 24)
HOUR = 3_600_000


def same(one: Mapping[Row, float], other: Mapping[Row, float]) -> bool:
    return one.keys() == other.keys() and all(math.isclose(one[row], other[row], rel_tol=1e-6) for row in one)


def test_labels_are_those_of_the_definition() -> None:
    heard = whole(EVENTS)
    expected = oracle(EVENTS)
    assert heard.labels == expected
    known = [label for label in expected.values() if label is not None]
    assert len(known) > 300
    assert 0.1 < sum(known) / len(known) < 0.9


@pytest.mark.parametrize(("later_ms", "left"), [(0, False), (1, True)])
def test_who_comes_at_the_very_end_of_the_horizon_came_back(later_ms: int, left: bool) -> None:
    begun = [{"t": T0 + at, "who": "a", "depth": 1} for at in (1, 2)]
    back = {"t": T0 + DAY_MS + HORIZON + later_ms, "who": "a", "depth": 1}
    others = [{"t": T0 + day * DAY_MS + 5, "who": "b", "depth": 1} for day in range(8)]
    labels = whole(sorted([*begun, back, *others], key=lambda event: event["t"])).labels
    assert labels[pseudonyms().of("a"), T0 + DAY_MS] is left


def test_who_comes_back_early_is_no_news_before_the_horizon_is_over() -> None:
    cut_ms = T0 + 16 * DAY_MS
    early = [event for event in EVENTS if event["t"] <= cut_ms or event["who"] > "p3"]
    assert len(early) < len(EVENTS)
    ours, theirs = (
        {row: one for row, one in whole(events).probabilities.items() if row[1] <= cut_ms} for events in (EVENTS, early)
    )
    assert ours == theirs
    returns = [day for day in whole(EVENTS).days if day.answers is not None]
    assert all(day.end_ms == day.answers.as_of_ms + HORIZON for day in returns if day.answers is not None)


@pytest.mark.parametrize("shards", [1, 3])
def test_live_says_what_the_backtest_says(shards: int) -> None:
    expected = whole(EVENTS)
    heard = live(EVENTS, shards=shards)
    assert same(heard.probabilities, expected.probabilities)
    assert heard.labels == expected.labels


@pytest.mark.parametrize("seed", range(3))
def test_order_within_the_lateness_and_duplicates_change_nothing(seed: int) -> None:
    rng = random.Random(seed)
    late = [(event["t"] + rng.uniform(0, 1.5 * HOUR), event) for event in EVENTS]
    late += [(at + rng.uniform(0, 0.4 * HOUR), event) for at, event in late if rng.random() < 0.2]
    shuffled = [event for _, event in sorted(late, key=lambda one: one[0])]
    assert shuffled != EVENTS
    expected = whole(EVENTS)
    # In small batches: a large one would be of days, and what comes again after a day is not known any more.
    heard = live(shuffled, shards=2, size=5)
    assert same(heard.probabilities, expected.probabilities)
    assert heard.labels == expected.labels


@pytest.mark.parametrize("restarts", [(1,), (5, 6, 7), (3, 11), tuple(range(1, 60, 3))])
def test_a_restart_between_the_score_and_its_answer_changes_nothing(restarts: tuple[int, ...]) -> None:
    expected = live(EVENTS, shards=2, size=10)
    heard = live(EVENTS, shards=2, size=10, restarts=restarts)
    assert heard.probabilities == expected.probabilities
    assert heard.labels == expected.labels


def test_any_of_the_last_snapshots_may_be_gone_back_to() -> None:
    heard = Heard()
    pipeline = made(heard)
    todo = batches(EVENTS, 20)
    saved = []
    for at, batch in enumerate(todo):
        pipeline.add(batch, batch.read_at_ms)
        pipeline.tick(T0)
        saved.append((at, len(heard.days), pipeline.snapshot()))
    for at, said, snapshot in saved[-8:]:
        content = dict(snapshot.files.content) if isinstance(snapshot.files, MemoryFiles) else {}
        files = MemoryFiles()
        files.content = content
        again = Heard(heard.days[:said])
        resumed = made(again, files=files)
        resumed.restore(snapshot)
        for batch in todo[at + 1 :]:
            resumed.add(batch, batch.read_at_ms)
            resumed.tick(T0)
        assert again.probabilities == heard.probabilities


def test_files_go_when_nothing_needs_them() -> None:
    files = MemoryFiles()
    heard = Heard()
    pipeline = made(heard, files=files)
    most = 0
    for batch in batches(visits(60, 40), 10):
        pipeline.add(batch, batch.read_at_ms)
        pipeline.tick(T0)
        pipeline.snapshot()
        most = max(most, sum(name.startswith(PREFIX) for name in files.content))
    assert len(heard.days) > 30
    # Three days of rows that wait, a day that is not finished, and what eight snapshots have named besides.
    assert most <= 3 + 1 + 2 * 8


def test_a_file_that_is_missing_or_broken_is_told() -> None:
    files = MemoryFiles()
    pipeline = made(Heard(), files=files)
    for batch in batches(EVENTS):
        pipeline.add(batch, batch.read_at_ms)
        pipeline.tick(T0)
    snapshot = pipeline.snapshot()
    name = next(name for name in files.content if name.startswith(PREFIX))
    kept = files.content[name]
    for broken in (b"nothing of ours", kept[: len(kept) // 2]):
        files.content[name] = broken
        with pytest.raises(StateError, match=PREFIX):
            made(Heard(), files=files).restore(snapshot)
    del files.content[name]
    with pytest.raises(StateError, match=PREFIX):
        made(Heard(), files=files).restore(snapshot)


def test_names_of_people_do_not_matter() -> None:
    """Neither the key of pseudonyms nor who has which id: rows are learned in an order of their own."""
    other = Pseudonyms(b"quite another key of ours")
    expected = whole(EVENTS)
    heard = Heard()
    pipeline = made(heard, whole=True, key=other)
    for batch in batches(EVENTS):
        pipeline.add(batch, batch.read_at_ms)
    pipeline.finish(T0)
    persons = sorted({event["who"] for event in EVENTS})
    ours, theirs = pseudonyms(), other
    for person in persons:
        mine = {at: p for (who, at), p in expected.probabilities.items() if who == ours.of(person)}
        assert mine == {at: p for (who, at), p in heard.probabilities.items() if who == theirs.of(person)}


def test_people_alike_of_whom_one_comes_back_are_learned_alike_under_any_name() -> None:
    def events(goes: str) -> list[Event]:
        same_days = [
            {"t": T0 + day * DAY_MS + hour * HOUR, "who": who, "depth": 4, "n": f"{who}{day}{hour}"}
            for who in ("a", "b", "c", "d")
            for day in range(3)
            for hour in (1, 2)
        ]
        stays = [
            {"t": T0 + day * DAY_MS + HOUR, "who": who, "depth": 4, "n": f"{who}{day}"}
            for who in {"a", "b", "c", "d"} - {goes}
            for day in range(3, 10)
        ]
        return sorted([*same_days, *stays], key=lambda event: event["t"])

    ends = [
        sorted(p for (_, at), p in whole(events(goes)).probabilities.items() if at == T0 + 9 * DAY_MS)
        for goes in "abcd"
    ]
    assert ends.count(ends[0]) == 4


def test_explanations_add_up_and_speak() -> None:
    heard = whole(EVENTS)
    scores = [score for score in heard.scores.values() if score.factors]
    assert len(scores) > 300
    for score in scores:
        told = score.intercept + sum(factor.contribution for factor in score.factors) + score.rest
        assert told == pytest.approx(score.logit, abs=1e-6)
        assert score.probability == pytest.approx(1 / (1 + math.exp(-score.logit)), abs=1e-9)
        sizes = [abs(factor.contribution) for factor in score.factors]
        assert sizes == sorted(sizes, reverse=True)
        assert len(sizes) <= 5
        assert all(factor.words for factor in score.factors)
        assert score.level is (
            Level.HIGH if score.probability >= 0.7 else Level.MEDIUM if score.probability >= 0.4 else Level.LOW
        )
        assert ("offer a voucher" in score.actions) is (score.level is Level.HIGH)
        speaks = any(factor.name.startswith("depth") and factor.contribution > 0 for factor in score.factors)
        assert ("show something new" in score.actions) is (speaks and score.level is not Level.LOW)
    assert len({score.level for score in scores}) == 3


def test_what_a_person_was_the_day_before() -> None:
    heard = whole(EVENTS)
    levels = {row: score.level for row, score in heard.scores.items()}
    assert all(score.was is levels.get((person, at - DAY_MS)) for (person, at), score in heard.scores.items())
    for yesterday, today in itertools.pairwise(heard.days):
        before, now = ({one.person for part in day.scores for one in part.scores} for day in (yesterday, today))
        assert {person for part in today.scores for person in part.left} == before - now
    assert sum(len(part.left) for day in heard.days for part in day.scores) > 20


def points_of(heard: Heard, end_ms: int) -> dict[str, dict[tuple[str, ...], Point]]:
    (day,) = [day for day in heard.days if day.end_ms == end_ms]
    found: dict[str, dict[tuple[str, ...], Point]] = {}
    for point in day.emission.durable:
        assert (point.window, point.start_ms) == ("1d", end_ms - DAY_MS)
        found.setdefault(point.metric, {})[tuple(value for _, value in point.dimensions)] = point
    return found


def test_points_of_a_day() -> None:
    heard = whole(EVENTS, plan_of(CATALOG.replace("min_events = 2", "min_events = 2\nsegments = 0")))
    end_ms = heard.days[-2].end_ms
    scores = [score for (_, at), score in heard.scores.items() if at == end_ms]
    found = points_of(heard, end_ms)
    for level in Level:
        assert found["churn_people"][(level.value,)].value == sum(score.level is level for score in scores)
    for before, after in itertools.permutations(Level, 2):
        moved = sum(score.was is before and score.level is after for score in scores)
        assert found["churn_moves"][before.value, after.value].value == moved
    assert found["churn_mean"][()].value == pytest.approx(np.mean([score.probability for score in scores]))
    quality = found["churn_quality"][()].value
    assert isinstance(quality, Mapping)
    assert {"auc", "auc_recency", "log_loss", "log_loss_base", "ece"} <= quality.keys()


def test_days_without_anybody_are_learned_too() -> None:
    some = visits(40, 8, seed=3)
    later = [{"t": T0 + 40 * DAY_MS + hour * HOUR, "who": "z", "depth": 1} for hour in range(1, 30)]
    heard = whole([*some, *later])
    labels = heard.labels
    assert labels == oracle([*some, *later])
    ends = [day.end_ms for day in heard.days]
    assert ends == sorted(set(ends))


def rows_known(files: MemoryFiles, person: str) -> int:
    raw = [np.array([int(person[at : at + 16], 16)], dtype=np.uint64).tobytes() for at in (0, 16)]
    import zstandard

    found = 0
    for name, content in files.content.items():
        if name.startswith(PREFIX):
            found += all(half in zstandard.ZstdDecompressor().decompress(content) for half in raw)
    return found


def test_who_is_forgotten_is_in_no_file_and_no_state() -> None:
    files = MemoryFiles()
    heard = Heard()
    pipeline = made(heard, files=files, shards=2)
    todo = batches(EVENTS, 10)
    half = len(todo) // 2
    for batch in todo[:half]:
        pipeline.add(batch, batch.read_at_ms)
        pipeline.tick(T0)
        pipeline.snapshot()
    (person, _), *_ = [row for row in heard.scores if row[1] == heard.days[-1].end_ms]
    assert rows_known(files, person) > 1
    stage = pipeline._churn
    assert stage is not None
    for _ in range(8):
        pipeline.snapshot()
    assert not stage.has_old_files
    pipeline.forget(person)
    # Whoever runs the stage has to make snapshots, also when no day ends for long.
    assert stage.has_old_files
    said = len(heard.days)
    for _ in range(8):
        snapshot = pipeline.snapshot()
    assert not stage.has_old_files
    assert rows_known(files, person) == 0
    assert snapshot.churn is not None
    resumed = made(heard, files=files, shards=2)
    resumed.restore(snapshot)
    for batch in todo[half:]:
        resumed.add(batch, batch.read_at_ms)
        resumed.tick(T0)
    later = Heard(heard.days[said:])
    assert later.days
    assert person not in {one for one, _ in later.scores}
    assert person not in {one for one, _ in later.labels}
    assert person not in {one for day in later.days for part in day.scores for one in part.left}


def test_other_features_make_it_learn_anew(caplog: pytest.LogCaptureFixture) -> None:
    heard = Heard()
    pipeline = made(heard)
    todo = batches(EVENTS, 10)
    half = len(todo) // 2
    for batch in todo[:half]:
        pipeline.add(batch, batch.read_at_ms)
        pipeline.tick(T0)
    snapshot = pipeline.snapshot()
    assert heard.days[-1].status.samples
    plan = plan_of(CATALOG.replace('name = "depth"', 'name = "deep"').replace("depth = [", "deep = ["))
    said = len(heard.days)
    changed = made(heard, plan, files=snapshot.files)
    changed.restore(snapshot)
    assert "learns anew" in caplog.text
    for batch in todo[half:]:
        changed.add(batch, batch.read_at_ms)
        changed.tick(T0)
    later = heard.days[said:]
    assert [day.answers is None for day in later[:3]] == [True] * 3
    assert later[0].status.samples == 0
    assert later[-1].status.samples > 0
    truth = oracle(EVENTS)
    assert all(label in (None, truth[row]) for row, label in Heard(later).labels.items() if row in truth)


def changed_halfway(catalog: str) -> tuple[list[ChurnDay], list[ChurnDay]]:
    """What is said before and after the catalog becomes another one."""
    heard = Heard()
    pipeline = made(heard)
    todo = batches(EVENTS, 10)
    half = len(todo) // 2
    for batch in todo[:half]:
        pipeline.add(batch, batch.read_at_ms)
        pipeline.tick(T0)
    snapshot = pipeline.snapshot()
    said = len(heard.days)
    changed = made(heard, plan_of(catalog), files=snapshot.files)
    changed.restore(snapshot)
    for batch in todo[half:]:
        changed.add(batch, batch.read_at_ms)
        changed.tick(T0)
    return heard.days[:said], heard.days[said:]


def test_whoever_is_looked_at_no_more_has_not_left() -> None:
    truth = oracle(EVENTS)
    before, later = changed_halfway(CATALOG.replace("min_events = 2", "min_events = 5"))
    labels = Heard([*before, *later]).labels
    assert any(label is not None for row, label in labels.items() if row[1] >= later[0].end_ms)
    assert {row: label for row, label in labels.items() if label is not None and truth[row] is not label} == {}


def test_days_of_another_zone_end_at_its_own_midnight() -> None:
    before, later = changed_halfway('[platform]\ntimezone = "Asia/Kolkata"\n' + CATALOG)
    ends = [day.end_ms for day in later]
    assert ends[0] - before[-1].end_ms < 2 * DAY_MS
    assert np.diff(ends).tolist() == [DAY_MS] * (len(ends) - 1)
    assert all((end_ms + 5.5 * HOUR) % DAY_MS == 0 for end_ms in ends)
    assert all(len(day.scores[0].scores) for day in later[1:])
    # Whoever had a score and is not there any more loses it.
    had = {one.person for part in before[-1].scores for one in part.scores}
    has = {one.person for part in later[0].scores for one in part.scores}
    assert set(later[0].scores[-1].left) == had - has


def test_what_comes_for_a_day_that_is_finished_is_counted_and_left_out() -> None:
    plan = plan_of(CATALOG.replace("[churn]", '[churn]\nsettle = "1s"'))
    assert plan.churn is not None
    heard = Heard()
    pipeline = made(heard, plan)
    stage = pipeline._churn
    assert isinstance(stage, ChurnStage)
    first = [{"t": T0 + at, "who": "a", "depth": 1} for at in (1, 2)]
    late = {"t": T0 + DAY_MS - HOUR, "who": "b", "depth": 1}
    after = [{"t": T0 + DAY_MS + at, "who": "c", "depth": 1} for at in (10_000, 20_000)]
    for event in (*first, after[0], late, {**late, "depth": 2}, after[1]):
        (batch,) = batches([event])
        pipeline.add(replace(batch, read_at_ms=T0 + 2 * DAY_MS), T0 + 2 * DAY_MS)
        pipeline.tick(T0)
    assert [day.end_ms for day in heard.days] == [T0 + DAY_MS]
    assert stage.unheard == 1
    assert {person for person, _ in heard.scores} == {pseudonyms().of("a")}


def test_a_large_day_is_told_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = whole(EVENTS)
    monkeypatch.setattr("stream.churn._AT_ONCE", 7)
    heard = whole(EVENTS)
    assert max(len(day.scores) for day in heard.days) > 2
    assert all(len(part.scores) <= 7 for day in heard.days for part in day.scores)
    assert all(not part.left for day in heard.days for part in day.scores[:-1])
    assert heard.scores == expected.scores
    for day in heard.days:
        for part in day.scores:
            every = list(part.scores)
            assert part.scores[2:5] == every[2:5]
            assert all(isinstance(one, PersonScore) for one in every)


def test_a_model_explains_a_row_as_the_stage_does() -> None:
    heard = Heard()
    pipeline = made(heard, whole=True)
    for batch in batches(EVENTS):
        pipeline.add(batch, batch.read_at_ms)
    pipeline.finish(T0)
    stage = pipeline._churn
    assert stage is not None
    last = heard.days[-1]
    rows = stage._files.read_rows(stage._scored[last.end_ms])
    scores = [score for part in last.scores for score in part.scores]
    assert len(scores) == len(rows)
    for features, score in zip(rows.columns[FEATURES], scores, strict=True):
        explained = stage._model.explain(features)
        assert score.logit == pytest.approx(explained.logit, abs=1e-6)
        assert [one.name for one in score.factors] == [one.name for one in explained.factors]
        assert score.rest == pytest.approx(explained.rest, abs=1e-6)
