"""Who may ask for what: each request is let in or refused before its body is read."""

import logging
from collections.abc import Iterable

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from twinjet.service.errors import refusal
from twinjet.service.keyring import Caller, Keyring, insufficient, refused
from twinjet.service.rate_limits import RateLimits
from twinjet.service.scopes import Level, Routes, covers, level_of

_log = logging.getLogger(__name__)

_SCHEME = b"bearer"


class Access:
    """ASGI middleware: lets a request in whose caller may do what its route does.

    Parameters
    ----------
    app
        The application inside.
    anonymous
        What needs no key.
    """

    def __init__(self, app: ASGIApp, *, anonymous: Level) -> None:
        self._app = app
        self._anonymous: Level = anonymous
        self._routes: Routes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] == "websocket":  # there are none to be had
            await send({"type": "websocket.close"})
            return
        if scope["type"] == "http":
            try:
                await self._admit(scope)
            except HTTPException as exc:
                answer = await refusal(Request(scope), exc)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope) -> None:
        """Raise what a request is to be refused with."""
        if self._routes is None:
            self._routes = Routes(scope["app"])
        route = self._routes.find(scope)
        if route is None:  # the router has the words for it
            return
        # A refusal is counted and logged under the route that it is of.
        scope["route"] = route.original_route
        wanted = level_of(route)
        if wanted is None:
            _log.error("route %s declares no scope and is refused", route.path)
            raise HTTPException(403, "this route is open to nobody: it has no scope")
        if wanted == "public":
            return
        limits: RateLimits = scope["app"].state.rate_limits
        try:
            caller = await self._caller(scope)
        except HTTPException:
            # What comes with a wrong key is counted as if it came with none.
            await limits.check(scope, Caller(self._anonymous))
            raise
        await limits.check(scope, caller)
        if not (covers(caller.level, wanted) or covers(self._anonymous, wanted)):
            if caller.key is None:
                message = f"this needs a key of scope {wanted}"
                message += ": Authorization: Bearer KEY"
                raise refused(message)
            raise insufficient(caller.level, wanted)

    async def _caller(self, scope: Scope) -> Caller:
        token = bearer(scope["headers"])
        if token is None:
            return Caller(self._anonymous)
        keyring: Keyring = scope["app"].state.keyring
        return await keyring.caller(token)


def bearer(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The key that a request bears, as its bytes; None when it bears none.

    Raises
    ------
    HTTPException
        401 for two of them, of which every program would take another.

    Examples
    --------
    >>> bearer([(b"authorization", b"bearer tj_0_0")])
    b'tj_0_0'
    >>> bearer([(b"authorization", b"Basic dTpw")]) is None
    True
    """
    found = []
    for name, value in headers:
        scheme, _, token = value.strip().partition(b" ")
        if name == b"authorization" and scheme.lower() == _SCHEME:
            found.append(token.strip())
    if len(found) > 1:
        message = "there are two keys: send one"
        raise refused(message, error="invalid_request")
    return found[0] if found else None
