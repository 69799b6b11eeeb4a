"""Every request is seen once: counted for Prometheus, and one line in the log."""

import logging
import time

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twinjet.service.content import FORM, media_type
from twinjet.service.errors import METHODS, overload, unforeseen
from twinjet.service.metrics import NO_ROUTE, Metrics

_log = logging.getLogger(__name__)

_FAULT = 500


class Observation:
    """ASGI middleware: counts and logs a request when its answer is complete.

    Of the request, the log has the template of its route and no query, no header and
    nothing of its body, so that no key or file can be in it.

    Parameters
    ----------
    app
        The application inside.
    metrics
        Where it is counted.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and look at what goes in and out."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, self._metrics)

        async def received() -> Message:
            message = await receive()
            exchange.bytes_in += len(message.get("body", b""))
            return message

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
            elif message["type"] == "http.response.body":
                exchange.bytes_out += len(message.get("body", b""))
                # Before its last bytes are sent: who has the answer finds it counted.
                if not message.get("more_body", False):
                    exchange.end()
            await send(message)

        try:
            await self._app(scope, received, sent)
        finally:
            exchange.end(aborted=True)


class _Exchange:
    """A request and its answer, as far as they have come."""

    def __init__(self, scope: Scope, metrics: Metrics) -> None:
        self._scope = scope
        self._metrics = metrics
        self._started = time.perf_counter()
        self._over = False
        self._upload = media_type(Headers(scope=scope)) == FORM
        self.status: int | None = None
        self.bytes_in = 0
        self.bytes_out = 0
        if self._upload:
            metrics.begin_upload()

    def end(self, *, aborted: bool = False) -> None:
        """Count it and write its line, once."""
        if self._over:
            return
        self._over = True
        seconds = time.perf_counter() - self._started
        if self._upload:
            self._metrics.end_upload()
        method = self._scope["method"]
        method = method if method in METHODS else "other"
        route = template(self._scope)
        self._metrics.count(
            method=method,
            route=route,
            status=str(self.status or "none"),
            seconds=seconds,
            parts_ms=self._scope["state"].get("timings_ms", {}),
        )
        client = self._scope.get("client")
        fields = {
            "request_id": self._scope["state"]["request_id"],
            "method": method,
            "route": route,
            "status": self.status,
            "ms": round(1e3 * seconds, 3),
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "client": client[0] if client else None,
        }
        if aborted:
            fields["aborted"] = True
        # Refusals of an overload come by the hundred; `Refusals` sums them up.
        failed = self.status is None or self.status >= _FAULT
        failed = aborted or (failed and overload(self._scope) is None)
        level = logging.WARNING if failed else logging.INFO
        _log.log(
            level,
            "%s %s: %s in %.1f ms, request %s",
            *(method, route, self.status, fields["ms"], fields["request_id"]),
            extra=fields,
        )


def template(scope: Scope) -> str:
    """Path of the route of a request as it is declared: ``/similar/{source_id}``."""
    route = scope.get("route")
    if route is None:  # a route or a folder that is not FastAPI's
        endpoint = scope.get("endpoint")
        for other in scope["app"].routes if endpoint else ():
            if endpoint in (getattr(other, "endpoint", None), getattr(other, "app", 0)):
                route = other
    path: str = getattr(route, "path_format", NO_ROUTE)
    return path


class Unforeseen:
    """ASGI middleware: a fault of ours is answered here, inside of the others.

    What the framework has for it is outside of every middleware, and its answers have
    none of their headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; of an exception make an answer, and a traceback."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def begun(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, begun)
        except ClientDisconnect:
            return  # nobody is there to be answered
        except Exception as exc:  # noqa: BLE001 - whatever it is, it has an answer
            answer = await unforeseen(Request(scope), exc)
            # Else the server ends the connection, for the answer is not complete.
            if not started:
                await answer(scope, receive, send)
