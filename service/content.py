"""Bodies told apart by their Content-Type, where one path takes several."""

from collections.abc import MutableMapping
from typing import Any

from fastapi import HTTPException, Request
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.routing import Match

JSON = "application/json"
FORM = "multipart/form-data"


class JsonRoute(APIRoute):
    """A route for JSON bodies alone: others go to the next route of the same path."""

    def matches(
        self, scope: MutableMapping[str, Any]
    ) -> tuple[Match, MutableMapping[str, Any]]:
        """Whether the path, the method and the kind of the body are its own."""
        match, inner = super().matches(scope)
        if match == Match.FULL and media_type(Headers(scope=scope)) != JSON:
            return Match.NONE, {}
        return match, inner


def form_only(request: Request) -> None:
    """Refuse a body that is neither a form nor what an earlier route took.

    Raises
    ------
    HTTPException
        415, naming both kinds and the one that came.
    """
    given = media_type(request.headers)
    if given != FORM:
        came = repr(given[:100]) if given else "no Content-Type"
        raise HTTPException(415, f"send {FORM} or {JSON}; {came} came")


def media_type(headers: Headers) -> str:
    """Of a body, without parameters.

    Examples
    --------
    >>> media_type(Headers({"content-type": "Text/CSV; charset=utf-8"}))
    'text/csv'
    """
    return headers.get("content-type", "").partition(";")[0].strip().lower()
