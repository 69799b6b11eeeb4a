"""A request's body as it arrives: its bytes are counted, its pace is watched."""

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twinjet.service.errors import PayloadTooLargeError, SlowBodyError

# Of a multipart body besides the file: boundaries, names, headers.
_MULTIPART_BYTES = 64 * 1024


class BodyLimit:
    """ASGI middleware: a body over the limit ends the request while it arrives.

    The framework parses a whole form before a route sees it, so a limit in the
    route would come too late.

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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with its body counted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise PayloadTooLargeError(self._limit, received)
            return message

        await self._app(scope, counted, send)


class BodyPace:
    """ASGI middleware: a body that stalls or trickles ends the request.

    Servers wait for ever for a body that was begun, and each holds a connection and
    a temporary file. One that comes steadily may take as long as it is large.

    Parameters
    ----------
    app
        The application inside.
    stall_s
        Longest wait for the next piece, and grace for the whole.
    bytes_per_s
        Least mean rate; the whole may take ``stall_s`` and its bytes over this.
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
        received = 0
        whole = answering = False

        async def answered(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        async def timed() -> Message:
            nonlocal begun, received, whole
            if whole:  # what is waited for now is that the client goes away
                return await receive()
            now = time.monotonic()
            begun = now if begun is None else begun
            due = begun + self._stall_s + received / self._bytes_per_s
            try:
                async with asyncio.timeout(min(self._stall_s, due - now)):
                    message = await receive()
            except TimeoutError:
                if answering:  # without the body; it is too late for a refusal
                    return {"type": "http.disconnect"}
                raise self._slow(received, time.monotonic() - begun) from None
            received += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            return message

        await self._app(scope, timed, answered)

    def _slow(self, received: int, spent_s: float) -> SlowBodyError:
        detail = (
            f"the body stalled: {received} bytes came in {spent_s:.1f} s; send on "
            f"within {self._stall_s:g} s, and {self._bytes_per_s} bytes a second"
        )
        return SlowBodyError(detail, limit=self._stall_s, actual=round(spent_s, 1))
