"""Bytes of a request's body are counted as they arrive."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twinjet.service.errors import PayloadTooLargeError

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
