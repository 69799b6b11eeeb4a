"""Requests without a file: so many are computed at a time, and few wait long.

More threads than cores make no answer sooner and each later. So the rest waits, or is
refused (503) where it would wait in vain: what is answered is then answered as soon as
ever, and who is refused knows it in a moment.
"""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twinjet.service.content import FORM, media_type
from twinjet.service.errors import OverloadedError, refusal
from twinjet.service.line import Line
from twinjet.service.timings import note
from twinjet.service.uploads import UploadRoute

_log = logging.getLogger(__name__)

# Always answered: what asks whether the service lives, and files.
_EXEMPT = ("/livez", "/readyz", "/metrics", "/static/")

# Waits that are told of, in ms.
_NOTED_MS = 0.1

# Under which a request has the line of those with a body.
_OTHERS = "others"

# Whatever becomes of the searches, one file is let in after so long.
_FILE_EACH_S = 1.0

_READING = ("GET", "HEAD")
_REPORT_EACH_S = 10.0


class Admission:
    """ASGI middleware: a request has a place until its answer begins.

    From then on it costs little, and its client may read as slowly as it likes. A
    request with a body has none before that has come. Searches that change nothing and
    what is sent with a body, such as batches, stand in two lines, so that the long ones
    leave room for the short. What embeds files has the line of `Inference`, and is
    refused before its body is read, which the framework would parse whole; of it the
    same part is let in as of the searches, and one in a second at least: else under
    load a few files would take the processor from all of these. A form counts as a
    file, whatever is in it.

    Parameters
    ----------
    app
        The application inside.
    places
        Of each line.
    wait_s
        Longest wait.
    """

    def __init__(self, app: ASGIApp, *, places: int, wait_s: float) -> None:
        self._app = app
        self.reads = Line(places, wait_s=wait_s)
        self.others = Line(places, wait_s=wait_s)
        self._files = 1.0  # that may be let in yet
        self._latest_file = float("-inf")
        self._refusals = 0
        self._reported = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on when it is its turn, or refuse it."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        if scope["type"] == "http":
            scope.setdefault("state", {})[_OTHERS] = self.others
        if scope["type"] != "http" or _is_exempt(scope):
            await self._app(scope, receive, send)
            return
        if _has_files(scope, headers):
            try:
                scope["app"].state.resources.inference.check_room()
                self._let_in_file()
            except OverloadedError as exc:
                self._count_refusal(scope)
                await self._refuse(exc, scope, receive, send)
                return
            await self._app(scope, receive, send)
            return
        turn = _Turn(self.reads if scope["method"] in _READING else self.others)

        async def received() -> Message:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body"):
                await self._admit(turn, scope)
            return message

        async def begun(message: Message) -> None:
            turn.end()
            await send(message)

        try:
            if _waits_for_body(scope, headers):
                await self._app(scope, received, begun)
                return
            try:
                await self._admit(turn, scope)
            except OverloadedError as exc:
                await self._refuse(exc, scope, receive, send)
                return
            await self._app(scope, receive, begun)
        finally:
            turn.end()

    async def _admit(self, turn: "_Turn", scope: Scope) -> None:
        try:
            began = time.perf_counter()
            await turn.begin()
            waited_ms = 1e3 * (time.perf_counter() - began)
            if waited_ms > _NOTED_MS:
                note(Request(scope), {"queue": waited_ms})
        except OverloadedError:
            self._count_refusal(scope)
            raise

    def _let_in_file(self) -> None:
        """Refuse this one unless it is among the part that is let in.

        Raises
        ------
        OverloadedError
            It is not.
        """
        now = time.monotonic()
        share = self.reads.share
        self._files += share
        if self._files >= 1:
            self._files -= 1
        elif now - self._latest_file < _FILE_EACH_S:
            detail = (
                f"of late the part {share:.3f} of the searches was answered, and of "
                "files no more are taken; try again in a moment"
            )
            raise OverloadedError(
                detail, limit=round(share, 3), actual=1, retry_after_s=_FILE_EACH_S
            )
        self._latest_file = now

    async def _refuse(
        self, exc: OverloadedError, scope: Scope, receive: Receive, send: Send
    ) -> None:
        answer = await refusal(Request(scope), exc)
        await answer(scope, receive, send)

    def _count_refusal(self, scope: Scope) -> None:
        """One line in the log for many refusals."""
        scope["state"]["refused"] = True
        self._refusals += 1
        now = time.monotonic()
        if self._refusals == 1 or now - self._reported > _REPORT_EACH_S:
            _log.warning("overloaded: %d requests refused so far", self._refusals)
            self._reported = now


@asynccontextmanager
async def place(request: Request) -> AsyncIterator[None]:
    """A place among the requests with a body, for a form that turned out to be one.

    Raises
    ------
    OverloadedError
        There is none soon, or was none in time.
    """
    line: Line = request.scope["state"][_OTHERS]
    await line.take()
    try:
        yield
    finally:
        line.leave()


class _Turn:
    """Of one request, which has a place once at most."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._over = self._begun = False

    async def begin(self) -> None:
        """Have a place, unless the answer has begun without one."""
        if not self._over:
            await self._line.take()
            if self._over:
                self._line.leave()
            else:
                self._begun = True

    def end(self) -> None:
        """Give it back, if there is one."""
        if self._begun and not self._over:
            self._line.leave()
        self._over = True


def _is_exempt(scope: Scope) -> bool:
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return path.startswith(_EXEMPT)


def _has_files(scope: Scope, headers: Headers) -> bool:
    uploads = scope["method"] == "POST" and isinstance(scope.get("route"), UploadRoute)
    return uploads and media_type(headers) == FORM


def _waits_for_body(scope: Scope, headers: Headers) -> bool:
    """Whether there is one, and the route takes it: else nobody sees its end."""
    takes = getattr(scope.get("route"), "body_field", None) is not None
    length = headers.get("content-length", "0")
    return takes and (length != "0" or "transfer-encoding" in headers)
