from __future__ import annotations

import logging
from typing import Any

import pytest

from sinks.records import Reason
from stream.adapters import decode_safely
from stream.batches import Decoded, RawBatch
from stream.decode import Decoder
from tests.batches import T0, data_batch, plan_of


class Brittle(Decoder):
    """A decoder with a fault that some event brings out."""

    def decode(self, batch: RawBatch, now_ms: int) -> Decoded:
        if any(b"brittle" in field for _, fields in batch.entries for field in fields):
            raise RuntimeError("broke")
        return super().decode(batch, now_ms)


def test_an_entry_that_breaks_the_decoder_is_refused_and_the_others_count(caplog: pytest.LogCaptureFixture) -> None:
    decoder = Brittle(plan_of('[[metric]]\nname = "n"\nmeasure = "count"\n'))
    events: list[dict[str, Any]] = [{"a": "good"}, {"a": "brittle"}, {"a": "good"}, {"time": "never"}]
    with caplog.at_level(logging.ERROR):
        decoded = decode_safely(decoder, data_batch(events), T0)
    assert decoded.frame.height == 2
    letters = {letter.reason: letter for letter in decoded.rejects}
    assert set(letters) == {Reason.MALFORMED, Reason.BAD_TYPE}
    letter = letters[Reason.MALFORMED]
    assert (letter.entry_id, letter.raw) == (f"{T0}-1", b"data=%7B%22a%22%3A+%22brittle%22%7D")
    assert "RuntimeError('broke')" in letter.message
    assert "could not be decoded" in caplog.text
