from __future__ import annotations

import asyncio
import builtins
import gzip
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from typing import Any

import pytest
from fastapi import FastAPI
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.responses import StreamingResponse
from starlette.testclient import TestClient

from live_api.delivery.attempts import Attempt, send
from live_api.delivery.bodies import Body
from live_api.delivery.egress import Egress
from live_api.delivery.endpoints import Endpoint
from live_api.delivery.signing import SigningKey
from live_api.spans import untraced
from sinks.errors import Misconfigured
from stream.decode import Decoder
from stream.meters import Meters
from stream.walltime import clock_ms
from streamgauge.settings import Settings
from streamgauge.tracing import Traced, Tracing, tracing_of
from tests.batches import STREAM, T0, data_batch, plan_of
from tests.receiver import SECRET, receiving

PLAN = plan_of('[[metric]]\nname = "n"\nmeasure = "count"\n')
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector:
    """Takes spans over OTLP/HTTP, as a collector does."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        self.raw = b""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces"
                collector.raw += body
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    about = {one.key: one.value.string_value for one in resource.resource.attributes}
                    collector.services.add(about["service.name"])
                    for scope in resource.scope_spans:
                        collector.spans.extend(scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def named(self, name: str) -> Any:
        [span] = [span for span in self.spans if span.name == name]
        return span

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def tracing(collector: Collector, role: str) -> Tracing:
    made = tracing_of(Settings(otlp_endpoint=collector.url), role)
    assert made is not None
    return made


def about(span: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def app(made: Tracing) -> FastAPI:
    api = FastAPI()

    @api.get("/v1/people/{person}")
    async def person(person: str) -> dict[str, str]:
        return {"name": person}

    @api.get("/broken")
    async def broken() -> None:
        raise RuntimeError("hunter2")

    @api.get("/healthz")
    async def healthz() -> None:
        return None

    @api.get("/v1/live")
    async def live() -> StreamingResponse:
        async def lines() -> Any:
            yield b"data: 1\n\n"

        return StreamingResponse(lines(), media_type="text/event-stream")

    api.add_middleware(Traced, tracing=made)
    return api


def test_a_request_is_a_span_of_its_route_in_the_trace_of_its_caller(collector: Collector) -> None:
    made = tracing(collector, "api")
    with TestClient(app(made), raise_server_exceptions=False) as client:
        assert client.get("/v1/people/alice?key=sg_secret", headers={"traceparent": PARENT}).status_code == 200
        assert client.get("/broken").status_code == 500
        assert client.get("/alice/nowhere").status_code == 404
        assert client.get("/v1/live").status_code == 200
        client.get("/healthz")
    made.close()
    assert collector.services == {"streamgauge-api"}
    assert {span.name for span in collector.spans} == {
        "GET /v1/people/{person}",
        "GET /broken",
        "GET a file",
        "GET /v1/live",
    }
    span = collector.named("GET /v1/people/{person}")
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (PARENT[3:35], PARENT[36:52])
    assert about(span) == {
        "http.request.method": "GET",
        "http.route": "/v1/people/{person}",
        "http.response.status_code": 200,
    }
    assert collector.named("GET /broken").status.code == 2
    assert collector.named("GET a file").status.code == 0, "what is not there is no error of ours"
    for private in (b"alice", b"sg_secret", b"hunter2", b"testclient"):
        assert private not in collector.raw, private


def test_a_webhook_carries_its_trace_and_tells_no_secret(collector: Collector) -> None:
    made = tracing(collector, "deliver")
    with made.sending("webhook", {"streamgauge.endpoint": "ops"}) as span:
        traceparent = span.headers["traceparent"]
        span.notes["http.response.status_code"] = 204
    with pytest.raises(OSError, match="away"), made.sending("webhook failed", {}):
        raise OSError("https://user:hunter2@ops.example is away")
    made.close()
    sent = collector.named("webhook")
    assert traceparent.startswith(f"00-{sent.trace_id.hex()}-{sent.span_id.hex()}-")
    assert about(sent) == {"streamgauge.endpoint": "ops", "http.response.status_code": 204}
    failed = collector.named("webhook failed")
    assert (failed.status.code, about(failed)) == (2, {"error.type": "OSError"})
    assert b"hunter2" not in collector.raw


def test_an_epoch_is_a_span_with_what_was_read(collector: Collector) -> None:
    seconds = [100.0]
    meters = Meters(lambda: T0, lambda: seconds[0])
    made = tracing(collector, "processor")
    meters.each_epoch(made.epoch)
    for events, commit_s in ((3, 0.25), (5, 0.5)):
        batch = data_batch([{"a": 1}] * events)
        meters.received(batch, Decoder(PLAN).decode(batch, T0))
        meters.epoch_ended("source")
        seconds[0] += commit_s
        meters.called("source")
        seconds[0] += 1.5
    made.close()
    assert {span.name for span in collector.spans} == {"epoch", f"read {STREAM}", "commit"}
    epoch, read, commit = (collector.named(name) for name in ("epoch", f"read {STREAM}", "commit"))
    assert read.parent_span_id == commit.parent_span_id == epoch.span_id
    assert (commit.end_time_unix_nano - commit.start_time_unix_nano) / 1e9 == pytest.approx(0.5)
    assert (epoch.end_time_unix_nano - epoch.start_time_unix_nano) / 1e9 == pytest.approx(1.75 + 0.5)
    # The first epoch has no beginning that is known; what it read is told with the next.
    assert about(read)["streamgauge.events"] == about(epoch)["streamgauge.events"] == 8


def test_without_an_endpoint_nothing_is_traced_or_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    _without_the_extra(monkeypatch)
    assert tracing_of(Settings(), "api") is None
    with untraced("webhook", {}) as span:
        assert span.headers == {}


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    _without_the_extra(monkeypatch)
    with pytest.raises(Misconfigured, match=r'pip install "streamgauge\[otel\]"'):
        tracing_of(Settings(otlp_endpoint="http://127.0.0.1:4318"), "api")


def test_an_endpoint_is_an_address() -> None:
    with pytest.raises(Misconfigured, match="OTEL_EXPORTER_OTLP_ENDPOINT: expected"):
        tracing_of(Settings(otlp_endpoint="collector:4318"), "api")


def _without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    usual: Callable[..., Any] = builtins.__import__

    def missing(name: str, *arguments: Any, **named: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(f"No module named {name!r}")
        return usual(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", missing)


def test_what_a_webhook_is_sent_is_part_of_the_trace(collector: Collector) -> None:
    made = tracing(collector, "deliver")
    with receiving() as receiver:
        url = f"{receiver.url}?token=hunter2"
        endpoint = Endpoint("ops", "generic", url, (SigningKey.parse(SECRET),), allowed=(ip_network("127.0.0.0/8"),))

        async def deliver() -> Attempt:
            egress = Egress(allowed=endpoint.allowed, trace=made.sending)
            try:
                return await send(endpoint, egress, Body("msg_1", b"{}"), clock_ms())
            finally:
                await egress.aclose()

        assert asyncio.run(deliver()).delivered
        [request] = receiver.requests
    made.close()
    span = collector.named("webhook")
    assert request.headers["traceparent"].split("-")[1:3] == [span.trace_id.hex(), span.span_id.hex()]
    assert about(span)["http.response.status_code"] == 200
    assert b"hunter2" not in collector.raw
