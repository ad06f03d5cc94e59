from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.records import Reason
from stream.batches import Decoded, RawBatch
from stream.convert import scalar_text
from stream.decode import MAX_ENTRY_BYTES, Decoder
from stream.entries import MAX_ELEMENTS, entry_time_ms
from stream.problems import CatalogError
from tests.batches import STREAM, T0, as_json, data_batch, plan_of

CATALOG = """
[event]
time = "time"
person = "user"
name = "event"
default_name = "edit"
required = ["user"]
[fields]
flag = "boolean"
"geo.country" = "string"
"geo.at.lat" = "number"
[[metric]]
name = "added"
measure = "sum"
value = "added"
by = ["channel"]
"""
DECODER = Decoder(plan_of(CATALOG), natively_from=1)
GOOD = {"user": "u1", "channel": "#en", "added": 5, "time": "2015-09-12T00:00:00.250Z", "flag": True}

quick = settings(deadline=None, max_examples=150)


def entry(*fields: str | bytes, id_: bytes = b"%d-0" % T0) -> tuple[bytes, list[bytes]]:
    return id_, [field.encode() if isinstance(field, str) else field for field in fields]


def decode(*entries: tuple[bytes, list[bytes]], now_ms: int = T0) -> Decoded:
    return DECODER.decode(RawBatch(STREAM, list(entries), True, T0), now_ms)


def rows_of(decoded: Decoded) -> list[dict[str, Any]]:
    """The fields of each row; the time is a column too, and the same as in `time_ms`."""
    frame = decoded.frame
    if "time" in frame.columns:
        assert frame["time"].to_list() == decoded.time_ms.tolist()
        frame = frame.drop("time")
    rows = frame.to_dicts()
    assert len(rows) == len(decoded.time_ms) == len(decoded.origins)
    return rows


def place_of(decoded: Decoded) -> list[tuple[str, int]]:
    """Every event of a batch, once for each row or dead letter."""
    counted = [(id_, index) for id_, index, _ in decoded.origins]
    return sorted(counted + [(letter.entry_id, letter.index) for letter in decoded.rejects])


def test_the_three_shapes_of_an_entry_give_the_same_event() -> None:
    event = {**GOOD, "geo": {"country": "FR", "at": {"lat": 48.5}}, "ignored": {"deep": [1]}}
    flat = ["user", "u1", "channel", "#en", "added", "5", "time", GOOD["time"], "flag", "TRUE"]
    flat += ["geo.country", "FR", "geo.at.lat", "48.5", "ignored", "x"]
    decoded = decode(
        entry(*flat, id_=b"%d-1" % T0),
        entry("data", as_json(event), id_=b"%d-2" % T0),
        entry("batch", as_json([event, event]), id_=b"%d-3" % T0),
    )
    row = {"user": "u1", "channel": "#en", "added": 5.0, "flag": True, "event": "edit"}
    assert rows_of(decoded) == [{**row, "geo.country": "FR", "geo.at.lat": 48.5}] * 4
    assert decoded.time_ms.tolist() == [T0 + 250] * 4
    assert decoded.rejects == []
    assert [(id_, index) for id_, index, _ in decoded.origins] == [
        (f"{T0}-1", 0),
        (f"{T0}-2", 0),
        (f"{T0}-3", 0),
        (f"{T0}-3", 1),
    ]
    assert decoded.max_event_ms == T0 + 250


def test_columns_have_the_types_of_the_plan_even_without_events() -> None:
    expected = {
        "user": pl.String(),
        "event": pl.String(),
        "channel": pl.String(),
        "added": pl.Float64(),
        "flag": pl.Boolean(),
        "geo.country": pl.String(),
        "geo.at.lat": pl.Float64(),
        "time": pl.Int64(),
    }
    for decoded in (decode(), decode(entry("data", "{")), decode(entry("data", as_json({"user": "u"})))):
        assert dict(decoded.frame.schema) == expected
    assert decode().max_event_ms is None


def test_values_of_other_types_are_taken_where_they_can_be_meant() -> None:
    decoded = decode(
        *(
            entry("data", as_json({"user": 42, "channel": channel, "added": added, "flag": flag}))
            for channel, added, flag in [(1, "7.5", 1), (1.0, " 8 ", "false"), (2.5, 9, "1"), (True, -0.0, 0)]
        )
    )
    assert [(r["channel"], r["added"], r["flag"]) for r in rows_of(decoded)] == [
        ("1", 7.5, True),
        ("1", 8.0, False),
        ("2.5", 9.0, True),
        ("true", 0.0, False),
    ]
    assert {r["user"] for r in rows_of(decoded)} == {"42"}


def test_empty_text_in_flat_fields_is_no_value() -> None:
    decoded = decode(entry("user", "u", "channel", "", "added", "", "time", "", "flag", ""))
    (row,) = rows_of(decoded)
    assert (row["channel"], row["added"], row["flag"]) == (None, None, None)
    assert decoded.time_ms.tolist() == [T0], "an event without a time has that of its entry"


def test_the_first_of_a_repeated_flat_field_wins() -> None:
    (row,) = rows_of(decode(entry("user", "first", "user", "second")))
    assert row["user"] == "first"


REFUSED: list[tuple[str, bytes, Reason]] = [
    ("broken JSON", b'{"user": "u", ', Reason.MALFORMED),
    ("no JSON", b"hello", Reason.MALFORMED),
    ("two values", b'{"user": "u"} {"user": "u"}', Reason.MALFORMED),
    ("not an object", b"[1, 2]", Reason.MALFORMED),
    ("null", b"null", Reason.MALFORMED),
    ("nothing", b"", Reason.MALFORMED),
    ("no field", b"{}", Reason.MALFORMED),
    ("no field but room", b"{" + b" " * 40 + b"}", Reason.MALFORMED),
    ("not UTF-8 in a field", b'{"user": "\xff"}', Reason.MALFORMED),
    ("not UTF-8 elsewhere", b'{"user": "u", "else": "\xc3("}', Reason.MALFORMED),
    ("half a surrogate pair", b'{"user": "\\ud800"}', Reason.MALFORMED),
    ("NaN", b'{"user": "u", "added": NaN}', Reason.MALFORMED),
    ("Infinity", b'{"user": "u", "added": -Infinity}', Reason.MALFORMED),
    ("nested too deeply", b'{"user": "u", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", Reason.MALFORMED),
    ("no user", b'{"added": 1, "channel": "c"}', Reason.MISSING_FIELD),
    ("user null", b'{"user": null, "added": 1}', Reason.MISSING_FIELD),
    ("user empty", b'{"user": "", "added": 1}', Reason.MISSING_FIELD),
    ("NaN as text", b'{"user": "u", "added": "nan"}', Reason.BAD_TYPE),
    ("infinity as text", b'{"user": "u", "added": "-inf"}', Reason.BAD_TYPE),
    ("beyond a float", b'{"user": "u", "added": 1e999}', Reason.BAD_TYPE),
    ("a huge whole number", b'{"user": "u", "added": ' + b"9" * 400 + b"}", Reason.BAD_TYPE),
    ("number is a word", b'{"user": "u", "added": "many"}', Reason.BAD_TYPE),
    ("number is Python's", b'{"user": "u", "added": "1_000"}', Reason.BAD_TYPE),
    ("number is empty", b'{"user": "u", "added": ""}', Reason.BAD_TYPE),
    ("number is true", b'{"user": "u", "added": true}', Reason.BAD_TYPE),
    ("number is a list", b'{"user": "u", "added": [1]}', Reason.BAD_TYPE),
    ("flag is 2", b'{"user": "u", "flag": 2}', Reason.BAD_TYPE),
    ("flag is a word", b'{"user": "u", "flag": "yes"}', Reason.BAD_TYPE),
    ("text is an object", b'{"user": {"id": 1}}', Reason.BAD_TYPE),
    ("object is a text", b'{"user": "u", "geo": "FR"}', Reason.BAD_TYPE),
    ("time is a word", b'{"user": "u", "time": "yesterday"}', Reason.BAD_TYPE),
    ("time is of two zones", b'{"user": "u", "time": "2015-09-12T02:00:00+02:00 UTC"}', Reason.BAD_TYPE),
    ("time is NaN", b'{"user": "u", "time": "NaN"}', Reason.BAD_TYPE),
    ("time is true", b'{"user": "u", "time": true}', Reason.BAD_TYPE),
    ("time is beyond any clock", b'{"user": "u", "time": 1e25}', Reason.BAD_TYPE),
    ("time is a huge whole number", b'{"user": "u", "time": 1' + b"0" * 400 + b"}", Reason.BAD_TYPE),
    ("time is a date that is none", b'{"user": "u", "time": "2015-02-30T00:00:00Z"}', Reason.BAD_TYPE),
    ("1970", b'{"user": "u", "time": 0}', Reason.TOO_LATE),
    ("1970 in words", b'{"user": "u", "time": "1970-01-01T00:00:00Z"}', Reason.TOO_LATE),
    ("before 1970", b'{"user": "u", "time": -1}', Reason.TOO_LATE),
    ("1999", b'{"user": "u", "time": "1999-12-31T23:59:59.999Z"}', Reason.TOO_LATE),
    ("2099", b'{"user": "u", "time": "2099-01-01T00:00:00Z"}', Reason.FUTURE),
    ("max_skew and 1 ms", b'{"user": "u", "time": %d}' % (T0 + 300_001), Reason.FUTURE),
    ("2 MB", b'{"user": "u", "page": "' + b"x" * (2 << 20) + b'"}', Reason.TOO_LARGE),
]


@pytest.mark.parametrize(("raw", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_bad_event_is_refused_alone_with_its_bytes(raw: bytes, reason: Reason) -> None:
    decoded = decode(
        entry("data", as_json(GOOD), id_=b"%d-1" % T0),
        entry("data", raw, id_=b"%d-2" % T0),
        entry("user", "u9", id_=b"%d-3" % T0),
    )
    assert [row["user"] for row in rows_of(decoded)] == ["u1", "u9"]
    (letter,) = decoded.rejects
    assert (letter.reason, letter.raw) == (reason, raw)
    assert (letter.stream, letter.entry_id, letter.index) == (STREAM, f"{T0}-2", 0)
    assert letter.message
    assert len(letter.message) < 300


@pytest.mark.parametrize(
    ("raw", "reason"),
    [row[1:] for row in REFUSED if row[0] not in ("2 MB", "nothing", "two values", "broken JSON", "no JSON", "NaN")],
    ids=[row[0] for row in REFUSED if row[0] not in ("2 MB", "nothing", "two values", "broken JSON", "no JSON", "NaN")],
)
def test_the_rest_of_its_batch_is_counted(raw: bytes, reason: Reason) -> None:
    """In one entry of many events too, as long as it can be told where each one ends."""
    good = as_json(GOOD)
    decoded = decode(entry("batch", b"[%s, %s , %s]" % (good, raw, good)))
    if raw.find(b"Infinity") < 0 and raw.find(b"[[") < 0:
        assert [index for _, index, _ in decoded.origins] == [0, 2]
        assert len(rows_of(decoded)) == 2
        (letter,) = decoded.rejects
        assert (letter.reason, letter.raw, letter.index) == (reason, raw, 1)
    else:
        # Not JSON as a whole, or too deep to be read: the entry is refused as one.
        assert [letter.reason for letter in decoded.rejects] == [Reason.MALFORMED]


@pytest.mark.parametrize(
    "raw",
    [b"", b"[]", b"{}", b"[1", b"[{}}]", b"nope", b"[{},]", b'["\xff"', b"[" * 100_000],
    ids=["nothing", "empty", "object", "open", "braces", "word", "comma", "bytes", "deep"],
)
def test_a_batch_that_is_no_array_is_refused_whole(raw: bytes) -> None:
    decoded = decode(entry("batch", raw), entry("user", "u2"))
    (letter,) = decoded.rejects
    assert (letter.reason, letter.raw, letter.index) == (Reason.MALFORMED, raw, 0)
    assert [row["user"] for row in rows_of(decoded)] == ["u2"]


def test_elements_that_are_no_events_are_refused_one_by_one() -> None:
    decoded = decode(entry("batch", b'[1, {"user": "u1"}, null, "x", {}, {"user": "u2"}]'))
    assert [row["user"] for row in rows_of(decoded)] == ["u1", "u2"]
    assert [(letter.index, letter.reason, letter.raw) for letter in decoded.rejects] == [
        (0, Reason.MALFORMED, b"1"),
        (2, Reason.MALFORMED, b"null"),
        (3, Reason.MALFORMED, b'"x"'),
        (4, Reason.MALFORMED, b"{}"),
    ]


@pytest.mark.parametrize(
    "fields",
    [[], ["", ""], ["user", ""], ["", "u"]],
    ids=["no fields", "empty names and values", "empty value", "empty name"],
)
def test_an_entry_without_anything_is_refused(fields: list[str]) -> None:
    (letter,) = decode(entry(*fields)).rejects
    assert letter.reason is Reason.MALFORMED


@given(fields=st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), min_size=2, max_size=4))
@quick
def test_the_bytes_of_flat_fields_survive_refusal(fields: list[tuple[bytes, bytes]]) -> None:
    bad = [(b"user", b"\xff\xfe"), *fields]
    (letter,) = decode(entry(*(part for pair in bad for part in pair))).rejects
    found = parse_qsl(letter.raw.decode(), keep_blank_values=True, encoding="latin-1")
    assert [(name.encode("latin-1"), value.encode("latin-1")) for name, value in found] == bad


def test_the_limit_of_size_is_exact_in_every_shape() -> None:
    decoder = Decoder(plan_of(CATALOG), max_entry_bytes=40)
    for fits in (entry("data", as_json({"user": "u" * 28})), entry("user", "u" * 36)):
        decoded = decoder.decode(RawBatch(STREAM, [fits], True, T0), T0)
        assert len(decoded.origins) == 1
    for kind, payload in (("data", as_json({"user": "u" * 29})), ("batch", b"[" + b" " * 40), ("user", b"u" * 37)):
        (letter,) = decoder.decode(RawBatch(STREAM, [entry(kind, payload)], True, T0), T0).rejects
        assert letter.reason is Reason.TOO_LARGE
        assert "40 bytes" in letter.message
    assert MAX_ENTRY_BYTES == 1 << 20


def test_an_array_of_too_many_events_is_refused_whole() -> None:
    decoder = Decoder(plan_of(CATALOG))
    fits, too_many = (entry("batch", as_json([{"user": "u"}] * count)) for count in (MAX_ELEMENTS, MAX_ELEMENTS + 1))
    decoded = decoder.decode(RawBatch(STREAM, [fits, too_many], True, T0), T0)
    assert len(decoded.origins) == MAX_ELEMENTS
    (letter,) = decoded.rejects
    assert letter.reason is Reason.TOO_LARGE
    assert f"at most {MAX_ELEMENTS} events, found {MAX_ELEMENTS + 1}" in letter.message


TIMES: list[tuple[Any, int]] = [
    ("2015-09-12T00:00:00Z", T0),
    ("2015-09-12T00:00:00.001Z", T0 + 1),
    ("2015-09-12T00:00:00.123456Z", T0 + 123),
    ("2015-09-12T00:00:00.123456789Z", T0 + 123),
    ("2015-09-12T02:00:00+02:00", T0),
    ("2015-09-11T18:30:00-0530", T0),
    ("2015-09-12T02:00:00+02", T0),
    ("2015-09-12T00:00:00", T0),
    ("2015-09-12 00:00:00", T0),
    ("2015-09-12 00:00:00.007+00:00", T0 + 7),
    ("2015-09-12T00:00Z", T0),
    ("2015-09-12 00:00:00 UTC", T0),
    ("2015-09-12 00:00:00.007 UTC", T0 + 7),
    ("2015-09-12", T0),
    (" 2015-09-12T00:00:00Z ", T0),
    ("20150912T000000Z", T0),
    (T0, T0),
    (T0 + 7, T0 + 7),
    (str(T0 + 7), T0 + 7),
    (T0 // 1_000, T0),
    (T0 / 1_000 + 0.007, T0 + 7),
    (str(T0 // 1_000), T0),
    ("1442016000.007", T0 + 7),
    (1.442016e9, T0),
    (T0 * 1_000 + 7_000, T0 + 7),
    (T0 * 1_000 + 7_999, T0 + 7),
    (T0 * 1_000_000, T0),
    ((T0 + 7) * 1_000_000, T0 + 7),
    ((T0 + 1) * 1_000_000, T0 + 1),
    ("2000-01-01T00:00:00Z", 946_684_800_000),
    (T0 + 300_000, T0 + 300_000),
    (None, T0),
]


@pytest.mark.parametrize(("time", "expected"), TIMES, ids=[repr(time) for time, _ in TIMES])
def test_times(time: Any, expected: int) -> None:
    decoded = decode(entry("data", as_json({"user": "u", "time": time})))
    assert decoded.rejects == []
    assert decoded.time_ms.tolist() == [expected]


@given(ms=st.lists(st.integers(T0 - 10**11, T0), min_size=1, max_size=20))
@quick
def test_every_format_gives_the_same_millisecond(ms: list[int]) -> None:
    forms: list[list[Any]] = [
        [f"{np.datetime64(time, 'ms')}Z" for time in ms],
        [str(np.datetime64(time, "ms")).replace("T", " ") for time in ms],
        [f"{np.datetime64(time, 'ms').astype('datetime64[us]')}+00:00" for time in ms],
        list(ms),
        [time * 1_000 for time in ms],
        [time * 1_000_000 for time in ms],
        [f"{time // 1_000}.{time % 1_000:03}" for time in ms],
        [float(f"{time // 1_000}.{time % 1_000:03}") for time in ms],
    ]
    for times in forms:
        decoded = decode(*(entry("data", as_json({"user": "u", "time": time})) for time in times))
        assert decoded.time_ms.tolist() == ms, times


def test_an_event_without_a_time_has_that_of_its_entry() -> None:
    decoded = decode(entry("user", "u", id_=b"1442015999123-45"), entry("data", as_json(GOOD)))
    assert decoded.time_ms.tolist() == [1_442_015_999_123, T0 + 250]
    assert entry_time_ms("1526919030474-55") == 1_526_919_030_474


def test_an_entry_id_of_no_clock_is_in_the_future() -> None:
    """A stream takes any id up to 2^64 - 1, and it is a producer who chooses it."""
    decoded = decode(entry("user", "u", id_=b"18446744073709551615-0"), entry("user", "u2"))
    assert [letter.reason for letter in decoded.rejects] == [Reason.FUTURE]
    assert [row["user"] for row in rows_of(decoded)] == ["u2"]


def test_time_can_be_required_and_nested() -> None:
    plan = plan_of('[event]\ntime = "meta.at"\nrequired = ["meta.at"]\n[[metric]]\nname = "n"\nmeasure = "count"\n')
    events: Sequence[Any] = [{"meta": {"at": T0 + 5}, "time": "never"}, {"meta": {}}, {"meta": None}, {"time": T0}]
    decoded = Decoder(plan).decode(data_batch(events), T0)
    assert decoded.time_ms.tolist() == [T0 + 5]
    assert [letter.reason for letter in decoded.rejects] == [Reason.MISSING_FIELD] * 3


def test_fields_of_many_names() -> None:
    names = ["a b", "ünï", "select", "a'b", "0", "#", "data", "c0", "v0"]
    plan = plan_of(f'[[metric]]\nname = "n"\nmeasure = "count"\n[fields]\n{_types(names)}')
    decoded = Decoder(plan).decode(data_batch([dict.fromkeys(names, "x")]), T0)
    assert rows_of(decoded) == [dict.fromkeys(names, "x")]


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "a..b", ".a", "a."])
def test_a_field_that_cannot_be_read_is_the_catalogs_mistake(name: str) -> None:
    """Whatever the catalog lets through must decode."""
    try:
        plan = plan_of(f'[[metric]]\nname = "n"\nmeasure = "count"\n[fields]\n{_types([name])}')
    except CatalogError:
        return
    event: Any = "x"
    for part in reversed(name.split(".")):
        event = {part: event}
    assert rows_of(Decoder(plan).decode(data_batch([event]), T0)) == [{name: "x"}]


def _types(names: list[str]) -> str:
    return "".join(f'{json.dumps(name, ensure_ascii=False)} = "string"\n' for name in names)


def test_the_status_tells_how_far_a_stream_was_read() -> None:
    entries = [(b"%d-0" % (T0 - 5_000), [b"user", b"u", b"time", str(T0 - 7_000).encode()])]
    behind = DECODER.decode(RawBatch(STREAM, entries, False, T0, report=True), T0).status
    assert behind is not None
    assert (behind.stream, behind.at_ms, behind.caught_up) == (STREAM, T0, False)
    assert (behind.lag_ms, behind.max_event_ms) == (5_000, T0 - 7_000)
    done = DECODER.decode(RawBatch(STREAM, [], True, T0, report=True), T0).status
    assert done is not None
    assert (done.lag_ms, done.max_event_ms, done.caught_up) == (0, None, True)
    assert DECODER.decode(RawBatch(STREAM, entries, True, T0), T0).status is None


json_ = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = ["user", "channel", "added", "time", "flag", "event", "geo"]
events_ = st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), json_, max_size=7)
# Values that are mostly fine, so that the columns are reached.
fair_ = st.fixed_dictionaries(
    {"user": st.text(min_size=1, max_size=4)},
    optional={
        "time": st.sampled_from([time for time, _ in TIMES])
        | st.sampled_from(["2015-9-1T0:0:0Z", "+2015-09-12T00:00:00Z", "2015-09-11T23:59:60Z", "2015-09-11t00:00:00z"])
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=6),
        "added": st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(["1", "x", "nan"]),
        "flag": st.sampled_from([True, False, 0, 1, 2, -1, "true", "FALSE", "", None]),
        "channel": st.text(max_size=4) | st.integers() | st.booleans() | st.none(),
        "geo": st.none() | st.dictionaries(st.sampled_from(["country", "at"]), json_, max_size=2),
    },
)


def _finite(event: Any) -> Any:
    """One NaN would make the whole array of a batch no JSON."""
    return json.loads(json.dumps(event).replace("NaN", "0").replace("Infinity", "1"))


entries_ = st.one_of(
    st.binary(max_size=60).map(lambda raw: ([b"data", raw], 1)),
    st.binary(max_size=60).map(lambda raw: ([b"batch", b"{" + raw], 1)),
    (events_ | fair_ | json_).map(lambda event: ([b"data", as_json(event)], 1)),
    st.lists(fair_ | events_.map(_finite), min_size=1, max_size=4).map(
        lambda events: ([b"batch", as_json(events)], len(events))
    ),
    st.lists(
        st.tuples(st.sampled_from([name.encode() for name in NAMES]) | st.binary(max_size=5), st.binary(max_size=12)),
        max_size=5,
    ).map(lambda pairs: ([part for pair in pairs for part in pair], 1)),
)


@given(entries=st.lists(entries_, max_size=6))
@settings(deadline=None, max_examples=150)
def test_every_event_is_a_row_or_a_dead_letter(entries: list[tuple[list[bytes], int]]) -> None:
    raw = [(b"%d-%d" % (T0, number), fields) for number, (fields, _) in enumerate(entries)]
    decoded = decode(*raw)
    rows_of(decoded)
    expected = [
        (f"{T0}-{number}", index)
        for number, (fields, events) in enumerate(entries)
        # A single field named `batch` holds as many events as it says; of garbage, one.
        for index in range(events)
    ]
    assert place_of(decoded) == sorted(expected)
    for letter in decoded.rejects:
        fields = dict(raw)[letter.entry_id.encode()]
        assert letter.raw in fields or fields[:1] == [b"batch"] or b"=" in letter.raw or not any(fields)
    assert decoded.frame.null_count().height == 1
    for name, dtype in decoded.frame.schema.items():
        if dtype == pl.Float64():
            assert decoded.frame[name].drop_nulls().is_finite().all()


@given(events=st.lists(fair_, min_size=1, max_size=6))
@settings(deadline=None, max_examples=150)
def test_an_event_is_read_the_same_in_any_company(events: list[dict[str, Any]]) -> None:
    raw = [(b"%d-%d" % (T0, number), [b"data", as_json(event)]) for number, event in enumerate(events)]
    together = decode(*raw)
    alone = [decode(one) for one in raw]
    assert rows_of(together) == [row for one in alone for row in rows_of(one)]
    assert together.time_ms.tolist() == [time for one in alone for time in one.time_ms.tolist()]
    rejects = [(letter.entry_id, letter.reason) for one in alone for letter in one.rejects]
    assert sorted((letter.entry_id, letter.reason) for letter in together.rejects) == sorted(rejects)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (200.0, "200"),
        (200, "200"),
        (1.5, "1.5"),
        (-0.0, "-0"),
        (1e21, "1" + "0" * 21),
        (1e-7, "0.0000001"),
    ],
)
def test_scalars_as_text(value: float, text: str) -> None:
    assert scalar_text(value) == text


SLOW = Decoder(plan_of(CATALOG), natively_from=1_000_000)


@given(events=st.lists(fair_ | events_.map(_finite), min_size=1, max_size=6))
@settings(deadline=None, max_examples=150)
def test_the_fast_way_reads_what_the_slow_way_reads(events: list[dict[str, Any]]) -> None:
    raw = [(b"%d-%d" % (T0, number), [b"data", as_json(event)]) for number, event in enumerate(events)]
    batch = RawBatch(STREAM, raw, True, T0)
    fast, slow = DECODER.decode(batch, T0), SLOW.decode(batch, T0)
    assert rows_of(fast) == rows_of(slow)
    assert fast.time_ms.tolist() == slow.time_ms.tolist()
    assert {(x.entry_id, x.reason) for x in fast.rejects} == {(x.entry_id, x.reason) for x in slow.rejects}


@pytest.mark.parametrize(
    "pieces",
    [
        [b'{"user":"a","x":[{}', b",{}]}", b'{"user":"b"}\n{"user":"c"}'],
        [b'{"user":"a"}\n{"user":"b"}', b""],
        [b'{"user":"a","x":', b"1}"],
        [b'{"user":"a"},{"user":"b"}', b'{"user":"c"}'],
    ],
)
def test_broken_entries_never_make_up_a_whole_one(pieces: list[bytes]) -> None:
    decoded = decode(*(entry("data", piece, id_=b"%d-%d" % (T0, i)) for i, piece in enumerate(pieces)))
    good = [f"{T0}-{i}" for i, piece in enumerate(pieces) if piece == b'{"user":"c"}']
    assert [decoded.origins.at(row)[0] for row in range(len(decoded.origins))] == good
    assert sorted({letter.entry_id for letter in decoded.rejects} | set(good)) == [
        f"{T0}-{i}" for i in range(len(pieces))
    ]
