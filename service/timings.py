"""Where the time of an answer went: the header ``Server-Timing``.

A header (https://www.w3.org/TR/server-timing/) and no part of the body, so that the
same question to the same generation has the same answer to the byte.
"""

import time
from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "Server-Timing"


class ServerTiming:
    """ASGI middleware: adds the parts that a route has measured, the rest and the sum.

    The parts are disjoint. ``other`` is what nobody measured: reading the request,
    waiting for a thread, checking parameters; with it they add up to ``total``, the
    time from the arrival of the request to the first byte of the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with the header added to the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        parts: dict[str, float] = {}
        scope.setdefault("state", {}).update(timings_ms=parts, parts=[])

        async def timed(message: Message) -> None:
            if message["type"] == "http.response.start" and parts:
                total = 1e3 * (time.perf_counter() - started)
                value = server_timing(parts, total)
                MutableHeaders(scope=message)[HEADER] = value
            await send(message)

        await self._app(scope, receive, timed)


def note(request: HTTPConnection, timings_ms: Mapping[str, float]) -> None:
    """Parts of the time of this request, the last of which has just ended.

    Those of one name are added up; a trace has each, when it was.
    """
    request.state.parts.append((time.time_ns(), timings_ms))
    parts: dict[str, float] = request.state.timings_ms
    for name, spent in timings_ms.items():
        parts[name] = parts.get(name, 0.0) + spent


def server_timing(parts: Mapping[str, float], total: float) -> str:
    """Value of the header; parts and total in ms.

    Examples
    --------
    >>> server_timing({"search": 1.2504, "metadata": 0.5}, 2.0)
    'search;dur=1.250, metadata;dur=0.500, other;dur=0.250, total;dur=2.000'
    """
    # In microseconds, so that what is written adds up, too.
    whole = {name: round(1e3 * spent) for name, spent in parts.items()}
    other = max(0, round(1e3 * total) - sum(whole.values()))
    whole |= {"other": other, "total": sum(whole.values()) + other}
    return ", ".join(f"{name};dur={spent / 1e3:.3f}" for name, spent in whole.items())
