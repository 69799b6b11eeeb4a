"""HEAD, which is GET without the body (RFC 9110, 9.3.2), for every route."""

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Heads:
    """ASGI middleware: a HEAD goes where a GET would, and has the head of its answer.

    The framework gives its routes no HEAD of their own.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and keep the body of the answer back."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        begun = False

        async def head_only(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                # Of which the server, the log and the figures are told.
                scope["method"] = "HEAD"
                await send(message)
                await send({"type": "http.response.body", "body": b""})
            elif message.get("more_body"):
                # As if nobody listened: what would be streamed is not made.
                raise ClientDisconnect

        scope["method"] = "GET"
        try:
            await self._app(scope, receive, head_only)
        except ClientDisconnect:
            if not begun:
                raise
        finally:
            scope["method"] = "HEAD"
