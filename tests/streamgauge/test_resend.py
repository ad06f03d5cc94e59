from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import valkey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from valkey.exceptions import ValkeyError

from sinks.deadletter import DEADLETTER_STREAM, DeadLetters, DeadLetterSink
from sinks.records import DeadLetter, Reason, Shape
from stream.adapters import decode_safely
from stream.batches import Decoded, RawBatch
from stream.catalog import parse
from stream.decode import Decoder
from stream.enrich import Enricher
from stream.entries import Fields, json_field
from stream.identity import IDENTITY
from stream.plan import Plan, compile_plan
from stream.shard import Shard
from streamgauge.deadletters import Selection
from streamgauge.progress import Bar
from streamgauge.resend import Resender, fields_of, report, resend
from tests.batches import T0, as_json, pseudonyms

STREAM = "events:{0}"
DAY = 86_400_000
NOW = T0 + DAY

RIGHT = """
[event]
time = "meta.at"
allowed_lateness = "30d"
[[metric]]
name = "amount"
measure = "sum"
value = "amount"
by = ["kind"]
"""
WRONG = RIGHT.replace("[event]", '[event]\nrequired = ["kind", "shop"]').replace("30d", "1s") + (
    '[fields]\nnote = "number"\n'
)


def plan_of(text: str) -> Plan:
    return compile_plan(parse(text))


def read(client: valkey.Valkey, stream: str = STREAM) -> list[tuple[bytes, Fields]]:
    """Entries as the processor reads them, repeated names and all."""
    with client.client() as own:
        own.set_response_callback("XREAD", lambda reply, **_: reply)
        reply: Any = own.execute_command("XREAD", "STREAMS", stream, "0-0")
    return [(id_, fields) for id_, fields in reply[0][1]] if reply else []


def rows_of(batch: Decoded) -> list[tuple[Any, ...]]:
    """What the events say; a new entry is another place in the stream."""
    return batch.frame.drop(IDENTITY, strict=False).rows()


def decoded(plan: Plan, entries: Sequence[tuple[bytes, Fields]], now_ms: int = NOW) -> Decoded:
    return decode_safely(Decoder(plan), RawBatch(STREAM, list(entries), True, now_ms), now_ms)


def refused_by(text: str, entries: Sequence[tuple[bytes, Fields]], *, late: bool) -> list[DeadLetter]:
    """What a catalog refuses; when it is `late`, the watermark has passed long before."""
    plan = plan_of(text)
    batch = decoded(plan, entries)
    shard = Shard(plan, 0)
    if late:
        ahead = decoded(plan, [(b"%d-0" % NOW, [b"kind", b"x", b"shop", b"x"])])
        for part in Enricher(plan, pseudonyms(), 1).split(ahead):
            shard.add(part)
    letters = [*batch.rejects]
    for part in Enricher(plan, pseudonyms(), 1).split(batch):
        letters += shard.add(part)
    return letters


def send(client: valkey.Valkey, catalog: str, selection: Selection | None = None, **more: Any) -> Resender:
    resender = Resender(parse(catalog))
    arguments: dict[str, Any] = {"now_ms": NOW, "stopped": lambda _: False} | more
    resend(client, DeadLetters(client), selection or Selection(), resender, Bar(None), **arguments)
    return resender


def keep(client: valkey.Valkey, *letters: DeadLetter) -> None:
    DeadLetterSink(client).write(letters)


def letter(raw: bytes = b'{"kind":"book","amount":1}', index: int = 0, **more: Any) -> DeadLetter:
    return replace(DeadLetter(STREAM, f"{T0}-1", index, Reason.BAD_TYPE, "m", raw), **more)


# The whole way: refused → letter → sent back → taken

kinds_ = st.none() | st.sampled_from(["book", "böök", ""])
times_ = st.none() | st.just("") | st.integers(T0 - DAY, NOW) | st.just("2015-09-11T12:00:00.123456Z")
event_ = st.fixed_dictionaries(
    {"amount": st.integers(-5, 5) | st.just("7.5") | st.just("dear")},
    optional={
        "kind": kinds_,
        "shop": st.just("s"),
        "note": st.just("late") | st.just(5),
        "meta": st.none() | st.fixed_dictionaries({"v": st.floats(0, 1)}, optional={"at": times_}),
        "else": st.text(max_size=5),
    },
)
flat_ = st.lists(
    st.tuples(
        st.sampled_from([b"kind", b"amount", b"shop", b"note", b"meta.at", b"other", b"data", b"batch"]),
        st.sampled_from([b"5", b"", b"book", b"1442016000", b'{"amount":1}', b'[{"amount":2}]', b"\xff&="]),
    ),
    min_size=1,
    max_size=5,
).map(lambda pairs: [part for pair in pairs for part in pair])
entry_ = st.one_of(
    event_.map(lambda event: [b"data", as_json(event)]),
    st.binary(max_size=20).map(lambda raw: [b"data", raw]),
    flat_.map(lambda fields: [b"data", b"=".join(fields)]),
    st.lists(event_, min_size=1, max_size=4).map(lambda events: [b"batch", as_json(events)]),
    st.binary(max_size=20).map(lambda raw: [b"batch", raw]),
    event_.map(lambda event: [b"trace", b"\x00\xff", b"data", as_json(event)]),
    flat_,
)


@given(entries=st.lists(entry_, min_size=1, max_size=8), late=st.booleans(), wrong=st.sampled_from([WRONG, "strict"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_sent_back_the_events_are_those_of_a_catalog_that_was_right_from_the_start(
    valkey_client: valkey.Valkey, entries: list[Fields], late: bool, wrong: str
) -> None:
    valkey_client.flushall()
    # Another catalog that reads `data` as a field: what was flat to it is JSON to the right one.
    wrong = RIGHT + '[fields]\ndata = "boolean"\nbatch = "boolean"\n' if wrong == "strict" else wrong
    raw = [(b"%d-%d" % (T0 + number * 1_000, number), fields) for number, fields in enumerate(entries)]
    letters = refused_by(wrong, raw, late=late)
    keep(valkey_client, *letters)
    resender = send(valkey_client, RIGHT)

    right = decoded(plan_of(RIGHT), raw)
    refused = {(x.entry_id, x.index) for x in letters}
    # An entry refused as one may hold several events, or also such as are refused still.
    whole = {x.entry_id for x in letters if x.shape in (Shape.FIELDS, Shape.BATCH)}
    events = [(entry, index, row) for (entry, index, _), row in zip(right.origins, rows_of(right), strict=True)]
    expected = [row for entry, index, row in events if (entry, index) in refused or entry in whole]
    again = decoded(plan_of(RIGHT), read(valkey_client))
    assert sorted(map(str, rows_of(again))) == sorted(map(str, expected))
    assert whole or not again.rejects
    # What is still no event is still a letter, as it was.
    taken = {(entry, index) for entry, index, _ in events} | {(entry, None) for entry, *_ in events if entry in whole}
    left = [kept.letter for page in DeadLetters(valkey_client).pages() for kept in page]
    assert left == [x for x in letters if taken.isdisjoint({(x.entry_id, x.index), (x.entry_id, None)})]
    assert resender.resent.sent.total() == len(letters) - len(left)


@given(entry=entry_)
def test_every_event_goes_back_in_its_own_bytes(entry: Fields) -> None:
    """Also where the decoder itself broke, and then all fields of the entry are kept."""
    for one in refused_by(WRONG, [(b"%d-0" % T0, entry)], late=False):
        fields = fields_of(one)
        if json_field(entry, ())[0] == b"batch" and one.shape not in (Shape.BATCH, Shape.FIELDS):
            assert fields == [b"data", one.raw]
        else:
            assert fields == entry
    broken = Decoder(plan_of(WRONG))
    broken._json = broken._flat = broken._elements = None  # type: ignore[assignment,method-assign]
    batch = decode_safely(broken, RawBatch(STREAM, [(b"%d-0" % T0, entry)], True, NOW), NOW)
    assert [fields_of(one) for one in batch.rejects if one.message.startswith("could not be decoded")] in ([entry], [])


# Letters without a shape: of the versions before there were any


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b' {"a": 1}', [b"data", b' {"a": 1}']),
        (b"a=%FF&b=", [b"a", b"\xff", b"b", b""]),
        (b"hello", [b"data", b"hello"]),
        (b"", [b"data", b""]),
        (b"[1", [b"data", b"[1"]),
    ],
)
def test_letters_of_earlier_versions_go_back_as_what_they_most_likely_were(raw: bytes, expected: Fields) -> None:
    assert fields_of(letter(raw)) == expected


def test_a_letter_whose_bytes_contradict_its_shape_has_none() -> None:
    assert fields_of(letter(b"hello", shape=Shape.FIELDS)) == []


# Time


def test_an_event_without_a_time_keeps_that_of_its_entry(valkey_client: valkey.Valkey) -> None:
    raws = [
        b'{"amount":1.50}',
        b'{"amount":2,"meta":{"v":1.0,"at":null}}',
        b'{"amount":3,"meta":{"at":"2015-09-11T12:00:00.123456Z"}}',
        b"amount=4&meta.at=&x=%26+%0A",
        b"amount=5&meta.at=1441972800",
        # The time of its entry, but its own.
        b'{"amount":6,"meta":{"at":%d}}' % T0,
    ]
    keep(valkey_client, *(letter(raw, index) for index, raw in enumerate(raws)))
    resent = send(valkey_client, RIGHT).resent
    assert [fields for _, fields in read(valkey_client)] == [
        [b"data", b'{"amount":1.50,"meta":{"at":"2015-09-12T00:00:00Z"}}'],
        [b"data", b'{"amount":2,"meta":{"v":1.0,"at":"2015-09-12T00:00:00Z"}}'],
        [b"data", raws[2]],
        [b"meta.at", b"2015-09-12T00:00:00Z", b"amount", b"4", b"meta.at", b"", b"x", b"& \n"],
        [b"amount", b"5", b"meta.at", b"1441972800"],
        [b"data", raws[5]],
    ]
    assert (resent.sent.total(), resent.timed) == (6, 3)


# What goes and what stays


def test_what_cannot_go_back_stays_and_is_counted(valkey_client: valkey.Valkey) -> None:
    stay = [
        letter(b'{"amount":"dear"}'),
        letter(b'{"kind":{}}', reason=Reason.MALFORMED),
        letter(stream="other"),
        letter(b"amount,kind=book value=1 1442016000000", stream="influx", entry_id=""),
        letter(b"", entry_id="0-0"),
        letter(b"no fields", shape=Shape.FIELDS),
    ]
    keep(valkey_client, *stay, letter())
    strange = valkey_client.xadd(DEADLETTER_STREAM, {"who": "knows"})
    resender = send(valkey_client, RIGHT)
    resent = resender.resent
    assert resent.sent == {("bad_type", STREAM): 1}
    assert (resent.still_refused, resent.elsewhere, resent.of_sinks) == ({"bad_type": 2}, {"other": 1}, {"influx": 1})
    assert (resent.without_bytes, resent.unreadable) == (2, 1)
    left = [kept for page in DeadLetters(valkey_client).pages() for kept in page]
    assert [kept.letter for kept in left] == [*stay, None]
    assert left[-1].id.encode() == strange
    lines = "\n".join(report(resender, done=True))
    for part in ("sent back 1 refused event\n", "bad_type 2", "other 1", "influx 1", "2 stay: without bytes"):
        assert part in lines, lines
    # Again: all that could go has gone.
    assert send(valkey_client, RIGHT).resent.sent.total() == 0


def test_a_selection_is_kept_to(valkey_client: valkey.Valkey) -> None:
    keep(valkey_client, letter(), letter(index=1, reason=Reason.TOO_LATE), letter(index=2))
    selection = Selection(places=frozenset([(f"{T0}-1", 1), (f"{T0}-1", 2)]), reasons=frozenset([Reason.TOO_LATE]))
    assert send(valkey_client, RIGHT, selection).resent.sent == {("too_late", STREAM): 1}
    assert (valkey_client.xlen(STREAM), DeadLetters(valkey_client).length()) == (1, 2)


def test_an_event_with_several_letters_goes_back_once(valkey_client: valkey.Valkey) -> None:
    one, other = letter(), letter(index=1)
    keep(valkey_client, one, one, other, *[letter(index=n) for n in range(2, 700)], one, other)
    resent = send(valkey_client, RIGHT).resent
    assert (resent.sent.total(), resent.copies, valkey_client.xlen(STREAM)) == (700, 3, 700)
    assert DeadLetters(valkey_client).length() == 0


def test_a_dry_run_changes_nothing_and_says_the_same(valkey_client: valkey.Valkey) -> None:
    keep(valkey_client, letter(), letter(), letter(b"{"), letter(b"a", stream="store", entry_id=""))
    dry = send(valkey_client, RIGHT, dry_run=True)
    assert (valkey_client.exists(STREAM), DeadLetters(valkey_client).length()) == (0, 4)
    assert send(valkey_client, RIGHT).resent == dry.resent
    assert "\n".join(report(dry, done=False)).startswith("to be sent back: 1 refused event\n")


def test_what_will_come_back_is_said(valkey_client: valkey.Valkey) -> None:
    at = '{"meta":{"at":%d}}'
    keep(
        valkey_client,
        letter((at % (NOW - 40 * DAY)).encode(), 1),
        letter((at % (NOW - 40 * DAY)).encode(), 2, reason=Reason.TOO_LATE),
        letter((at % (NOW - 20 * DAY)).encode(), 3),
    )
    resender = send(valkey_client, RIGHT)
    assert (resender.resent.sent.total(), resender.resent.far_back) == (3, 1)
    lines = "\n".join(report(resender, done=True))
    assert "1 had been refused as too_late, and come back unless allowed_lateness (30d in this catalog)" in lines
    assert "1 are further back than allowed_lateness" in lines


# What goes wrong on the way


def many(count: int = 1_200) -> list[DeadLetter]:
    return [letter(as_json({"kind": "book", "amount": n, "pad": "x" * 300}), n) for n in range(count)]


def numbers(client: valkey.Valkey) -> list[int]:
    return [int(json.loads(fields[1])["amount"]) for _, fields in read(client)]


def test_stopped_it_has_done_whole_pages(valkey_client: valkey.Valkey) -> None:
    keep(valkey_client, *many())
    asked = iter([False, False, True])
    resent = send(valkey_client, RIGHT, stopped=lambda _: next(asked)).resent
    assert 0 < resent.sent.total() == valkey_client.xlen(STREAM) == 1_200 - DeadLetters(valkey_client).length() < 1_200
    send(valkey_client, RIGHT)
    assert numbers(valkey_client) == list(range(1_200))


def test_what_is_refused_again_meanwhile_is_not_sent_for_ever(valkey_client: valkey.Valkey) -> None:
    keep(valkey_client, *many(120))

    def refused_again(_: float) -> bool:
        keep(valkey_client, *many(60))
        return False

    assert send(valkey_client, RIGHT, stopped=refused_again).resent.sent.total() == 120
    assert DeadLetters(valkey_client).length() >= 60


def test_a_full_server_is_waited_for_and_nothing_is_sent_twice(valkey_client: valkey.Valkey) -> None:
    keep(valkey_client, *many())
    valkey_client.config_set("maxmemory", 1)
    waited = []

    def make_room(wait_s: float) -> bool:
        if wait_s:
            waited.append(valkey_client.xlen(STREAM))
            valkey_client.config_set("maxmemory", 0)
        return False

    assert send(valkey_client, RIGHT, stopped=make_room).resent.sent.total() == 1_200
    assert waited == [0]
    assert numbers(valkey_client) == list(range(1_200))
    assert DeadLetters(valkey_client).length() == 0


def test_stopped_while_the_server_is_full_every_letter_is_still_there(valkey_client: valkey.Valkey) -> None:
    keep(valkey_client, *many(100))
    valkey_client.config_set("maxmemory", 1)
    assert send(valkey_client, RIGHT, stopped=lambda wait_s: wait_s > 0).resent.sent.total() == 0
    assert DeadLetters(valkey_client).length() == 100


def test_a_stream_that_cannot_be_written_costs_no_letter(valkey_client: valkey.Valkey) -> None:
    catalog = RIGHT + '[platform]\nstreams = ["events:{0}", "events:{1}"]\n'
    valkey_client.set("events:{1}", "no stream")
    keep(valkey_client, letter(), letter(b'{"amount":2,"private":"p"}', 1, stream="events:{1}"), letter(index=2))
    resender = Resender(parse(catalog))
    letters = DeadLetters(valkey_client)
    with pytest.raises(ValkeyError, match=r"events:\{1\}: WRONGTYPE") as caught:
        resend(valkey_client, letters, Selection(), resender, Bar(None), now_ms=NOW, stopped=lambda _: False)
    assert "private" not in str(caught.value)
    assert (resender.resent.sent.total(), valkey_client.xlen(STREAM), letters.length()) == (2, 2, 1)


def _lost(client: valkey.Valkey, after: str) -> Callable[..., Any]:
    real = client.xdel

    def xdel(*arguments: Any) -> Any:
        if after == "removing":
            real(*arguments)
        raise valkey.exceptions.ConnectionError("gone")

    return xdel


@pytest.mark.parametrize("moment", ["adding", "removing"])
def test_cut_off_after_adding_an_event_may_come_twice_and_none_is_lost(
    valkey_client: valkey.Valkey, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    keep(valkey_client, *many(100))
    with monkeypatch.context() as patch:
        patch.setattr(valkey_client, "xdel", _lost(valkey_client, moment))
        with pytest.raises(Exception, match="gone"):
            send(valkey_client, RIGHT)
    send(valkey_client, RIGHT)
    assert set(numbers(valkey_client)) == set(range(100))
    # The page of fifty that was under way.
    assert len(numbers(valkey_client)) == (150 if moment == "adding" else 100)
    assert DeadLetters(valkey_client).length() == 0
