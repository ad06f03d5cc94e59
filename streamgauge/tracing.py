"""Traces over OTLP: the API's requests, webhooks that are sent, the processor's epochs. Off unless an endpoint is set.

Nothing else here knows OpenTelemetry: the API is wrapped from outside, and the others are handed plain functions. No
span has a query, an id, an address or anything of an event.

*Failure*: a collector that is away loses spans and nothing else; they are sent from a thread of the library's own.
*Cost*: none when it is off; nothing of it is on the way of live frames, which are not traced.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from live_api.spans import Span
from sinks.errors import Misconfigured
from stream.meters import Epoch
from streamgauge import __version__
from streamgauge.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

_LEAVE_S = 1.0
"""How long the end of a process waits for what was not sent yet."""
_UNWORTHY = ("/healthz", "/readyz")
_NS = 1_000_000_000


class Tracing:
    """Where spans of one process go."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self.tracer: Tracer = provider.get_tracer("streamgauge", __version__)

    @contextmanager
    def sending(self, name: str, about: Mapping[str, str | int]) -> Iterator[Span]:
        """A request that is sent; whoever gets it is told what it is part of. A `live_api.spans.Trace`."""
        from opentelemetry.propagate import inject
        from opentelemetry.trace import SpanKind, Status, StatusCode

        carried: dict[str, str] = {}
        # What went wrong is told by its kind alone: messages may have an address with a secret in it.
        with self.tracer.start_as_current_span(
            name, kind=SpanKind.CLIENT, attributes=dict(about), record_exception=False, set_status_on_exception=False
        ) as span:
            inject(carried)
            made = Span(carried)
            try:
                yield made
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR))
                span.set_attribute("error.type", type(error).__name__)
                raise
            span.set_attributes(made.notes)

    def epoch(self, epoch: Epoch) -> None:
        """One epoch of the processor, with what it read of each stream and how long saving it took.

        There is one each two seconds. Batches are not spans of their own: there are fifty a second, which say no more.
        """
        from opentelemetry import context
        from opentelemetry.trace import set_span_in_context

        end_ns = time.time_ns()
        begin_ns = end_ns - int((epoch.lasted_s + epoch.commit_s) * _NS)
        whole = self.tracer.start_span(
            "epoch",
            context=context.Context(),
            start_time=begin_ns,
            attributes={"streamgauge.events": sum(read.events for read in epoch.read.values())},
        )
        inside = set_span_in_context(whole)
        for stream, read in epoch.read.items():
            about: dict[str, str | int] = {
                "streamgauge.stream": stream,
                "streamgauge.batches": read.batches,
                "streamgauge.entries": read.entries,
                "streamgauge.events": read.events,
            }
            one = self.tracer.start_span(f"read {stream}", context=inside, start_time=begin_ns, attributes=about)
            one.end(end_ns - int(epoch.commit_s * _NS))
        commit = self.tracer.start_span("commit", context=inside, start_time=end_ns - int(epoch.commit_s * _NS))
        commit.set_attribute("streamgauge.snapshot_ms", int(epoch.snapshot_s * 1_000))
        commit.end(end_ns)
        whole.end(end_ns)

    def close(self) -> None:
        """Send what is left, for a moment: a collector that is away does not hold up the end."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(_LEAVE_S)


class Traced:
    """ASGI: a span for each HTTP request, of its method, route and status. Live lines are passed through."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _UNWORTHY:
            await self._app(scope, receive, send)
            return
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, Status, StatusCode

        carried = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        span = self._tracing.tracer.start_span(
            scope["method"],
            # Of what came nothing but the place in the caller's trace is taken over.
            context=extract({name: carried[name] for name in ("traceparent", "tracestate") if name in carried}),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": scope["method"]},
        )
        ended = False

        def end(status: int | None) -> None:
            nonlocal ended
            if ended:
                return
            ended = True
            route = getattr(scope.get("route"), "path", None)
            # Files of the front end, and what is nowhere, have no route: any path could be somebody's id.
            span.update_name(f"{scope['method']} {route or 'a file'}")
            if route:
                span.set_attribute("http.route", route)
            if status is not None:
                span.set_attribute("http.response.status_code", status)
            if status is None or status >= 500:
                span.set_status(Status(StatusCode.ERROR))
            span.end()

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Here, and not when all is sent: a live line over HTTP is a response that goes on for days.
                end(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, told)
        finally:
            end(None)


def tracing_of(settings: Settings, role: str) -> Tracing | None:
    """What traces a part; None when it is off. Raises Misconfigured where the extra is not installed."""
    endpoint = settings.otlp_endpoint
    if endpoint is None:
        return None
    if not endpoint.startswith(("http://", "https://")):
        raise Misconfigured("OTEL_EXPORTER_OTLP_ENDPOINT: expected one like http://collector:4318; found another")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise Misconfigured(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, which needs what is not installed: "
            f'pip install "streamgauge[otel]" ({error})'
        ) from None
    about = {"service.name": f"streamgauge-{role}", "service.version": __version__}
    provider = TracerProvider(resource=Resource.create(about))
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracing(provider)
