"""Points as InfluxDB line protocol.

`edits,channel=#en,window=10s value=12.0,count=12i,revision=3i,final=true 1442016000000`

The measurement is the metric; the tags are the dimensions and `window`, sorted; `value` is a float field, or
one field a key where the value is a mapping. A value that is missing or not finite leaves its field out.
Final and corrected points have `final=true`. The timestamp is the window's start in milliseconds.

A name that would clash gets an underscore: the dimension `window` becomes the tag `window_`, and `window_`,
where somebody has that, `window__`.

Some text has no form that every engine reads alike: control characters such as a newline, empty text, and a
backslash that ends the text or would escape what follows. They are written as pictures of themselves (`␊`,
`␢`, a full-width backslash), and a picture that was there to begin with gets `␦` before it, so that two
different texts never become the same series.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import isfinite

import orjson

from sinks.records import Dimensions, Point, State, Value

PICTURES = {chr(code): chr(0x2400 + code) for code in range(0x20)} | {
    "\x7f": "␡",
    "\\": "＼",  # noqa: RUF001 - this is the picture
    "": "␢",
    # A line that begins with # is a comment, and VictoriaMetrics counts quotes in field keys.
    "#": "＃",  # noqa: RUF001
    '"': "＂",  # noqa: RUF001
}
"""Text that cannot be written as it is, and what stands for it where that happens."""

LITERAL = "␦"
"""Stands before a picture, or before itself, that is not one of ours."""

_ALWAYS = {ord(text): picture for text, picture in PICTURES.items() if text and (text < " " or text == "\x7f")}
_MARKED = {ord(picture): LITERAL + picture for picture in (*PICTURES.values(), LITERAL)}
_TRANSLATION = str.maketrans({**_ALWAYS, **_MARKED})

# InfluxDB keeps a backslash unless it stands before one of these; VictoriaMetrics takes two for one.
_UNPORTABLE_BACKSLASH = re.compile(r"\\(?=[\\,= ]|\Z)")
_MEASUREMENT_SPECIALS = re.compile(r"([, ])")
_TAG_SPECIALS = re.compile(r"([,= ])")

# Our own tag and fields, what InfluxDB reserves, and its time column.
_INFLUX_NAMES = ("time", "_time", "_field", "_measurement")
_TAKEN = re.compile(rf"(?:window|value|count|revision|final|error|{'|'.join(_INFLUX_NAMES)})_*\Z")

_FIELD_KEYS_CACHED = 10_000
_FIELDS_BEGIN = re.compile(rb"(?<!\\) ")


class LineEncoder:
    """Encodes points, remembering what the lines of a series have in common.

    *Cost*: 1 µs a line once the series is known, a twelfth of the client library's `Point`. The memory
    is bounded: past `max_series` series it starts afresh. Not to be shared between threads that write at the
    same time.
    """

    def __init__(self, max_series: int = 100_000) -> None:
        self._max_series = max_series
        self._prefixes: dict[tuple[str, str, Dimensions], str] = {}

    def lines(self, points: Iterable[Point]) -> list[bytes]:
        """One line a point, in their order, without line ends."""
        points = list(points)
        if not points:
            return []
        # All numbers at once, which takes a fifth of the time that Python's own text of each does. What is no finite
        # float is null there.
        values = [value if type(value := point.value) is float else None for point in points]
        texts = orjson.dumps(values)[1:-1].decode().split(",")
        prefixes = self._prefixes
        open_ = State.OPEN
        lines = []
        for point, text in zip(points, texts, strict=True):
            series = (point.metric, point.window, point.dimensions)
            prefix = prefixes.get(series)
            if prefix is None:
                if len(prefixes) >= self._max_series:
                    prefixes.clear()
                prefix = prefixes[series] = _prefix(*series)
            fields = f"value={text}," if text != "null" else _fields(point.value)
            if point.error is not None:
                fields += f"error={point.error},"
            final = "false" if point.state is open_ else "true"
            lines.append(
                f"{prefix}{fields}count={point.count}i,revision={point.revision}i,final={final} {point.start_ms}"
            )
        # No line has a newline in it.
        return "\n".join(lines).encode().split(b"\n")


def last_of_each(lines: Iterable[bytes]) -> list[bytes]:
    """Of lines of one series and time only the last: what overwrites what in one request is up to the engine."""
    found: dict[bytes, bytes] = {}
    for line in lines:
        begin = _FIELDS_BEGIN.search(line)
        series = line[: begin.start()] if begin else line
        found[series + line[line.rfind(b" ") :]] = line
    return list(found.values())


def _prefix(metric: str, window: str, dimensions: Dimensions) -> str:
    tags = [(_unclashed(name), value) for name, value in dimensions]
    tags.append(("window", window))
    tags.sort(key=lambda tag: tag[0].encode())
    return ",".join((_measurement(metric), *(f"{tag_text(name)}={tag_text(value)}" for name, value in tags))) + " "


def _fields(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return "".join(f"{_field_key(key)}={number}," for key, number in value.items() if _is_writable(number))
    # An int is digits without the suffix `i`: a float to InfluxDB, whose fields never change their type.
    return f"value={value}," if _is_writable(value) else ""


def _is_writable(value: float) -> bool:
    try:
        return isfinite(value)
    except OverflowError:  # an integer past 1e308 is no float
        return False


@lru_cache(maxsize=_FIELD_KEYS_CACHED)
def _field_key(key: str) -> str:
    return _TAG_SPECIALS.sub(r"\\\1", field_name(key))


def _unclashed(name: str) -> str:
    return f"{name}_" if _TAKEN.match(name) else name


def _measurement(text: str) -> str:
    text = portable(text)
    if text.startswith("#"):
        text = PICTURES["#"] + text[1:]
    return _MEASUREMENT_SPECIALS.sub(r"\\\1", text)


def tag_text(text: str) -> str:
    """A tag's name or value, or a field's name, as it stands in a line."""
    return _TAG_SPECIALS.sub(r"\\\1", portable(text))


def portable(text: str) -> str:
    """Text that all engines read alike."""
    if not text:
        return PICTURES[""]
    return _UNPORTABLE_BACKSLASH.sub(PICTURES["\\"], text.translate(_TRANSLATION))


def tag_name(dimension: str) -> str:
    """What the tag of a dimension is called in a query."""
    return portable(_unclashed(dimension))


def field_name(key: str) -> str:
    """What the field of one of several values is called in a query."""
    # Where there are several values there is none that is just that.
    return portable(key if key == "value" else _unclashed(key)).replace('"', PICTURES['"'])


def dimension_name(tag: str) -> str:
    """The dimension, or the key of a value, whose tag or field is called so; what became a picture stays one."""
    return tag[:-1] if tag.endswith("_") and _TAKEN.match(tag) else tag
