from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sinks.records import iso
from stream.durations import DAY_MS
from streamgauge.backtest_churn import auc, figures, tenths
from streamgauge.cli import app
from tests.batches import T0, pseudonyms
from tests.stream.churning import CATALOG, Event, oracle, plan_of, visits, whole

EVENTS = visits(60, 24)


def run(
    tmp_path: Path, events: Iterable[Event], *options: str, catalog: str = CATALOG
) -> tuple[int, str, list[dict[str, str]]]:
    """Exit status, what it says, and the rows it writes."""
    (tmp_path / "c.toml").write_text(catalog)
    (tmp_path / "e.ndjson").write_text("".join(json.dumps(event) + "\n" for event in events))
    out = tmp_path / "scores.csv"
    arguments = [tmp_path / "e.ndjson", "--catalog", tmp_path / "c.toml", "--out", out, "--state", tmp_path / "state"]
    done = CliRunner().invoke(app, ["backtest", "churn", *map(str, arguments), *options])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    rows = list(csv.DictReader(out.read_text().splitlines())) if out.exists() else []
    return done.exit_code, done.output, rows


def test_each_person_and_day_with_what_became_of_it(tmp_path: Path) -> None:
    status, said, rows = run(tmp_path, EVENTS, "--raw-ids")
    assert status == 0
    assert list(rows[0]) == ["person", "as_of", "probability", "label"]
    ids = {pseudonyms().of(event["who"]): event["who"] for event in EVENTS}
    expected = oracle(EVENTS)
    scores = whole(EVENTS).probabilities
    written = {(row["person"], row["as_of"]): row for row in rows}
    assert len(written) == len(rows) == len(expected)
    for (person, end_ms), label in expected.items():
        row = written[ids[person], iso(end_ms)]
        assert row["label"] == ("" if label is None else str(int(label)))
        assert float(row["probability"]) == pytest.approx(scores[person, end_ms], abs=1e-6)
    known = sum(label is not None for label in expected.values())
    assert f"of {known} it is known" in said
    assert all(word in said for word in ("AUC", "log loss", "ECE", "recency", "base rate", "swapped", "drifts"))


def test_persons_are_pseudonyms_unless_asked_otherwise(tmp_path: Path) -> None:
    _, _, rows = run(tmp_path, EVENTS)
    assert all(len(row["person"]) == 32 for row in rows)
    assert not {row["person"] for row in rows} & {event["who"] for event in EVENTS}


def test_visits_are_the_sessions_of_the_catalog_as_they_are_live(tmp_path: Path) -> None:
    catalog = CATALOG + '[sessions]\ngap = "4h"\n'
    _, _, rows = run(tmp_path, EVENTS, "--raw-ids", catalog=catalog)
    ids = {pseudonyms().of(event["who"]): event["who"] for event in EVENTS}
    expected, others = (whole(EVENTS, plan_of(text)).probabilities for text in (catalog, CATALOG))
    found = {(row["person"], row["as_of"]): float(row["probability"]) for row in rows}
    named = {(ids[person], iso(end_ms)): probability for (person, end_ms), probability in expected.items()}
    assert found == pytest.approx(named, abs=1e-6)
    assert any(abs(expected[row] - others[row]) > 0.01 for row in expected)


def test_the_table_is_that_of_the_file(tmp_path: Path) -> None:
    since = T0 + 8 * DAY_MS
    _, said, rows = run(tmp_path, EVENTS, "--from", iso(since)[:10])
    counted = [row for row in rows if row["label"] and row["as_of"] >= iso(since)]
    assert len(counted) < sum(bool(row["label"]) for row in rows)
    found = figures(
        np.array([float(row["probability"]) for row in counted]), np.array([row["label"] == "1" for row in counted])
    )
    (line,) = [line for line in said.splitlines() if line.startswith("model  ") and "version" not in line]
    assert [float(word) for word in line.split()[1:]] == pytest.approx([found.auc, found.log_loss, found.ece], abs=2e-4)
    assert f"counted     {len(counted)}" in said


def test_recency_is_held_against_the_time_since_somebody_came(tmp_path: Path) -> None:
    _, said, rows = run(tmp_path, EVENTS, "--raw-ids")
    times = {who: [event["t"] for event in EVENTS if event["who"] == who] for who in {one["who"] for one in EVENTS}}
    known = [row for row in rows if row["label"]]
    silence = []
    for row in known:
        as_of_ms = round(datetime.fromisoformat(row["as_of"]).timestamp() * 1_000)
        silence.append(as_of_ms - max(at for at in times[row["person"]] if at <= as_of_ms))
    exact = auc(np.array(silence, dtype=np.float64), np.array([row["label"] == "1" for row in known]))
    (line,) = [line for line in said.splitlines() if line.startswith("recency")]
    assert float(line.split()[1]) == pytest.approx(exact, abs=1e-4)


def sorted_by_time(events: Iterable[Event]) -> list[Event]:
    return sorted(events, key=lambda event: event["t"])


def once(people: int) -> list[Event]:
    """Everybody comes on one day, a new group of them each day, and never again."""
    events = [
        {"t": T0 + number % 20 * DAY_MS + number * 1_000 + at, "who": f"p{number}", "depth": 1, "n": at}
        for number in range(people)
        for at in (1, 2)
    ]
    return sorted_by_time(events)


def always(people: int) -> list[Event]:
    events = [
        {"t": T0 + day * DAY_MS + number, "who": f"p{number}", "depth": 1, "n": day}
        for number in range(people)
        for day in range(20)
    ]
    return sorted_by_time(events)


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (once(60), "nobody came back"),
        (always(30), "everybody came back"),
        (visits(3, 24), "too little to go by"),
        ([event for event in EVENTS if event["t"] < T0 + 3 * DAY_MS], "nothing could be learned"),
        (EVENTS[:1], "no person-days"),
        ([], "no person-days"),
    ],
)
def test_input_of_which_nothing_can_be_learned_is_told_in_words(
    tmp_path: Path, events: Sequence[Event], words: str
) -> None:
    status, said, rows = run(tmp_path, events)
    assert status == 0
    assert words in said
    assert "proven      better" not in said
    assert all(0 < float(row["probability"]) < 1 for row in rows)


def test_from_behind_all_that_is_known(tmp_path: Path) -> None:
    status, said, _ = run(tmp_path, EVENTS, "--from", "2030-01-01")
    assert status == 0
    assert "nothing counts" in said


@pytest.mark.parametrize(
    ("options", "catalog", "words"),
    [
        ((), '[[metric]]\nname = "n"\nmeasure = "count"\n', "expected a catalog with [churn]"),
        (("--from", "yesterday"), CATALOG, "expected a day such as"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, options: tuple[str, ...], catalog: str, words: str) -> None:
    status, said, rows = run(tmp_path, EVENTS, *options, catalog=catalog)
    assert (status, rows) == (2, [])
    assert words in " ".join(said.split())


def test_the_file_that_is_read_is_not_written(tmp_path: Path) -> None:
    status, said, _ = run(tmp_path, EVENTS, "--out", str(tmp_path / "e.ndjson"))
    assert status == 2
    assert "another file" in said


def test_auc_counts_pairs() -> None:
    rng = np.random.default_rng(3)
    said = rng.integers(0, 8, 60) / 8
    left = rng.random(60) < said
    pairs = [(a > b) + (a == b) / 2 for a in said[left] for b in said[~left]]
    assert auc(said, left) == pytest.approx(np.mean(pairs))
    assert math.isnan(auc(said, np.zeros(60, dtype=bool)))


def test_tenths() -> None:
    found = tenths(np.array([0.0, 0.04, 1.0, 0.95]), np.array([False, True, True, True]))
    assert [one.rows for one in found] == [2, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert (found[0].said, found[0].left, found[9].left) == (0.02, 0.5, 1.0)
