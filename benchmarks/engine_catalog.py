"""The catalog and the events of `benchmarks.engine`: a shop with some two hundred series and 24 metrics."""

from __future__ import annotations

import random
from collections.abc import Iterator

import orjson

CATALOG = (
    """
[platform]
name = "Engine benchmark"
streams = [STREAMS]

[event]
time = "time"
person = "user"
id = "id"
name = "event"
allowed_lateness = "10m"

[fields]
status = "number"
"""
    + "".join(
        f'\n[[metric]]\nname = "{name}"\nmeasure = "{measure}"\n{more}windows = ["10s", "1m", "1h"]\n'
        for name, measure, more in [
            ("views", "count", 'where = "event = \'view\'"\nby = ["country", "platform"]\n'),
            ("clicks", "count", 'where = "event = \'click\'"\nby = ["country", "platform"]\n'),
            ("buys", "count", 'where = "event = \'buy\'"\nby = ["country"]\n'),
            ("revenue", "sum", 'value = "amount"\nwhere = "event = \'buy\'"\nby = ["country"]\n'),
            ("errors", "count", 'where = "status >= 500"\nby = ["endpoint"]\n'),
            ("calls", "count", 'by = ["endpoint"]\n'),
            ("slow", "count", 'where = "latency > 200"\nby = ["endpoint"]\n'),
            ("time_spent", "sum", 'value = "latency"\nby = ["endpoint"]\n'),
            ("signups", "count", "where = \"event = 'signup'\"\n"),
            ("all_amount", "sum", 'value = "amount"\n'),
            ("latency", "quantile", 'value = "latency"\nby = ["endpoint"]\n'),
            ("latency_all", "quantile", 'value = "latency"\n'),
            ("amounts", "quantile", 'value = "amount"\nby = ["country"]\n'),
            ("ok_latency", "quantile", 'value = "latency"\nwhere = "status = 200"\n'),
            ("people", "distinct", "value = '\"user\"'\n"),
            ("buyers", "distinct", 'value = \'"user"\'\nwhere = "event = \'buy\'"\nby = ["country"]\n'),
            ("items", "distinct", 'value = "item"\n'),
            ("visitors", "distinct", 'value = \'"user"\'\nby = ["country"]\n'),
            ("top_items", "top_k", 'value = "item"\n'),
            ("top_pages", "top_k", 'value = "endpoint"\nby = ["country"]\n'),
        ]
    )
    + "".join(
        f'\n[[metric]]\nname = "{name}"\nmeasure = "{measure}"\n{more}'
        for name, measure, more in [
            ("click_rate", "ratio", 'of = "clicks"\nto = "views"\n'),
            ("error_rate", "ratio", 'of = "errors"\nto = "calls"\n'),
            ("mean_latency", "expr", 'value = "time_spent / calls"\n'),
            ("basket", "expr", 'value = "revenue / buys"\n'),
        ]
    )
)
COUNT = '[event]\ntime = "time"\nid = "id"\n[[metric]]\nname = "n"\nmeasure = "count"\nby = ["country"]\n'


def catalog(streams: tuple[str, ...]) -> str:
    return CATALOG.replace("STREAMS", ", ".join(f'"{stream}"' for stream in streams))


def events(count: int, *, start_ms: int, per_second: int = 5_000, seed: int = 1) -> Iterator[bytes]:
    """JSON events of some 190 bytes with eleven fields."""
    choose = random.Random(seed)
    for number in range(count):
        time_ms = start_ms + number * 1_000 // per_second
        yield orjson.dumps(
            {
                "id": f"e{seed}-{number:09d}",
                "time": time_ms,
                "user": f"u{choose.randrange(20_000)}",
                "event": choose.choice(("view", "view", "view", "click", "buy", "signup")),
                "country": choose.choice(("DE", "FR", "US", "GB", "ES", "IT", "NL", "PL")),
                "platform": choose.choice(("ios", "web", "android")),
                "endpoint": "/" + choose.choice("abcdefghijkl"),
                "latency": round(choose.lognormvariate(4, 1), 2),
                "amount": round(choose.random() * 50, 2),
                "status": choose.choice((200, 200, 200, 404, 500)),
                "item": f"i{choose.randrange(3_000)}",
            }
        )
