from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from streamgauge import logs
from streamgauge.log_names import NAMES, OWN, SAID_THERE
from streamgauge.redaction import REDACTED, Redactor
from streamgauge.reference_logs import PLACEHOLDER, calls
from streamgauge.settings import SECRETS, Settings, SettingsError, read_settings, variables

ROOT = Path(__file__).parents[2]
_RESERVED = {"timestamp", "level", "event", "message", "role", "member", "logger", "exception"}


def test_everything_that_is_logged_has_a_constant_name() -> None:
    named, own = set(), set()
    for call in calls():
        sentence, where = call.sentence, call.where
        assert sentence is not None, f"{where}: the sentence has to be constant"
        if call.event is not None:
            own.add(call.event)
            continue
        assert sentence in NAMES, f"{where}: {sentence!r} has no name in streamgauge/log_names.py"
        named.add(sentence)
        placeholders = re.findall(PLACEHOLDER, sentence.replace("%%", ""))
        assert len(placeholders) == len(NAMES[sentence].fields), where
    assert named == set(NAMES), "names of sentences that nobody says"
    assert own == set(SAID_THERE)


def test_names_are_short_and_one_is_one_thing() -> None:
    events = [one.event for one in NAMES.values()] + list(SAID_THERE)
    assert len(events) == len(set(events))
    for event in events:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", event), event
        assert len(event) <= 32, event
    for one in NAMES.values():
        assert not _RESERVED & set(one.fields), one
        assert len(set(one.fields)) == len(one.fields), one


def test_no_logger_is_handed_on_as_a_function() -> None:
    for package in OWN:
        for path in (ROOT / package).rglob("*.py"):
            assert not re.search(
                r"\blogger\.(debug|info|warning|error|critical|exception)\b(?!\()", path.read_text()
            ), path


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a handler like the command's writes, as JSON."""
    stream = io.StringIO()
    handler = logs._Handler(stream)
    handler.setFormatter(logs.formatter("json", terminal=False))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield stream
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        logs._bound.clear()


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_the_name_the_sentence_its_parts_and_whose_it_is(written: io.StringIO) -> None:
    logs.bind("processor", 1)
    logging.getLogger("stream.reader").warning("reading %s failed, trying again in %.1f s: %s", "events", 0.25, "away")
    [line] = _lines(written)
    assert line.pop("timestamp").endswith("Z")
    assert list(line)[:3] == ["level", "event", "message"]
    assert line == {
        "level": "warning",
        "event": "read_failed",
        "message": "reading events failed, trying again in 0.2 s: away",
        "role": "processor",
        "member": 1,
        "stream": "events",
        "wait_s": 0.25,
        "error": "away",
        "logger": "stream.reader",
    }


def test_a_sentence_of_others_has_the_name_that_was_given_with_it(
    written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    logging.getLogger("stream.reader").error("%s", "events lost 3 entries", extra={"event": "stream_gap"})
    # A server that another test ran in this process may have made it quieter.
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "level", logging.WARNING)
    monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    logging.getLogger("httpcore.connection").info("connect_tcp.started host='example'")
    assert [(line["event"], line["message"]) for line in _lines(written)] == [
        ("stream_gap", "events lost 3 entries"),
        ("uvicorn_error", "Invalid HTTP request received."),
    ], "and what libraries say in passing is left out"


def test_a_line_for_people_has_no_json() -> None:
    record = logging.LogRecord("live_api.delivery.webhooks", 20, "", 0, "webhook %s: it answers again", ("ops",), None)
    line = logs.formatter("console", terminal=False).format(record)
    assert re.fullmatch(r"[\d-]{10}T[\d:.]{12}Z INFO     webhook_recovered: webhook ops: it answers again", line)


def test_no_secret_setting_is_ever_written(written: io.StringIO) -> None:
    values = {name: f's3cr3t/{name}+"quoted"' for name in SECRETS}
    urls = {
        "valkey_url": "valkey://me:p4ssw0rd-valkey@127.0.0.1:6379",
        "database_url": "postgresql://me:p4ssw0rd-database@127.0.0.1/x",
        "influx_url": "http://me:p4ssw0rd-influx@127.0.0.1",
    }
    settings = Settings(**{name: SecretStr(value) for name, value in values.items()}, **urls)  # type: ignore[arg-type]
    logs.hide_secrets(settings)
    logger = logging.getLogger("stream.expressions")
    try:
        for value in [*values.values(), *urls.values()]:
            logger.debug("an event does not count: %s: %s", value, {"nested": [value]})
            try:
                raise ValueError(f"found {value!r}")
            except ValueError:
                logger.exception("%s", value, extra={"event": "step_failed"})
    finally:
        REDACTED._known.clear()
        REDACTED._found = None
    text = written.getvalue()
    assert text.count("***") > 20
    for secret in [*values.values(), *(url.split(":")[2].partition("@")[0] for url in urls.values())]:
        assert secret not in text
        assert orjson.dumps(secret).decode().strip('"') not in text
    assert "s3cr3t" not in text
    assert "p4ssw0rd" not in text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Authorization: Bearer abc.def-ghi_123", "Authorization: Bearer ***"),
        ("key sg_viewer_0123456789abcdef is unknown", "key sg_*** is unknown"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_***"),
        ("GET /v1/ws?ticket=abc123&x=1", "GET /v1/ws?ticket=***&x=1"),
        ("valkey://default:hunter2@host:6379/0", "valkey://default:***@host:6379/0"),
        ("42 points of shop", "42 points of shop"),
    ],
)
def test_what_looks_like_a_secret_is_hidden_though_nobody_knows_it(text: str, kept: str) -> None:
    assert Redactor()(text) == kept


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_setting_that_cannot_be_used_does_not_show_a_secret(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(**{name: ["hunter2-of-mine"]})
    assert variables()[name] in str(caught.value)
    assert "hunter2" not in str(caught.value)
