from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.batches import RawBatch
from stream.decode import Decoder
from stream.entries import flat_bytes, flat_fields, with_time
from tests.batches import STREAM, T0, as_json, plan_of

pairs_ = st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=12)), max_size=6)
names_ = st.sampled_from(["time", "kind", "at", "meta"])
scalars_ = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
events_ = st.dictionaries(
    names_.filter(lambda name: name not in ("time", "meta")) | st.text(max_size=4),
    scalars_ | st.lists(scalars_, max_size=2) | st.dictionaries(st.text(max_size=3), scalars_, max_size=2),
    max_size=4,
)


@given(pairs_)
def test_flat_fields_are_read_back_byte_for_byte(pairs: list[tuple[bytes, bytes]]) -> None:
    fields = [part for pair in pairs for part in pair]
    assert flat_fields(flat_bytes(fields)) == fields


@given(st.binary(max_size=30) | st.text("ab=&+%41 {", max_size=12).map(str.encode))
def test_what_is_no_flat_fields_is_refused_and_never_changed(raw: bytes) -> None:
    try:
        fields = flat_fields(raw)
    except ValueError:
        return
    assert flat_bytes(fields) == raw


@pytest.mark.parametrize("raw", [b"a", b"a=1&", b"&", b"a=b c", b"a=%4", b"a=%e9", b"a=b=c", b'{"a":1}', b"\xff=1"])
def test_other_bytes_are_no_flat_fields(raw: bytes) -> None:
    with pytest.raises(ValueError, match="percent-encoded"):
        flat_fields(raw)


# A time of their own


def times(fields: list[bytes], plan: Any, entry_ms: int) -> list[int]:
    decoded = Decoder(plan).decode(RawBatch(STREAM, [(b"%d-0" % entry_ms, fields)], True, T0), T0)
    assert decoded.rejects == []
    return decoded.time_ms.tolist()


@pytest.mark.parametrize("field", ["time", "meta.at", "meta.deep.at"])
@given(events=st.lists(events_.filter(bool), min_size=1, max_size=3), form=st.sampled_from(["data", "batch", "beside"]))
def test_events_of_json_have_the_time_and_all_else_as_it_was(
    field: str, events: list[dict[str, Any]], form: str
) -> None:
    plan = plan_of(f'[event]\ntime = "{field}"\n[[metric]]\nname = "n"\nmeasure = "count"\n')
    events = events if form == "batch" else events[:1]
    head = field.split(".")[0]
    events = [event | {"a": 1} for event in events if event.pop(head, True)] or [{"a": 1}]
    body = as_json(events if form == "batch" else events[0])
    fields = [form.encode(), body] if form != "beside" else [b"trace", b"\xff", b"data", body]
    first = with_time(fields, {field}, field, "2015-09-11T00:00:00.007Z", {0})
    assert times(first, plan, T0) == [T0 - 86_400_000 + 7, *[T0] * (len(events) - 1)]
    *others, written = first
    assert others == fields[:-1]
    found = json.loads(written) if form == "batch" else [json.loads(written)]
    del found[0][head]
    assert found == [json.loads(json.dumps(event)) for event in events]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a":1.0, "time":null}', b'{"a":1.0,"time":"T"}'),
        (
            b' {"big":123456789012345678901234567890,"x":1e400} ',
            b'{"big":123456789012345678901234567890,"x":1e400,"time":"T"}',
        ),
        (b'{"time":1,"time":null}', b'{"time":"T"}'),
    ],
)
def test_other_values_keep_their_bytes(body: bytes, expected: bytes) -> None:
    assert with_time([b"data", body], {"time"}, "time", "T", {0}) == [b"data", expected]


def test_a_time_is_put_inside_the_object_that_holds_it() -> None:
    for body, expected in [
        (b'{"meta":{"v": 2.50}}', b'{"meta":{"v":2.50,"at":"T"}}'),
        (b'{"meta":null}', b'{"meta":{"at":"T"}}'),
        (b'{"a":1}', b'{"a":1,"meta":{"at":"T"}}'),
    ]:
        assert with_time([b"data", body], {"meta.at"}, "meta.at", "T", {0}) == [b"data", expected]


@given(pairs_.filter(lambda pairs: any(name and value for name, value in pairs)))
def test_flat_fields_have_the_time_and_all_else_as_it_was(pairs: list[tuple[bytes, bytes]]) -> None:
    plan = plan_of('[event]\ntime = "meta.at"\n[[metric]]\nname = "n"\nmeasure = "count"\n')
    fields = [
        b"kind",
        b"book",
        b"meta.at",
        b"",
        *(part for name, value in pairs for part in (b"x" + name.hex().encode(), value.hex().encode())),
    ]
    timed = with_time(fields, {"meta.at"}, "meta.at", "2015-09-11T00:00:00.007Z", {0})
    assert timed[2:] == fields
    assert (times(fields, plan, T0 - 5), times(timed, plan, T0)) == ([T0 - 5], [T0 - 86_400_000 + 7])
