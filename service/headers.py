"""Headers that keep a page to its own origin."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_CONTENT = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; "
    b"img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; "
    b"base-uri 'none'; form-action 'self'"
)
_PERMISSIONS = (
    b"camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"
)
SECURITY_HEADERS = (
    (b"content-security-policy", _CONTENT),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", _PERMISSIONS),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
"""As they are sent with every answer."""


class SecurityHeaders:
    """ASGI middleware that adds the headers to every answer.

    Parameters
    ----------
    app
        The application inside.
    hsts_s
        Seconds in which browsers may come by HTTPS alone, told to those that did;
        0 for nothing of the kind.
    """

    def __init__(self, app: ASGIApp, *, hsts_s: int = 0) -> None:
        self._app = app
        hsts = (b"strict-transport-security", b"max-age=%d" % hsts_s)
        self._of_https = (*SECURITY_HEADERS, hsts) if hsts_s else SECURITY_HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with headers added to the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        added = self._of_https if scope["scheme"] == "https" else SECURITY_HEADERS

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = message.get("headers", ())
                names = {name.lower() for name, _ in given}
                new = [pair for pair in added if pair[0] not in names]
                message["headers"] = [*given, *new]
            await send(message)

        await self._app(scope, receive, with_headers)
