"""Requests without a file: so many are computed at a time, and few wait long.

More threads than cores make no answer sooner and each later. So the rest waits, or is
refused (503) where it would wait in vain: what is answered is then answered as soon as
ever, and who is refused knows it in a moment.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twinjet.service.content import FORM, media_type
from twinjet.service.errors import OverloadedError, overload, refusal
from twinjet.service.files import Files, taken, when_taken
from twinjet.service.inference import Inference
from twinjet.service.line import Line
from twinjet.service.refusals import Refusals
from twinjet.service.timings import note
from twinjet.service.uploads import UploadRoute

# Always answered: what asks whether the service lives, and files.
_EXEMPT = ("/livez", "/readyz", "/metrics", "/static/")

# Bodies of files that come at the same time, for each place: they cost little yet.
_COMING_EACH = 4

# Waits that are told of, in ms.
_NOTED_MS = 0.1

# Under which a request has the line of those with a body.
_OTHERS = "others"

# Under which it has its own turn.
_TURN = "turn"

_READING = ("GET", "HEAD")


class Admission:
    """ASGI middleware: a request has a place until its answer begins.

    From then on it costs little, and its client may read as slowly as it likes. A
    request with a body has none before that has come. Searches that change nothing and
    what is sent with a body, such as batches, stand in two lines, so that the long ones
    leave room for the short. What embeds files is for `Files` to let in, and has the
    line of `Inference`; a form counts as a file, whatever is in it.

    Parameters
    ----------
    app
        The application inside.
    reads, others
        The two lines.
    files
        Places of `Inference`; the bodies of four times as many may come together.
    refusals
        Where those are counted for which there was no room.
    """

    def __init__(
        self, app: ASGIApp, *, reads: Line, others: Line, files: int, refusals: Refusals
    ) -> None:
        self._app = app
        self.reads = reads
        self.others = others
        self._files = Files(_COMING_EACH * files, self.reads)
        self._refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on when it is its turn, or refuse it."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        if scope["type"] == "http":
            scope.setdefault("state", {})[_OTHERS] = self.others
        if scope["type"] != "http" or is_exempt(scope):
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                why = overload(scope)
                if why is not None:
                    self._refusals.count(why)
            await send(message)

        try:
            if _has_files(scope, headers):
                await self._pass_file(scope, receive, counted)
            else:
                late = _waits_for_body(scope, headers)
                await self._pass(scope, receive, counted, late=late)
        except OverloadedError as exc:
            answer = await refusal(Request(scope), exc)
            await answer(scope, receive, counted)

    async def _pass(
        self, scope: Scope, receive: Receive, send: Send, *, late: bool
    ) -> None:
        """With a place, now or when the body has come; may raise `OverloadedError`."""
        turn = _Turn(self.reads if scope["method"] in _READING else self.others)
        scope["state"][_TURN] = turn

        async def received() -> Message:
            message = await receive()
            if late and _is_whole(message):
                await _begin(turn, scope)
            return message

        async def begun(message: Message) -> None:
            turn.end()
            await send(message)

        try:
            if not late:
                await _begin(turn, scope)
            await self._app(scope, received, begun)
        finally:
            turn.end()

    async def _pass_file(self, scope: Scope, receive: Receive, send: Send) -> None:
        """If it is let in; may raise `OverloadedError`."""
        inference: Inference = scope["app"].state.resources.inference
        # Who will find no place would be read and parsed in vain.
        inference.check_room(besides=self._files.whole)
        upload = self._files.let_in()
        when_taken(scope, lambda: self._files.leave(upload))

        async def received() -> Message:
            message = await receive()
            upload.whole = upload.whole or _is_whole(message)
            return message

        async def begun(message: Message) -> None:
            self._files.leave(upload)
            await send(message)

        try:
            await self._app(scope, received, begun)
        finally:
            self._files.leave(upload)


async def _begin(turn: "_Turn", scope: Scope) -> None:
    began = time.perf_counter()
    await turn.begin()
    waited_ms = 1e3 * (time.perf_counter() - began)
    if waited_ms > _NOTED_MS:
        note(Request(scope), {"queue": waited_ms})


def _is_whole(message: Message) -> bool:
    """Whether the body ends with it."""
    return message["type"] == "http.request" and not message.get("more_body")


@asynccontextmanager
async def place(request: Request) -> AsyncIterator[None]:
    """A place among the requests with a body, for a form that turned out to be one.

    Raises
    ------
    OverloadedError
        There is none soon, or was none in time.
    """
    taken(request.scope)
    line: Line = request.scope["state"][_OTHERS]
    await line.take()
    try:
        yield
    finally:
        line.leave()


@asynccontextmanager
async def without_place(request: Request) -> AsyncIterator[None]:
    """Give the place of a request with a body to others, while it waits for a file.

    Raises
    ------
    OverloadedError
        Afterwards there is none soon, or was none in time.
    """
    turn: _Turn = request.scope["state"][_TURN]
    turn.pause()
    yield
    await turn.begin()


class _Turn:
    """Of one request, which has one place at a time."""

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

    def pause(self) -> None:
        """Give it back, to have another later."""
        if self._begun and not self._over:
            self._line.leave()
            self._begun = False

    def end(self) -> None:
        """Give it back, if there is one."""
        if self._begun and not self._over:
            self._line.leave()
        self._over = True


def is_exempt(scope: Scope) -> bool:
    """Whether a request is answered however many there are."""
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
