"""The identity of a request: in its answer, in its problem document, in the log."""

import os
import re
from collections.abc import Iterable
from contextvars import ContextVar

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Request-ID"
_NAME = HEADER.lower().encode()

# Those of UUIDs, ULIDs, base64 and proxies: nothing that a log or a shell would mind.
_SANE = re.compile(rb"[A-Za-z0-9._~+/=:@-]{1,128}")

_current: ContextVar[str | None] = ContextVar("request_id", default=None)
_trace: ContextVar[str | None] = ContextVar("trace_id", default=None)


def current() -> str | None:
    """Identity of the request that this code runs for; None outside of any.

    Tasks and threads that the framework starts for a request know it, too.
    """
    return _current.get()


def current_trace() -> str | None:
    """The trace that the request is part of, 32 hex digits; None where none is made."""
    return _trace.get()


def set_trace(trace_id: str) -> None:
    """The request that this code runs for is part of a trace."""
    _trace.set(trace_id)


def identity(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The identity that a client or proxy gave, if it is one and sane; else a new one.

    Sane are 1 to 128 letters, digits and ``._~+/=:@-`` of ASCII.

    Examples
    --------
    >>> identity([(b"x-request-id", b"ticket-17")])
    'ticket-17'
    >>> len(identity([(b"x-request-id", b"two words")]))
    32
    """
    given = [value for name, value in headers if name == _NAME]
    if len(given) == 1 and _SANE.fullmatch(given[0]):
        return given[0].decode("ascii")
    return os.urandom(16).hex()


class RequestIds:
    """ASGI middleware: gives every request an identity, and every answer its header."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with its identity in ``state.request_id``."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        known = identity(scope["headers"])
        scope.setdefault("state", {})["request_id"] = known
        # Never reset: the server, which logs in the same task, is to know it, too.
        _current.set(known)

        async def identified(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = known
            await send(message)

        await self._app(scope, receive, identified)
