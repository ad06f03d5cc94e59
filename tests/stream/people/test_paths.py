from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stream.people.base import FAR_MS, Setting
from stream.people.paths import Paths
from stream.people.vocabulary import Vocabulary
from tests.stream.people.plain import END_MS, Event, Fact, facts_of

GAP_MS = 10_000


def expected(declared: Paths, events: Sequence[Event], until_ms: int) -> Counter[Fact]:
    """What all events of each person say at once: visits, then paths, then pairs."""
    said: Counter[Fact] = Counter()

    def say(time_ms: int, came_from: str, went_to: str) -> None:
        said[f"path.{declared.name}", time_ms, (("from", came_from), ("to", went_to))] += 1

    taken = [event for event in events if event["page"] and event["what"] == "view" and event["time"] <= until_ms]
    for person in {event["person"] for event in taken}:
        own = sorted((event for event in taken if event["person"] == person), key=lambda event: event["time"])
        visits = [own[:1]]
        for last, event in pairwise(own):
            if event["time"] - last["time"] > GAP_MS:
                visits.append([])
            visits[-1].append(event)
        for visit in visits:
            paths: list[list[tuple[str, int]]] = [[]]
            for page, group in groupby(visit, key=lambda event: event["page"]):
                paths[-1].append((page, next(group)["time"]))
                if page == declared.end:
                    paths.append([])
            for path in paths:
                pages = [page for page, _ in path]
                if declared.start is not None:
                    path = path[pages.index(declared.start) :] if declared.start in pages else []
                if not path:
                    continue
                say(path[0][1], "__start__", path[0][0])
                for (page, _), (following, at) in pairwise(path):
                    say(at, page, following)
                last_page, last_ms = path[-1]
                if last_page == declared.end:
                    say(last_ms, last_page, "__end__")
                elif visit[-1]["time"] + GAP_MS <= until_ms:
                    say(visit[-1]["time"] + GAP_MS, last_page, "__end__")
    return said


moments = st.integers(0, 60).map(lambda number: number * 2_500) | st.integers(0, 150_000)
views = st.lists(
    st.fixed_dictionaries(
        {
            "person": st.sampled_from("ab"),
            "time": moments,
            "page": st.sampled_from(["Home", "Song", "Checkout", "Song", None]),
            "what": st.sampled_from(["view", "view", "view", "ping"]),
        }
    ),
    max_size=30,
)


@given(
    events=views,
    cuts=st.lists(moments, max_size=6),
    until_ms=moments | st.just(END_MS),
    start=st.sampled_from([None, "Home", "Checkout"]),
    end=st.sampled_from([None, "Checkout", "Home"]),
)
@settings(max_examples=250)
def test_equals_what_visits_and_pairs_say(
    events: list[dict[str, Any]], cuts: list[int], until_ms: int, start: str | None, end: str | None
) -> None:
    declared = Paths(name="pages", of="page", where="what = 'view'", gap="10s", start=start, end=end)
    if events:
        cuts = [cut for cut in cuts if cut < until_ms]
        assert facts_of(declared, events, cuts=cuts, until_ms=until_ms) == expected(declared, events, until_ms)


def path(*steps: tuple[int, str], **options: Any) -> list[tuple[int, str, str]]:
    events = [{"person": "a", "time": second * 1_000, "page": page} for second, page in steps]
    said = facts_of(Paths(name="pages", of="page", **options), events)
    return sorted((time // 1_000, fields[0][1], fields[1][1]) for (_, time, fields) in said)


def test_a_path_begins_goes_on_and_ends_with_silence() -> None:
    assert path((0, "Home"), (10, "Home"), (20, "Song"), (1_820, "Help"), (3_621, "Home")) == [
        (0, "__start__", "Home"),
        (20, "Home", "Song"),
        # Just half an hour later.
        (1_820, "Song", "Help"),
        (3_620, "Help", "__end__"),
        (3_621, "__start__", "Home"),
        (5_421, "Home", "__end__"),
    ]


def test_what_comes_before_the_start_is_left_out() -> None:
    assert path((0, "Ad"), (1, "Home"), (2, "Song"), (3, "Home"), (4_000, "Song"), start="Home") == [
        (1, "__start__", "Home"),
        (2, "Home", "Song"),
        (3, "Song", "Home"),
        (1_803, "Home", "__end__"),
    ]


def test_a_path_ends_with_its_end_and_a_reload_of_that_is_nothing_new() -> None:
    assert path((0, "Cart"), (1, "Checkout"), (2, "Checkout"), (3, "Home"), end="Checkout") == [
        (0, "__start__", "Cart"),
        (1, "Cart", "Checkout"),
        (1, "Checkout", "__end__"),
        (3, "__start__", "Home"),
        (1_803, "Home", "__end__"),
    ]


def test_the_end_by_silence_is_due_when_the_gap_has_passed() -> None:
    analysis = Paths(name="pages", of="page", gap="10s").make(Setting(ZoneInfo("UTC"), Vocabulary()))
    state = {"text": np.array([0, 5], dtype=np.int32), "time_ms": np.array([7, 1_000])}
    assert analysis.due_ms(state).tolist() == [FAR_MS, 11_000]


def test_its_metric() -> None:
    (metric,) = Paths(name="pages", of="page", windows=["day", "total"], max_transitions=50).metrics()
    assert metric["name"] == "pages_transitions"
    assert metric["on"] == "path.pages"
    assert (metric["by"], metric["windows"], metric["max_series"]) == (["from", "to"], ["day", "total"], 50)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "Pages"}, "should match pattern"),
        ({"name": "p" * 53}, "should match pattern"),
        ({"gap": "soon"}, "expected a duration such as 10s"),
        ({"windows": ["year"]}, "expected a duration"),
        ({"windows": []}, "at least 1"),
        ({"start": "__start__"}, "start: expected a text that events have, found '__start__'"),
        ({"end": ""}, "end: expected a text that events have, found ''"),
        ({"max_transitions": 0}, "greater than or equal to 1"),
        ({"top": 5}, "Extra inputs"),
    ],
)
def test_what_a_table_may_not_say(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Paths.model_validate({"name": "pages", "of": "page"} | options)
