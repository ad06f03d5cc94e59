"""Rows of people at the ends of days, worked out another way: from all events of a person anew for each row."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

DAY_MS = 86_400_000
MINUTE_MS = 60_000
Event = Mapping[str, Any]
Row = dict[str, float]
Condition = Callable[[Event], bool]

OFFSETS = {
    "UTC": timedelta(0),
    "Europe/Berlin": timedelta(hours=1),
    "Australia/Sydney": timedelta(hours=10),
    "Asia/Kolkata": timedelta(hours=5, minutes=30),
    "America/Los_Angeles": timedelta(hours=-8),
    "Europe/Dublin": timedelta(0),
}
"""How far zones are from UTC without summer time."""

CHURN = """
[churn]
where = "what IN ('post', 'view')"
horizon = "2d"
active = "4d"
min_events = 2
[[churn.feature]]
name = "posts"
kind = "count"
where = "what = 'post'"
[[churn.feature]]
name = "done"
kind = "share"
where = "what = 'done'"
of = "what IN ('done', 'failed')"
[[churn.feature]]
name = "reputation"
kind = "mean"
value = "reputation"
[[churn.feature]]
name = "paid"
kind = "mean"
value = "reputation * 2"
where = "what = 'post'"
log = true
[[churn.feature]]
name = "posting"
kind = "trend"
where = "what = 'post'"
[[churn.feature]]
name = "platform"
kind = "latest"
value = "platform"
values = ["ios", "it's android"]
[[churn.feature]]
name = "premium"
kind = "latest"
value = "premium"
where = "what <> 'failed'"
[[churn.feature]]
name = "posted"
kind = "days_since"
where = "what = 'post'"
[[churn.feature]]
name = "began"
kind = "days_since"
where = "what = 'post'"
first = true
"""
"""One of every kind: what `rows_of` works out."""
ACTIVE_MS, MIN_EVENTS = 4 * DAY_MS, 2


def is_one(*names: str) -> Condition:
    return lambda event: event["what"] in names


def day_ends(zone: str, first_ms: int, last_ms: int) -> list[int]:
    """Midnights of a zone without summer time, from the first at or after a moment to the last not after another."""
    fixed = timezone(OFFSETS[zone])
    start = datetime.fromtimestamp(first_ms // 1000, UTC).astimezone(fixed).replace(hour=0, minute=0, second=0)
    found = [int((start + timedelta(days=day)).timestamp()) * 1000 for day in range((last_ms - first_ms) // DAY_MS + 3)]
    return [end for end in found if first_ms <= end <= last_ms]


def rows_of(
    events: Sequence[Event], zone: str, until_ms: int, *, sessions: bool, active_ms: int = ACTIVE_MS
) -> dict[tuple[str, int], Row]:
    """Rows by person and end of day, up to and with a moment; events of equal times are in their order."""
    found: dict[tuple[str, int], Row] = {}
    for person in {event["person"] for event in events} - {None}:
        own = sorted((event for event in events if event["person"] == person), key=lambda event: event["time"])
        ends = day_ends(zone, own[0]["time"], until_ms)
        for end in ends:
            row = _row([event for event in own if event["time"] <= end], end, ends, sessions, active_ms)
            if row is not None:
                found[person, end] = row
    return found


def _row(events: Sequence[Event], end: int, ends: Sequence[int], sessions: bool, active_ms: int) -> Row | None:
    qualifying = [event for event in events if event["what"] in ("post", "view")]
    if len(qualifying) < MIN_EVENTS or qualifying[-1]["time"] <= end - active_ms:
        return None

    def faded(pairs: Sequence[tuple[Event, float]], days: float) -> float:
        return math.fsum(amount * 0.5 ** ((end - event["time"]) / DAY_MS / days) for event, amount in pairs)

    def count(some: Sequence[Event], days: float) -> float:
        return faded([(event, 1.0) for event in some], days)

    def mean(pairs: Sequence[tuple[Event, float]], days: float) -> float:
        return faded(pairs, days) / count([event for event, _ in pairs], days) if pairs else math.nan

    by_day: dict[int, Event] = {}
    for event in qualifying:
        by_day.setdefault(next(each for each in ends if each >= event["time"]), event)
    visits = _visits(events if sessions else qualifying, sessions)
    begins = [visit[0] for visit in visits]
    times = [event["time"] for event in begins]
    gaps = [math.log(max(b - a, 1000) / DAY_MS) for a, b in itertools.pairwise(times)]
    minutes = [(b, (b["time"] - a["time"]) / MINUTE_MS) for one in visits for a, b in itertools.pairwise(one)]
    weights = [0.7**later for later in range(len(gaps))][::-1]
    posts = [event for event in events if event["what"] == "post"]
    settled = [event for event in events if event["what"] in ("done", "failed")]
    done = [event for event in events if event["what"] == "done"]
    reputation = [(event, event["reputation"]) for event in events if event["reputation"] is not None]
    paid = [(event, 2 * event["reputation"]) for event in posts if event["reputation"] is not None]
    platforms = [event["platform"] for event in events if event["platform"] is not None]
    premium = [event["premium"] for event in events if event["premium"] is not None and event["what"] != "failed"]
    age = max(end - qualifying[0]["time"], 1) / DAY_MS
    seen = {days: (1 - 0.5 ** (age / days)) * days / math.log(2) for days in (7, 28)}
    row = {
        "first_ms": qualifying[0]["time"],
        "last_ms": qualifying[-1]["time"],
        "events": len(qualifying),
        "days": len(by_day),
        **{f"events.{days}d": count(qualifying, days) for days in (1, 7, 28)},
        **{f"days.{days}d": count(list(by_day.values()), days) for days in (7, 28)},
        "visits": len(visits),
        **{f"visits.{days}d": count(begins, days) for days in (7, 28)},
        "gap": sum(gaps) / len(gaps) if gaps else math.nan,
        "gap.fading": sum(w * g for w, g in zip(weights, gaps, strict=True)) / sum(weights) if gaps else math.nan,
        "minutes": faded(minutes, 28) / count(begins, 28),
        **{f"posts.{days}d": count(posts, days) for days in (1, 7, 28)},
        "done": count(done, 28) / count(settled, 28) if settled else math.nan,
        "posting": math.log((count(posts, 7) + 1) / (count(posts, 28) * seen[7] / seen[28] + 1)),
        "platform.ios": float(platforms[-1] == "ios") if platforms else math.nan,
        "platform.it's android": float(platforms[-1] == "it's android") if platforms else math.nan,
        "premium": float(premium[-1]) if premium else math.nan,
        "posted": (end - posts[-1]["time"]) / DAY_MS if posts else math.nan,
        "began": (end - posts[0]["time"]) / DAY_MS if posts else math.nan,
    }
    for name, pairs in (("reputation", reputation), ("paid", paid)):
        row[f"{name}.last"] = pairs[-1][1] if pairs else math.nan
        row[f"{name}.7d"] = mean(pairs, 7)
        row[f"{name}.trend"] = mean(pairs, 7) - mean(pairs, 28)
    return row


def _visits(events: Sequence[Event], sessions: bool) -> list[list[Event]]:
    found: list[list[Event]] = []
    for event in events:
        silent = not found or event["time"] - found[-1][-1]["time"] > 30 * MINUTE_MS
        if silent or (sessions and event["time"] - found[-1][0]["time"] > DAY_MS):
            found.append([])
        found[-1].append(event)
    return found


def assert_same(found: Mapping[tuple[str, int], Row], expected: Mapping[tuple[str, int], Row]) -> None:
    """The same rows, with numbers that are the same but for their last bits."""
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert found[key].keys() == row.keys()
        for name, value in row.items():
            other = found[key][name]
            # Of a difference between nearly equal means hardly more is left than their last bits.
            same = math.isclose(other, value, rel_tol=1e-9, abs_tol=1e-9) or (math.isnan(other) and math.isnan(value))
            assert same, f"{name} of {key}: {other} is not {value}"


def assert_identical(found: Mapping[tuple[str, int], Row], other: Mapping[tuple[str, int], Row]) -> None:
    """The same rows, to the last bit."""
    assert {key: repr(row) for key, row in found.items()} == {key: repr(row) for key, row in other.items()}
