"""Whatever is sent: no answer is a 500, and what is said of the events adds up to what is counted."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import schemathesis
import valkey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode
from starlette.testclient import TestClient

from live_api.app import create_app
from stream.catalog import parse
from tests.servers import ValkeyServer

from .test_ingest import CATALOG, PSEUDONYMS, counted

_STORE = f"sqlite:///{tempfile.mkdtemp()}/points.db"


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[TestClient, valkey.Valkey]]:
    with ValkeyServer() as server:
        app, _ = create_app(
            parse(CATALOG),
            valkey_url=server.connection_url,
            store_url=_STORE,
            version="0",
            pseudonym=PSEUDONYMS.of,
        )
        with TestClient(app, raise_server_exceptions=False) as client:
            yield client, server.client()


def _document() -> dict[str, Any]:
    app, _ = create_app(parse(CATALOG), valkey_url="valkey://127.0.0.1:1", store_url=_STORE, version="0")
    document = app.openapi()
    ours = {path: one for path, one in document["paths"].items() if "events" in str(one.get("post", {}).get("tags"))}
    # Lines are no media type that it can make; the tests below make some.
    ours["/v1/events"]["post"]["requestBody"]["content"].pop("application/x-ndjson")
    return document | {"paths": ours}


schema = schemathesis.openapi.from_dict(_document())
schema.config.generation.modes = list(GenerationMode)


@schema.parametrize()
@settings(max_examples=6, suppress_health_check=list(HealthCheck), deadline=None)
def test_what_the_document_allows_and_forbids_is_answered(
    case: schemathesis.Case, served: tuple[TestClient, valkey.Valkey]
) -> None:
    body = case.body if isinstance(case.body, bytes | str | dict | list) else None
    answer = served[0].request(
        case.method,
        case.formatted_path,
        params={name: str(value) for name, value in (case.query or {}).items()},
        # Without a key: there is none here, and one that is made up is refused before the body is looked at.
        headers={
            name: str(value).encode("latin-1", "replace")
            for name, value in (case.headers or {}).items()
            if name.lower() != "authorization"
        }
        | {"Content-Type": (case.media_type or "").encode()},
        content=json.dumps(body, default=str) if isinstance(body, dict | list) else body,
    )
    assert answer.status_code in (200, 202, 204, 207, 400, 404, 405, 413, 415), answer.text
    if answer.status_code in (202, 207):
        assert answer.json().keys() == {"accepted", "duplicates", "rejected"}


# Any mix of formats and of good and bad events

_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
_NOW = datetime.now(UTC).replace(tzinfo=None).isoformat()
_texts = st.sampled_from(["", "ann", "bob", "~" + "0" * 32, "\u00e9\u0000"])
_fields: dict[str, st.SearchStrategy[Any]] = {
    "user_id": _texts | _values,
    "anonymous_id": _texts | _values,
    "price": st.floats(0, 10) | st.sampled_from(["1.5", "much"]) | _values,
    "signed": st.booleans() | _values,
    "country": _texts | _values,
    "context": st.fixed_dictionaries({"page": st.fixed_dictionaries({"path": _texts | _values})}) | _values,
    "consent": st.booleans() | _values,
    # All of one day, as the processor closes every window in between.
    "time": st.sampled_from([None, "", "no", 1e300, "2999-01-01", [], _NOW, f"{_NOW}Z"]),
    "other": _values,
}
_events = st.fixed_dictionaries({}, optional=_fields)
_formats = st.sampled_from(["object", "array", "envelope", "lines", "segment", "posthog", "cloudevents"])


def _request(form: str, events: list[Any], sent_at: Any) -> tuple[str, str, bytes]:
    """Path, media type and body of some events in a format."""
    kind, path, body = "application/json", "/v1/events", None
    ids = [one.get("id") if isinstance(one, dict) else None for one in events]
    if form == "object":
        body = events[0]
    elif form == "array":
        body = events
    elif form == "envelope":
        body = {"events": events, "sent_at": sent_at}
    elif form == "lines":
        lines = "\n".join(json.dumps(one) for one in events)
        return path, "application/x-ndjson", lines.encode()
    elif form == "segment":
        calls = [
            {"type": "track", "event": "e", "properties": one, "messageId": id_, "userId": "ann"}
            for one, id_ in zip(events, ids, strict=True)
        ]
        path, body = "/v1/batch", {"batch": calls, "sentAt": sent_at}
    elif form == "posthog":
        captures = [{"event": "e", "properties": one, "uuid": id_} for one, id_ in zip(events, ids, strict=True)]
        path, body = "/batch", {"api_key": "k", "batch": captures, "sent_at": sent_at}
    else:
        kind = "application/cloudevents-batch+json"
        body = [
            {"specversion": "1.0", "source": "s", "type": "t", "id": id_, "data": one}
            for one, id_ in zip(events, ids, strict=True)
        ]
    return path, kind, json.dumps(body).encode()


@settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)
@given(
    st.lists(
        st.tuples(_formats, st.lists(_events | _values, min_size=1, max_size=6), st.booleans(), st.booleans()),
        min_size=1,
        max_size=4,
    )
)
def test_verdicts_add_up_to_what_is_sent_and_to_what_is_counted(
    served: tuple[TestClient, valkey.Valkey], requests: list[tuple[str, list[Any], bool, bool]]
) -> None:
    client, streams = served
    streams.flushall()
    accepted, number = 0, 0
    for form, some, packed, again in requests:
        named = []
        for one in some[:1] if form == "object" else some:
            number += 1
            named.append(one | {"id": f"id-{number}"} if isinstance(one, dict) else one)
        path, kind, body = _request(form, named, _NOW if packed else None)
        for _ in range(2 if again else 1):
            headers = {"Content-Type": kind} | ({"Content-Encoding": "gzip"} if packed else {})
            answer = client.post(path, content=gzip.compress(body) if packed else body, headers=headers)
            said = answer.json()
            if answer.status_code == 400:
                assert form == "object"
                assert not isinstance(named[0], dict)
                continue
            assert answer.status_code in (202, 207), answer.text
            sent = named[0] if form == "object" and isinstance(named[0], list) else named
            assert said["accepted"] + said["duplicates"] + len(said["rejected"]) == len(sent)
            places = [one["index"] for one in said["rejected"]]
            assert places == sorted(set(places))
            assert all(0 <= place < len(sent) for place in places)
            accepted += said["accepted"]
    assert counted(streams) == accepted


@settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
@given(
    st.sampled_from(["/v1/events", "/v1/batch", "/v1/track", "/capture", "/batch"]),
    st.sampled_from(["application/json", "application/x-ndjson", "application/cloudevents+json", "text/plain", ""]),
    st.binary(max_size=60)
    | st.sampled_from([b"[" * 5_000, b'{"a":' * 3_000, b"\x1f\x8b\x08", b'["\\ud800"]', b"{}{}"]),
)
def test_no_bytes_make_it_stumble(served: tuple[TestClient, valkey.Valkey], path: str, kind: str, body: bytes) -> None:
    answer = served[0].post(path, content=body, headers={"Content-Type": kind})
    assert answer.status_code in (202, 207, 400), answer.text
