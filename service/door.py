"""Searches for which there is no room are refused at the door, before all else.

A refusal by the routes' own way costs a thirtieth of an answer. At several times the
load that can be answered that is a tenth of the processor, taken from who is let in.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from twinjet.service.admission import is_exempt
from twinjet.service.ending import Ending
from twinjet.service.errors import MEDIA_TYPE, document
from twinjet.service.headers import SECURITY_HEADERS
from twinjet.service.line import Line
from twinjet.service.metrics import Metrics
from twinjet.service.refusals import Refusals
from twinjet.service.request_ids import identity


class Door:
    """ASGI middleware: answers a GET with 503 while the line of searches is full.

    The answer is that of `Admission`, which refuses who comes to it later. It is
    counted without a route, and has no line of its own in the log; nor is it counted
    for the caller, who may ask again.

    Parameters
    ----------
    app
        The application inside.
    reads
        The line.
    refusals, metrics
        Where refusals are counted.
    ending
        Whether the service ends: then the connection does, too, which others see to.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        reads: Line,
        refusals: Refusals,
        metrics: Metrics,
        ending: Ending,
    ) -> None:
        self._app = app
        self._reads = reads
        self._refusals = refusals
        self._metrics = metrics
        self._ending = ending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if (
            scope["type"] != "http"
            or scope["method"] != "GET"
            or not self._reads.is_full
            or self._ending.begun
            or is_exempt(scope)
            # A page of another origin must be told that it may read the answer.
            or any(name == b"origin" for name, _ in scope["headers"])
        ):
            await self._app(scope, receive, send)
            return
        exc = self._reads.refused()
        self._refusals.count(exc.detail)
        self._metrics.count_refused_at_door()
        known = identity(scope["headers"])
        body = document(exc, known)
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"retry-after", b"%d" % exc.retry_after_s),
            (b"x-request-id", known.encode()),
            *SECURITY_HEADERS,
        ]
        start = {"type": "http.response.start", "status": exc.status_code}
        await send(start | {"headers": headers})
        await send({"type": "http.response.body", "body": body})
