"""What producers get wrong goes to the dead-letter stream with its reason; everything else is counted."""

from __future__ import annotations

import json
from pathlib import Path

from tests.stack import eventually, live, stack

CATALOG = """
[platform]
name = "Bad input"

[event]
required = ["kind"]

[[metric]]
name = "amount"
measure = "sum"
value = "amount"
by = ["kind"]
windows = ["1m", "1d"]
"""

BAD: list[tuple[str, dict[bytes, bytes]]] = [
    ("malformed", {b"data": b'{"kind": "x", '}),
    ("malformed", {b"data": b""}),
    ("malformed", {b"data": b"{}"}),
    ("malformed", {b"": b""}),
    ("malformed", {b"kind": b"x", b"note": b"\xff\xfe"}),
    ("malformed", {b"data": b'{"kind": "caf\xe9", "amount": 1}'}),
    ("malformed", {b"data": b'{"kind": "x", "amount": NaN}'}),
    ("malformed", {b"data": b'{"kind": "x", "amount": Infinity}'}),
    ("bad_type", {b"kind": b"x", b"amount": b"nan"}),
    ("bad_type", {b"kind": b"x", b"amount": b"-inf"}),
    ("bad_type", {b"data": b'{"kind": "x", "amount": "a lot"}'}),
    ("bad_type", {b"data": b'{"kind": "x", "amount": {"EUR": 5}}'}),
    ("bad_type", {b"data": b'{"kind": "x", "time": "yesterday"}'}),
    ("missing_field", {b"data": b'{"amount": 5}'}),
    ("too_large", {b"data": b'{"kind": "x", "note": "' + b"y" * 2_000_000 + b'"}'}),
    ("too_late", {b"data": b'{"kind": "x", "time": 0}'}),
    ("too_late", {b"data": b'{"kind": "x", "time": "1970-01-01T00:00:00Z"}'}),
    ("future", {b"data": b'{"kind": "x", "time": "2099-01-01T00:00:00Z"}'}),
]


def test_each_bad_event_is_kept_with_its_reason_and_the_rest_is_counted(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(CATALOG)
    with stack(tmp_path, catalog) as made:
        processor = made.run_processor()
        made.run_api()
        made.ready()
        client = made.client
        pipe = client.pipeline(transaction=False)
        sent: dict[str, tuple[str, dict[bytes, bytes]]] = {}
        for _, fields in BAD:
            pipe.xadd("events:{0}", {"kind": "good", "amount": "2"})
            pipe.xadd("events:{0}", fields)  # type: ignore[arg-type]
        array = [{"kind": "good", "amount": 2}, {"amount": 2}, "no event", {"kind": "good", "amount": 2}]
        pipe.xadd("events:{0}", {"batch": json.dumps(array)})
        ids = pipe.execute()
        for (reason, fields), entry in zip(BAD, ids[1::2], strict=False):
            sent[entry.decode()] = (reason, fields)
        good, bad = len(BAD) + 2, len(BAD) + 2

        with live(made, "metric:amount@1d", "system") as wall:
            wall.until(lambda w: w.total("amount@1d{kind=good}") == 2 * good)
            wall.until(lambda w: w.system.get("rejected_total") == bad)
            assert wall.system["rejects"]["too_large"] == 1
        assert set(wall.series) == {"amount@1d{kind=good}"}

        # What is live, stored and refused is written one after the other.
        eventually(lambda: client.xlen("streamgauge:deadletter") >= bad)
        letters = [fields for _, fields in client.xrange("streamgauge:deadletter")]
        assert len(letters) == bad
        for letter in letters:
            entry = letter[b"entry"].decode()
            if entry not in sent:
                assert letter[b"index"] in (b"1", b"2")
                continue
            reason, fields = sent[entry]
            assert letter[b"reason"].decode() == reason, (letter[b"message"], fields)
            assert letter[b"message"]
            assert letter[b"stream"] == b"events:{0}"
            if b"data" in fields:
                assert letter[b"raw"] == fields[b"data"]
        assert {letter[b"raw"] for letter in letters if letter[b"entry"].decode() not in sent} == {
            b'{"amount": 2}',
            b'"no event"',
        }

        metrics = made.get("/v1/metrics")
        assert metrics["rejected_total"] == bad
        assert metrics["rejects"]["too_late"] == 2
        eventually(lambda: made.total("streamgauge_rejects", "1d") == bad)
        eventually(lambda: made.total("amount") == 2 * good)
        assert processor.poll() is None
