"""A request's body as it arrives: its bytes are counted, its pace is watched."""

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twinjet.service.errors import (
    OverloadedError,
    PayloadTooLargeError,
    SlowBodyError,
)

# Of a multipart body besides the file: boundaries, names, headers.
_MULTIPART_BYTES = 64 * 1024

# So many of the largest bodies may be under way; of small ones many more.
_TOGETHER = 16
_RETRY_AFTER_S = 1.0


class BodyLimit:
    """ASGI middleware: a body over the limit ends the request while it arrives.

    The framework parses a whole form before a route sees it, so a limit in the
    route would come too late. So would one for each: bodies that are under way are
    in memory, or in temporary files, and together they are no more than `_TOGETHER`.

    Parameters
    ----------
    app
        The application inside.
    max_upload_bytes
        Of the file in the body.
    """

    def __init__(self, app: ASGIApp, *, max_upload_bytes: int) -> None:
        self._app = app
        self._limit = max_upload_bytes + _MULTIPART_BYTES
        self._together = _TOGETHER * self._limit
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with its body counted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            size = len(message.get("body", b""))
            received += size
            self._held += size
            if received > self._limit:
                raise PayloadTooLargeError(self._limit, received)
            if self._held > self._together:
                raise self._full()
            return message

        try:
            await self._app(scope, counted, send)
        finally:
            self._held -= received

    def _full(self) -> OverloadedError:
        return OverloadedError(
            "too many bodies are under way; try again in a moment",
            limit=self._together,
            actual=self._held,
            retry_after_s=_RETRY_AFTER_S,
        )


class BodyPace:
    """ASGI middleware: a body that stalls or trickles ends the request.

    Servers wait for ever for a body that was begun, and each holds a connection and
    a temporary file. One that comes steadily may take as long as it is large; what
    came quickly at first is no credit for later.

    Parameters
    ----------
    app
        The application inside.
    stall_s
        Longest wait for the next piece, and grace for the whole.
    bytes_per_s
        Least mean rate, over the latest ``stall_s`` or a little more.
    """

    def __init__(self, app: ASGIApp, *, stall_s: float, bytes_per_s: int) -> None:
        self._app = app
        self._stall_s = stall_s
        self._bytes_per_s = bytes_per_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with its body timed from when it is first read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun: float | None = None
        since = 0.0
        received = lately = 0
        whole = answering = False

        async def answered(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        async def timed() -> Message:
            nonlocal begun, since, received, lately, whole
            if whole:  # what is waited for now is that the client goes away
                return await receive()
            now = time.monotonic()
            if begun is None:
                begun = since = now
            if now - since > self._stall_s:
                since, lately = now, 0
            due = since + self._stall_s + lately / self._bytes_per_s
            try:
                async with asyncio.timeout(min(self._stall_s, due - now)):
                    message = await receive()
            except TimeoutError:
                if answering:  # without the body; it is too late for a refusal
                    return {"type": "http.disconnect"}
                raise self._slow(received, time.monotonic() - begun) from None
            size = len(message.get("body", b""))
            received += size
            lately += size
            whole = not message.get("more_body", False)
            return message

        await self._app(scope, timed, answered)

    def _slow(self, received: int, spent_s: float) -> SlowBodyError:
        detail = (
            f"the body stalled: {received} bytes came in {spent_s:.1f} s; send on "
            f"within {self._stall_s:g} s, and {self._bytes_per_s} bytes a second"
        )
        return SlowBodyError(detail, limit=self._stall_s, actual=round(spent_s, 1))
