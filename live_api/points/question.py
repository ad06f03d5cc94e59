"""What a request for points asks for, read from its parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import HTTPException, Request

from live_api.access.identity import EVERY_ROW, Rows
from live_api.access.within import dimensions_within
from live_api.asked import time_ms
from live_api.described import Described
from live_api.points.shift import COMPARES
from stream.durations import duration_ms

OWN_PARAMETERS = frozenset({"metric", "window", "from", "to", "step", "compare", "fill", "format", "shape", "limit"})
"""A dimension with such a name is asked for as `dimension.<name>`."""
PREFIX = "dimension."
AUTO = "auto"
FILLS = ("none", "null", "zero", "previous")
FORMATS = ("json", "csv", "arrow")
SHAPES = ("rows", "columns")
MOST_SERIES = 1_000
ZERO_IS_TRUE = frozenset({"count", "sum", "rate", "distinct"})
"""Measures of which a window without events has a value, and it is 0."""
ARROW = "application/vnd.apache.arrow.stream"
CSV = "text/csv"
_ACCEPTED = {"application/json": "json", CSV: "csv", ARROW: "arrow"}
_RELATIVE = re.compile(r"(?:now)?([-+ ])(\w+)")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for, as far as it can be told without the store."""

    metric: Described
    keys: tuple[str, ...]
    """The names of its values, where its points have several that are known beforehand."""
    window: str | None
    """None: to be chosen."""
    step: str | None
    from_ms: int | None
    to_ms: int | None
    relative: bool
    """Whether the same request asks for another range later."""
    dimensions: Mapping[str, Sequence[str]]
    compare: str | None
    fill: str
    format: str
    shape: str
    limit: int
    of_events: bool
    """Whether its windows close as those of events do, and not when people or models have settled."""
    own: Mapping[str, Sequence[str]]
    """Dimensions whose values are limited to these for whoever asks; `dimensions` is within them. Empty: none is."""
    plain: bool
    """Whether it asks for nothing but the points of a window that it names."""


def question(
    metric: Described,
    keys: tuple[str, ...],
    request: Request,
    *,
    now_ms: int,
    of_events: bool = True,
    rows: Rows = EVERY_ROW,
) -> Question:
    """Reads and checks the parameters. Answers 400, naming the parameter and what it may be. Series that are not in
    `rows` are as if there were none."""
    said = request.query_params
    window, step = said.get("window"), said.get("step")
    window = None if window == AUTO else window
    if window is not None and window not in metric["windows"]:
        expected = ", ".join([*metric["windows"], AUTO])
        raise HTTPException(400, f"window: expected one of {expected}; found {window!r}")
    from_ms, to_ms = (moment_ms(name, said.get(name), now_ms) for name in ("from", "to"))
    if from_ms is not None and to_ms is not None and from_ms > to_ms:
        raise HTTPException(400, f"from: expected a time before to; found {said['from']!r} after {said['to']!r}")
    compare = said.get("compare")
    fill = _one_of("fill", said.get("fill", "none"), FILLS)
    if compare is not None:
        _one_of("compare", compare, COMPARES)
    if fill == "zero" and metric["measure"] not in ZERO_IS_TRUE:
        raise HTTPException(
            400,
            f"fill: expected none, null or previous, as a window without events has no {metric['measure']}; "
            "found 'zero'",
        )
    dimensions = _dimensions(metric, request)
    form = _one_of("format", said["format"], FORMATS) if "format" in said else _accepted(request)
    shape = _one_of("shape", said.get("shape", "rows"), SHAPES)
    if shape == "columns" and form != "json":
        raise HTTPException(400, f"shape: expected rows, as {form} has no other; found 'columns'")
    own = said.keys() & OWN_PARAMETERS
    several = any(len(values) > 1 for values in dimensions.values())
    return Question(
        metric,
        keys,
        window,
        step,
        from_ms,
        to_ms,
        any(_is_relative(said.get(name)) for name in ("from", "to")),
        dimensions_within(dimensions, rows),
        compare,
        fill,
        form,
        shape,
        _limit(said.get("limit")),
        of_events=of_events,
        own=dimensions_within({}, rows),
        plain=window is not None and own <= {"metric", "window", "from", "to"} and not several and form == "json",
    )


def moment_ms(name: str, text: str | None, now_ms: int) -> int | None:
    """As `time_ms`, and `now`, `-30d`, `now-90m` or, for what is forecast, `now+6h`."""
    if text == "now":
        return now_ms
    found = None if text is None else _RELATIVE.fullmatch(text)
    if found is not None:
        try:
            # A "+" that was not percent-encoded arrives as a space.
            away_ms = duration_ms(found[2])
        except ValueError:
            found = None
        else:
            return now_ms + (-away_ms if found[1] == "-" else away_ms)
    try:
        return time_ms(name, text)
    except HTTPException as error:
        raise HTTPException(
            400, f"{error.detail.partition(';')[0]}, or now, or a time from it such as -30d; found {text!r}"
        ) from None


def _is_relative(text: str | None) -> bool:
    return text is not None and (text == "now" or _RELATIVE.fullmatch(text) is not None) and not text[1:].isdecimal()


def _dimensions(metric: Described, request: Request) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        if name in OWN_PARAMETERS:
            continue
        own = name if name in metric["by"] else name.removeprefix(PREFIX)
        if own not in metric["by"]:
            by = ", ".join(metric["by"]) or "none"
            parameters = ", ".join(sorted(OWN_PARAMETERS))
            raise HTTPException(
                400,
                f"{name}: {metric['name']} has no such dimension; its dimensions: {by}; the parameters: {parameters}",
            )
        found.setdefault(own, []).append(value)
    return found


def _one_of(name: str, text: str, known: Sequence[str] | Mapping[str, object]) -> str:
    if text not in known:
        raise HTTPException(400, f"{name}: expected one of {', '.join(known)}; found {text!r}")
    return text


def _limit(text: str | None) -> int:
    if text is None:
        return MOST_SERIES
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and 1 <= int(text) <= MOST_SERIES):
        raise HTTPException(400, f"limit: expected a number of series from 1 to {MOST_SERIES:,}; found {text!r}")
    return int(text)


def _accepted(request: Request) -> str:
    """The first of the formats that the Accept header names with the highest weight; JSON where it names none."""
    best, form = 0.0, "json"
    for part in request.headers.get("accept", "").split(","):
        kind, *options = (one.strip() for one in part.split(";"))
        weight = next((one[2:] for one in options if one.startswith("q=")), "1")
        try:
            weighs = float(weight)
        except ValueError:
            continue
        if kind in _ACCEPTED and weighs > best:
            best, form = weighs, _ACCEPTED[kind]
    return form
