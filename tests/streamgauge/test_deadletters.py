from __future__ import annotations

import base64
import io
import json
from collections import Counter
from dataclasses import replace

import pytest
import valkey
from hypothesis import given
from hypothesis import strategies as st

from sinks.deadletter import DEADLETTER_STREAM, DeadLetters, DeadLetterSink, Kept
from sinks.records import DeadLetter, Reason
from streamgauge.deadletters import (
    Selection,
    count,
    json_line,
    json_table,
    line,
    moment_ms,
    place_of,
    purge,
    table,
    write_list,
)
from streamgauge.progress import Bar

T0 = 1_442_016_000_000
LETTER = DeadLetter("events:{0}", f"{T0}-7", 2, Reason.BAD_TYPE, "price: expected a number", b'{"price":"dear"}')

texts_ = st.text(st.characters(exclude_categories=["Cs"]))
letters_ = st.builds(
    DeadLetter, texts_, st.just(f"{T0}-0"), st.integers(0, 9), st.sampled_from(Reason), texts_, st.binary()
)


def no_bar() -> Bar:
    return Bar(None)


def put(client: valkey.Valkey, letter: DeadLetter, refused_ms: int) -> None:
    """A letter that was refused at a time of the test's choice."""
    DeadLetterSink(client, "aside").write([letter])
    ((_, fields),) = client.xrange("aside")
    client.xadd(DEADLETTER_STREAM, fields, id=f"{refused_ms}-*")
    client.delete("aside")


@pytest.fixture
def letters(valkey_client: valkey.Valkey) -> DeadLetters:
    """Ten letters, one a minute, in turn bad_type of events:{0} and too_late of events:{1}; then a strange one."""
    for n in range(10):
        odd = bool(n % 2)
        letter = replace(LETTER, stream="events:{1}" if odd else "events:{0}", entry_id=f"{T0 + n}-0", index=n // 5)
        put(valkey_client, replace(letter, reason=Reason.TOO_LATE if odd else Reason.BAD_TYPE), T0 + n * 60_000)
    valkey_client.xadd(DEADLETTER_STREAM, {"who": "knows"}, id=f"{T0 + 600_000}-0")
    return DeadLetters(valkey_client)


def listed(letters: DeadLetters, selection: Selection, limit: int = 0) -> tuple[list[str], bool]:
    """What is listed, as the last four digits of each entry id; and whether there is more."""
    out = io.StringIO()
    older = write_list(letters, selection, out, limit=limit, as_json=True)
    found = [json.loads(text) for text in out.getvalue().splitlines()]
    return [one["entry"].split("-")[0][-1] if "entry" in one else "?" for one in found], older


SELECTIONS: list[tuple[Selection, str]] = [
    (Selection(), "0123456789?"),
    (Selection(reasons=frozenset([Reason.BAD_TYPE])), "02468"),
    (Selection(reasons=frozenset([Reason.BAD_TYPE, Reason.TOO_LATE])), "0123456789"),
    (Selection(streams=frozenset(["events:{1}"])), "13579"),
    (Selection(streams=frozenset(["events:{1}"]), reasons=frozenset([Reason.BAD_TYPE])), ""),
    (Selection(since_ms=T0 + 420_000), "789?"),
    (Selection(since_ms=T0 + 420_001), "89?"),
    (Selection(before_ms=T0 + 120_000), "01"),
    (Selection(before_ms=T0 + 120_001), "012"),
    (Selection(before_ms=T0 + 10**9), "0123456789?"),
    (Selection(before_ms=0), ""),
    (Selection(since_ms=-5, before_ms=T0 + 1), "0"),
    (Selection(since_ms=T0 + 60_000, before_ms=T0 + 300_000, reasons=frozenset([Reason.TOO_LATE])), "13"),
    (Selection(places=frozenset([(f"{T0 + 3}-0", None), (f"{T0 + 4}-0", 0), (f"{T0 + 5}-0", 0)])), "34"),
]


@pytest.mark.parametrize(("selection", "expected"), SELECTIONS)
def test_a_selection_means_the_same_to_every_verb(letters: DeadLetters, selection: Selection, expected: str) -> None:
    assert listed(letters, selection) == (list(expected), False)
    assert count(letters, selection, no_bar()).total() == len(expected)
    for limit in range(1, 5):
        assert listed(letters, selection, limit) == (list(expected[-limit:]), limit < len(expected))
    purged: Counter[tuple[str, str]] = Counter()
    purge(letters, selection, purged, no_bar(), stopped=lambda: False)
    assert purged.total() == len(expected)
    left = [name for name in "0123456789?" if name not in expected]
    assert listed(letters, Selection()) == (left, False)


def test_nothing_there_is_nothing_to_do(valkey_client: valkey.Valkey) -> None:
    letters = DeadLetters(valkey_client)
    purged: Counter[tuple[str, str]] = Counter()
    purge(letters, Selection(), purged, no_bar(), stopped=lambda: False)
    assert (listed(letters, Selection(), 5), count(letters, Selection(), no_bar()), purged) == (([], False), {}, {})


def test_many_letters_page_by_page(valkey_client: valkey.Valkey) -> None:
    DeadLetterSink(valkey_client).write([replace(LETTER, entry_id=f"{T0}-{n}") for n in range(2_345)])
    letters = DeadLetters(valkey_client)
    out = io.StringIO()
    assert write_list(letters, Selection(), out, limit=1_234, as_json=True)
    assert [json.loads(text)["entry"] for text in out.getvalue().splitlines()] == [
        f"{T0}-{n}" for n in range(1_111, 2_345)
    ]
    purged: Counter[tuple[str, str]] = Counter()
    asked = iter([False, False, True])
    purge(letters, Selection(), purged, no_bar(), stopped=lambda: next(asked))
    # Stopped between two pages, it knows what it did.
    assert 0 < purged.total() == 2_345 - letters.length() < 2_345


def test_letters_that_come_meanwhile_are_left_alone(valkey_client: valkey.Valkey) -> None:
    DeadLetterSink(valkey_client).write([LETTER] * 120)
    letters = DeadLetters(valkey_client)
    purged: Counter[tuple[str, str]] = Counter()

    def another() -> bool:
        DeadLetterSink(valkey_client).write([LETTER])
        return False

    purge(letters, Selection(), purged, no_bar(), stopped=another)
    assert (purged.total(), letters.length()) == (120, 2)


# How they are shown


def test_a_letter_is_one_line() -> None:
    shown = "2015-09-12T00:01:00Z  bad_type  events:{0}  1442016000000-7[2]  price: expected a number  "
    assert line(Kept(f"{T0 + 60_000}-0", LETTER)) == shown + '{"price":"dear"}'
    of_sink = replace(LETTER, stream="influx", entry_id="", index=0)
    assert "  influx  -  price" in line(Kept(f"{T0}-0", of_sink))
    strange = line(Kept(f"{T0}-5", None))
    assert strange == f"2015-09-12T00:00:00Z  unreadable  -  {T0}-5  not a dead letter of this version"


def test_only_the_first_part_of_many_bytes_is_shown() -> None:
    shown = line(Kept(f"{T0}-0", replace(LETTER, raw=b"x" * 5_000_000, message="y" * 5_000_000)))
    assert len(shown) < 500
    assert shown.endswith("xx…")


HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\n\x9b31m\x7f\u202e\u2028"


@given(letters_ | st.just(replace(LETTER, stream=HOSTILE, message=HOSTILE, raw=HOSTILE.encode() + b"\xff\x9b")))
def test_no_terminal_obeys_what_is_printed(letter: DeadLetter) -> None:
    kept = Kept(f"{T0}-0", letter)
    kinds = Counter({("bad_type", letter.stream): 1})
    for shown in (line(kept), json_line(kept), *table(kinds), *json_table(kinds)):
        assert len(shown.splitlines()) == 1
        assert shown.isprintable()


@given(letters_)
def test_json_has_everything(letter: DeadLetter) -> None:
    found = json.loads(json_line(Kept(f"{T0}-3", letter)))
    raw = found.pop("raw").encode() if "raw" in found else base64.b64decode(found.pop("raw_base64"))
    assert raw == letter.raw
    assert found == {
        "id": f"{T0}-3",
        "refused": "2015-09-12T00:00:00Z",
        "reason": letter.reason.value,
        "stream": letter.stream,
        "entry": letter.entry_id,
        "index": letter.index,
        "message": letter.message,
    }


def test_bytes_that_are_no_text_have_a_key_of_their_own() -> None:
    assert '"raw_base64": "/w=="' in json_line(Kept("1-0", replace(LETTER, raw=b"\xff")))
    assert '"raw": "\\u00fc"' in json_line(Kept("1-0", replace(LETTER, raw="ü".encode())))
    assert json.loads(json_line(Kept("1-0", None)))["reason"] == "unreadable"


def test_numbers_by_reason_and_stream(letters: DeadLetters) -> None:
    kinds = count(letters, Selection(), no_bar())
    kinds[("bad_type", "events:{0}")] += 1_000
    assert list(table(kinds)) == [
        "1,005  bad_type  events:{0}",
        "    5  too_late  events:{1}",
        "    1  unreadable",
    ]
    assert json.loads(next(iter(json_table(kinds)))) == {"reason": "bad_type", "stream": "events:{0}", "count": 1_005}


# What an operator types


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", T0 - 90_000),
        ("1h", T0 - 3_600_000),
        ("7d", T0 - 7 * 86_400_000),
        ("2015-09-12", T0),
        ("2015-09-12T00:00Z", T0),
        ("2015-09-12T02:00:00.250+02:00", T0 + 250),
        ("2015-09-12 00:00:01", T0 + 1_000),
    ],
)
def test_moments(text: str, expected: int) -> None:
    assert moment_ms(text, T0) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "1 hour", "-1h", "0s", "25:00"])
def test_other_moments_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as 90s, 1h or 7d"):
        moment_ms(text, T0)


def test_places() -> None:
    assert (place_of("15-3"), place_of("15-3[0]"), place_of("15-3[12]")) == (("15-3", None), ("15-3", 0), ("15-3", 12))
    for text in ("", "15", "15-3[]", "15-3[x]", "15-3]", "-", " 15-3"):
        with pytest.raises(ValueError, match="such as 1526919030474-55"):
            place_of(text)
