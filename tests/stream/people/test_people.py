"""Analyses of people as they are run: late, twice, over shards and restarts the same as all at once."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.catalog import Catalog, parse
from tests.stream.people.live import live, said, whole

T0 = 1_772_488_800_000
MINUTE = 60_000
EVENT = """
[platform]
timezone = "Europe/Berlin"
streams = ["events:{0}"]
[event]
person = "user"
name = "event"
id = "id"
max_skew = "1d"
out_of_orderness = "5s"
allowed_lateness = "2h"
"""
ANALYSES = {
    "sessions": """
[sessions]
page = "page"
by = ["device"]
split_at_midnight = true
windows = ["1m", "1h", "day"]
""",
    "actives": """
[actives]
by = ["device"]
""",
    "retention": """
[[retention]]
name = "back"
start = "page = 'home'"
return = "page = 'item'"
mode = "on_or_after"
period = "day"
periods = 3
revenue = "price"
did = "page = 'pay'"
did_within = "3h"
[[retention]]
name = "again"
by = "device"
rolling = true
period = "day"
periods = 2
""",
    "paths": """
[[paths]]
name = "pages"
of = "page"
windows = ["1h", "day", "total"]
""",
    "engagement": """
[engagement]
half_life = "1h"
action = [{ where = "page = 'pay'", weight = 5 }, { where = "page = 'item'" }]
""",
    "funnels": """
[sessions]
windows = ["day"]
[[funnel]]
name = "buy"
steps = [
    { name = "Home", where = "page = 'home'" },
    { name = "List", where = "page IN ('list', 'home')" },
    { name = "Pay", where = "page = 'pay'" },
]
window = "3h"
breakdown = "device"
attribution = "last"
exclude = [{ where = "page = 'item'" }]
[[funnel]]
name = "straight"
order = "strict"
steps = [{ name = "Home", where = "page = 'home'" }, { name = "Item", where = "page = 'item'" }]
period = "day"
constant = "device"
[[funnel]]
name = "visit"
order = "any"
unit = "session"
steps = [{ name = "Home", where = "page = 'home'" }, { name = "Item", where = "page = 'item'" }]
""",
    "sessions at their start": """
[sessions]
count_at = "start"
longest = "2h"
windows = ["1h", "day"]
""",
}


def catalog_of(text: str) -> Catalog:
    return parse(EVENT + text)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["ada", "bo", "cy", None]),
        st.one_of(st.integers(0, 60).map(lambda n: n * 4 * MINUTE), st.integers(0, 10 * 60 * MINUTE)),
        st.sampled_from(["home", "list", "item", "pay"]),
        st.sampled_from(["phone", "tablet", None]),
    ),
    min_size=1,
    max_size=40,
)


@pytest.mark.parametrize("name", ANALYSES)
@settings(max_examples=40)
@given(events=EVENTS, seed=st.integers(0, 1 << 30))
def test_live_is_what_all_at_once_is(name: str, events: list[Any], seed: int) -> None:
    catalog = catalog_of(ANALYSES[name])
    sent = [
        {"id": str(place), "user": who, "time": T0 + at, "event": page, "page": page, "device": device, "price": place}
        for place, (who, at, page, device) in enumerate(events)
    ]
    found = live(catalog, sent, random.Random(seed), late_ms=110 * MINUTE)
    assert said(found) == whole(catalog, sent)
