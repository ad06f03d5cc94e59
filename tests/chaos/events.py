"""What is sent: a catalog with every measure and kind of window, and the events of four hours of a shop."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

Event = dict[str, Any]

STREAMS = ("events:{0}", "events:{1}")
START_MS = 1_761_427_800_000
"""2025-10-25T21:30:00Z: midnight in Berlin comes after half an hour, the end of summer time after three and a half."""
SPAN_MS = 4 * 3_600_000
LATENESS_MS = 90 * 60_000
LEAST_MARGIN_MS = 10 * 60_000
CLOSING = "closing"
"""The kind of the last events, which only move the watermark on. Windows that slide must not count them: they would
still be open at the end, and an open one is told of only when something in it changes."""
CLOSING_MS = (SPAN_MS + 3_600_000, SPAN_MS + 48 * 3_600_000)
"""When those are, from the start: the first closes all but the day, the second closes that too. In two steps, as the
store prunes its shortest windows by the watermark, and they are to be seen before."""

_USUAL = '["10s", "1m", "1h", "day"]'
_ORDER = "where = \"kind = 'order'\""
_NOT_CLOSING = f"where = \"kind <> '{CLOSING}'\""
_METRICS: Sequence[tuple[str, str, str]] = (
    ("events", "count", f"windows = {_USUAL}"),
    ("orders", "count", f'{_ORDER}\nby = ["country"]\nwindows = {_USUAL}'),
    ("views", "count", f'where = "kind = \'view\'"\nby = ["country"]\nwindows = {_USUAL}'),
    ("units", "sum", f'{_ORDER}\nvalue = "quantity"\nby = ["country"]\nwindows = ["1m", "1h", "day"]'),
    ("takings", "sum", f'{_ORDER}\nvalue = "price * quantity"\nby = ["country"]\nwindows = ["10s", "1m", "1h", "day"]'),
    ("turnover", "sum", f'{_NOT_CLOSING}\nvalue = "price"\nby = ["country", "kind"]\nwindows = ["1m", "1h"]'),
    ("mean_price", "mean", f'{_NOT_CLOSING}\nvalue = "price"\nby = ["kind"]\nwindows = ["1m", "1h"]'),
    ("cheapest", "min", f'{_NOT_CLOSING}\nvalue = "price"\nby = ["country"]\nwindows = ["1m", "day"]'),
    ("dearest", "max", f'{_NOT_CLOSING}\nvalue = "price"\nwindows = ["10s", "1h"]'),
    ("pace", "rate", f'{_NOT_CLOSING}\nwindows = ["1m", "1h"]'),
    ("people", "distinct", f'{_NOT_CLOSING}\nvalue = \'"user"\'\nwindows = ["1m", "1h", "day"]'),
    ("items", "distinct", f'{_ORDER}\nvalue = "item"\nby = ["country"]\nwindows = ["1m", "1h"]'),
    ("latency", "quantile", f'{_NOT_CLOSING}\nvalue = "latency"\nby = ["kind"]\nwindows = ["1m", "1h"]'),
    ("top_items", "top_k", f'{_ORDER}\nvalue = "item"\nk = 5\nwindows = ["1m", "1h", "day"]'),
    ("opening", "first", f'{_NOT_CLOSING}\nvalue = "price"\nby = ["country"]\nwindows = ["1m", "1h"]'),
    ("latest", "last", f'{_NOT_CLOSING}\nvalue = "price"\nby = ["country"]\nwindows = ["1m", "1h"]'),
    ("recent", "count", f'{_NOT_CLOSING}\nby = ["country"]\nwindows = ["1m/10s"]'),
    ("recent_latency", "quantile", f'{_NOT_CLOSING}\nvalue = "latency"\nwindows = ["5m/1m"]'),
    ("conversion", "ratio", 'of = "orders"\nto = "views"'),
    ("basket", "expr", 'value = "takings / orders"'),
)
CATALOG = (
    f"""
[platform]
name = "Chaos"
timezone = "Europe/Berlin"
streams = {list(STREAMS)}

[event]
time = "time"
person = "user"
id = "id"
required = ["kind"]
allowed_lateness = "{LATENESS_MS // 60_000}m"
""".replace("'", '"')
    + "".join(f'\n[[metric]]\nname = "{name}"\nmeasure = "{measure}"\n{more}\n' for name, measure, more in _METRICS)
)
PRUNED = "10s"
"""The windows that the store forgets after two hours."""

_DUPLICATES, _OUT_OF_ORDER, _GARBAGE = 0.05, 0.10, 0.001
_COUNTRIES = ("DE", "FR", "NO", "AT")
_KINDS = ("view", "view", "order", "search")
_SPOILERS: Sequence[tuple[str, Callable[[Event], bytes]]] = (
    ("malformed", lambda event: orjson.dumps(event)[:-7]),
    ("malformed", lambda _: b"\xff\xfe not JSON"),
    ("missing_field", lambda event: orjson.dumps({k: v for k, v in event.items() if k != "kind"})),
    ("bad_type", lambda event: orjson.dumps(event | {"price": "dear"})),
    ("bad_type", lambda event: orjson.dumps(event | {"time": "yesterday"})),
)


@dataclass(frozen=True, slots=True)
class Sending:
    """One entry as it is to be added to a stream."""

    stream: str
    fields: dict[bytes, bytes]


@dataclass(slots=True)
class Traffic:
    """All there is to send, in its order, and what is known of it."""

    honest: list[Event]
    sendings: list[Sending]
    garbage: dict[bytes, str] = field(default_factory=dict)
    """Why each of the spoiled events is refused, by its bytes."""
    duplicates: int = 0
    out_of_order: int = 0

    @property
    def closing(self) -> list[list[Sending]]:
        """What closes the windows at last, in steps: one event into each stream."""
        return [
            [Sending(stream, {b"data": orjson.dumps(event)}) for stream, event in zip(STREAMS, events, strict=True)]
            for events in closing_events()
        ]


def closing_events() -> list[list[Event]]:
    return [
        [
            {"id": f"closing-{step}-{number}", "time": START_MS + time_ms + number, "kind": CLOSING}
            for number in range(len(STREAMS))
        ]
        for step, time_ms in enumerate(CLOSING_MS)
    ]


def traffic(events: int, kills: int, seed: int) -> Traffic:
    """`events` different honest events, with duplicates and garbage among them.

    All times differ, so that which one is the first does not depend on the stream. How late an event may come is the
    allowed lateness less what the watermark may be ahead: a stream that was quiet does not hold it back, so one stream
    may be counted by as much as was sent between two kills before the other.
    """
    choose = random.Random(f"events {seed}")
    latest_ms = LATENESS_MS - max(LEAST_MARGIN_MS, 2 * SPAN_MS // (kills + 1))
    step_ms = SPAN_MS // events
    made = Traffic([], [])
    queue: list[tuple[float, int, bytes | None]] = []
    for number in range(events):
        event = _event(choose, number, START_MS + number * step_ms + choose.randrange(step_ms))
        made.honest.append(event)
        sent_ms = float(event["time"])
        if choose.random() < _OUT_OF_ORDER:
            sent_ms += choose.uniform(0, latest_ms)
            made.out_of_order += 1
        queue.append((sent_ms, number, None))
        if choose.random() < _DUPLICATES:
            queue.append((choose.uniform(sent_ms, event["time"] + latest_ms), number, None))
            made.duplicates += 1
        if choose.random() < _GARBAGE:
            reason, spoil = choose.choice(_SPOILERS)
            raw = spoil(event | {"id": f"spoiled-{number}"})
            made.garbage[raw] = reason
            queue.append((sent_ms, number, raw))
    queue.sort(key=lambda item: item[:2])
    made.sendings.extend(_entries(choose, made.honest, queue))
    return made


def _event(choose: random.Random, number: int, time_ms: int) -> Event:
    return {
        "id": f"e{number:07d}",
        "time": time_ms,
        "user": f"u{int(choose.random() ** 2 * 20_000)}",
        "kind": choose.choice(_KINDS),
        "country": choose.choice(_COUNTRIES),
        "item": f"i{int(choose.random() ** 3 * 60)}",
        "price": choose.random() * 100,
        "quantity": choose.randrange(1, 9),
        "latency": choose.lognormvariate(3, 1),
    }


def _entries(
    choose: random.Random, honest: Sequence[Event], queue: Sequence[tuple[float, int, bytes | None]]
) -> Iterator[Sending]:
    """The events as entries of all three shapes: most are one JSON text, some flat fields, some many at once."""
    waiting: list[bytes] = []
    for _, number, raw in queue:
        stream = choose.choice(STREAMS)
        shape = choose.random()
        if raw is not None or shape < 0.8:
            yield Sending(stream, {b"data": raw if raw is not None else orjson.dumps(honest[number])})
        elif shape < 0.83:
            yield Sending(stream, {name.encode(): str(value).encode() for name, value in honest[number].items()})
        else:
            waiting.append(orjson.dumps(honest[number]))
            if len(waiting) == 10:
                yield Sending(stream, {b"batch": b"[" + b",".join(waiting) + b"]"})
                waiting.clear()
    if waiting:
        yield Sending(STREAMS[0], {b"batch": b"[" + b",".join(waiting) + b"]"})
