"""Requests as spans of OpenTelemetry, sent to a collector by OTLP over HTTP."""

from collections.abc import Mapping
from importlib.metadata import version

from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    format_trace_id,
    set_span_in_context,
    use_span,
)
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twinjet.service.errors import METHODS
from twinjet.service.metrics import NO_ROUTE
from twinjet.service.observation import template
from twinjet.service.request_ids import set_trace

_FAULT = 500


class Spans:
    """Makes spans, and sends them in a thread of its own.

    Where to, how many and under which name is said by the variables of OpenTelemetry.
    """

    def __init__(self) -> None:
        known = {"service.name": "twinjet", "service.version": version("twinjet")}
        resource = Resource.create(known).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("twinjet")

    def close(self) -> None:
        """Send what there is, make no more."""
        self._provider.shutdown()

    def around(self, app: ASGIApp) -> ASGIApp:
        """An application whose requests are traced."""
        return Tracing(app, spans=self)

    def begin(self, scope: Scope) -> Span:
        """The span of a request, in the trace that its headers name, if they do."""
        return self._tracer.start_span(
            scope["method"],
            context=propagate.extract(dict(Headers(scope=scope))),
            kind=SpanKind.SERVER,
            attributes={"twinjet.request_id": scope["state"]["request_id"]},
        )

    def end(self, span: Span, scope: Scope, status: int | None) -> None:
        """End the span of a request, with the parts of its time as spans within it.

        It has what the log has of a request, and neither query, headers nor body.
        """
        known = scope["method"] in METHODS
        method, route = scope["method"] if known else "HTTP", template(scope)
        span.update_name(method if route == NO_ROUTE else f"{method} {route}")
        span.set_attribute("http.request.method", method if known else "_OTHER")
        if route != NO_ROUTE:
            span.set_attribute("http.route", route)
        if status is not None:
            span.set_attribute("http.response.status_code", status)
        if status is None or status >= _FAULT:
            span.set_status(Status(StatusCode.ERROR))
        for ended_ns, parts_ms in scope["state"].get("parts", ()):
            self._add_parts(span, ended_ns, parts_ms)
        span.end()

    def _add_parts(
        self, parent: Span, ended_ns: int, parts_ms: Mapping[str, float]
    ) -> None:
        """Parts that followed each other, the last of which had just ended."""
        context = set_span_in_context(parent)
        for name, spent_ms in reversed(list(parts_ms.items())):
            started_ns = ended_ns - round(1e6 * spent_ms)
            part = self._tracer.start_span(name, context, start_time=started_ns)
            part.end(ended_ns)
            ended_ns = started_ns


class Tracing:
    """ASGI middleware: a span for each request, until its answer is complete.

    Parameters
    ----------
    app
        The application inside.
    spans
        Makes them.
    """

    def __init__(self, app: ASGIApp, *, spans: Spans) -> None:
        self._app = app
        self._spans = spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, its span being the current one."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status: int | None = None

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        span = self._spans.begin(scope)
        set_trace(format_trace_id(span.get_span_context().trace_id))
        try:
            # Texts of exceptions may have what was asked in them.
            with use_span(span, record_exception=False, set_status_on_exception=False):
                await self._app(scope, receive, sent)
        finally:
            self._spans.end(span, scope, status)
