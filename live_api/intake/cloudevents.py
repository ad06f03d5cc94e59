"""CloudEvents 1.0 in JSON as events of the catalog: structured, several at once, and with the attributes in headers."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from live_api.intake.sent import Names, Sent, Unusable, loads, put, sent_of, too_many
from live_api.intake.verdict import Rejected
from sinks.records import Reason
from stream.entries import MAX_ELEMENTS

STRUCTURED, SEVERAL = "application/cloudevents+json", "application/cloudevents-batch+json"
_PREFIX = "ce-"
_REQUIRED = ("specversion", "id", "source", "type")
_ENVELOPE = frozenset({"specversion", "id", "type", "time", "data", "data_base64", "datacontenttype", "dataschema"})


def is_binary(headers: Mapping[str, str]) -> bool:
    """Whether the attributes are in the headers."""
    return f"{_PREFIX}id" in headers or f"{_PREFIX}specversion" in headers


def read(body: bytes, kind: str, headers: Mapping[str, str], names: Names) -> Sent:
    """Raises Unusable."""
    if kind in (STRUCTURED, SEVERAL):
        whole = loads(body)
        if kind == SEVERAL and not isinstance(whole, list):
            raise Unusable("expected an array of CloudEvents")
        events = whole if kind == SEVERAL else [whole]
        if len(events) > MAX_ELEMENTS:
            return too_many(len(events))
        return sent_of([_event(index, one, names) for index, one in enumerate(events)])
    event: dict[str, Any] = {
        name[len(_PREFIX) :]: unquote(value) for name, value in headers.items() if name.startswith(_PREFIX)
    }
    event["datacontenttype"] = kind or "application/json"
    if body:
        event["data_base64"] = base64.b64encode(body).decode()
    return sent_of([_event(0, event, names)])


def _event(index: int, given: Any, names: Names) -> dict[str, Any] | Rejected:
    if not isinstance(given, dict):
        return Rejected(index, Reason.MALFORMED, "", "expected a CloudEvent as a JSON object")
    for name in _REQUIRED:
        value = given.get(name)
        if value is None or value == "":
            return Rejected(index, Reason.MISSING_FIELD, name, f"{name}: expected a value, found none")
        if not isinstance(value, str):
            return Rejected(index, Reason.BAD_TYPE, name, f"{name}: expected a text")
    if not given["specversion"].startswith("1."):
        return Rejected(index, Reason.BAD_TYPE, "specversion", "specversion: expected 1.0")
    try:
        data = _data(given)
    except (ValueError, Unusable) as error:
        return Rejected(index, Reason.MALFORMED, "data", f"data: {error}")
    event = {name: value for name, value in given.items() if name not in _ENVELOPE}
    event |= data if isinstance(data, dict) else {"data": data}
    put(event, names.time, given.get("time"))
    # Its id is unique only together with its source.
    put(event, names.id, f"{given['source']} {given['id']}")
    put(event, names.name, given["type"])
    return event


def _data(given: Mapping[str, Any]) -> Any:
    """Raises ValueError, Unusable."""
    if "data_base64" not in given:
        return given.get("data")
    raw = given["data_base64"]
    if not isinstance(raw, str):
        raise ValueError("data_base64: expected a text")
    try:
        decoded = base64.b64decode(raw, validate=True)
    except binascii.Error as error:
        raise ValueError(f"data_base64: {error}") from None
    kind = str(given.get("datacontenttype") or "application/json").partition(";")[0].strip().lower()
    return loads(decoded) if kind == "application/json" or kind.endswith("+json") else decoded.decode(errors="replace")
