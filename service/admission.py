"""Requests without a file: so many are computed at a time, and few wait long.

More threads than cores make no answer sooner and each later. So the rest waits, and
where the line never empties it is refused at once (503): what is answered is then
answered as soon as ever, and who is refused knows it in a moment.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twinjet.service.content import FORM, media_type
from twinjet.service.errors import OverloadedError, refusal
from twinjet.service.timings import note
from twinjet.service.uploads import UploadRoute

_log = logging.getLogger(__name__)

# Always answered: what asks whether the service lives, and files.
_EXEMPT = ("/livez", "/readyz", "/metrics", "/static/")

# A burst may wait as long as the setting says. In a line that has not been empty for
# so long it would be every request's wait, and none would have a turn the sooner for it
# (Maurer 2015, "Fail at Scale", ACM Queue 13): that one is kept so short.
_STANDING_WAIT_S = 0.05

# Where nobody waits for so long the line is empty; for less, it was kept short.
_GAP_S = 0.02

# Connections that a browser has to one server: a page by itself is never refused.
_OF_A_BROWSER = 6

# Whatever is computed: who comes when so many wait for each place is refused.
_WAITING_EACH = 16

# Times the longest wait that is reckoned with: then the reckoning was wrong.
_PATIENCE = 4.0

# After so long without anybody waiting, what was computed then says nothing.
_FORGOTTEN_S = 5.0

# How much the latest turn counts in the mean time between two.
_LATEST = 0.1

# Waits that are told of, in ms.
_NOTED_MS = 0.1

# Under which a request has the line of those with a body.
_OTHERS = "others"

_READING = ("GET", "HEAD")
_RETRY_AFTER_S = 1.0
_REPORT_EACH_S = 10.0


class Line:
    """Places, and those who wait for one.

    Turns are given in order. How soon is known from the latest ones, so that nobody
    waits who would be refused at the end of it.

    Parameters
    ----------
    places
        How many there are.
    wait_s
        Longest wait for one that is reckoned with, in a line that has been empty as
        recently; some more where the reckoning was wrong.
    """

    def __init__(self, places: int, *, wait_s: float) -> None:
        self._places = places
        self._wait_s = wait_s
        self._taken = 0
        # The oldest first; each is told whether it has a place.
        self._waiting: dict[asyncio.Future[bool], None] = {}
        self._was_empty = self._left_empty = float("-inf")
        self._latest_turn: float | None = None
        self._between_turns_s = 0.0

    @property
    def taken(self) -> int:
        """Places that are taken."""
        return self._taken

    @property
    def waiting(self) -> int:
        """Who wait for one."""
        return len(self._waiting)

    async def take(self) -> None:
        """Have a place, now or soon.

        Raises
        ------
        OverloadedError
            There is none soon, or was none in time.
        """
        if not self._waiting:
            now = time.monotonic()
            empty_s = now - self._left_empty
            if empty_s > _GAP_S:
                self._was_empty, self._latest_turn = now, None
            if empty_s > _FORGOTTEN_S:
                self._between_turns_s = 0.0
            if self._taken < self._places:
                self._taken += 1
                return
        if len(self._waiting) >= self._room():
            raise self._refused()
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        self._waiting[turn] = None
        late = loop.call_later(_PATIENCE * self._wait_s, self._give_up, turn)
        try:
            given = await turn
        except asyncio.CancelledError:
            self._strike(turn)
            if turn.done() and not turn.cancelled() and turn.result():
                self.leave()
            raise
        finally:
            late.cancel()
        if not given:
            raise self._refused()

    def leave(self) -> None:
        """Give a place back, to whom it is the turn of."""
        while self._waiting:
            turn = next(iter(self._waiting))
            self._strike(turn)
            if not turn.done():  # cancelled, and its task does not know it yet
                turn.set_result(True)
                self._count_turn()
                break
        else:
            self._taken -= 1

    def _room(self) -> int:
        """How many may wait: those who will have a turn soon, and a few at least."""
        standing = time.monotonic() - self._was_empty > self._wait_s
        wait_s = min(_STANDING_WAIT_S, self._wait_s) if standing else self._wait_s
        # Who loads a page keeps the line from emptying, and is alone all the same.
        alone = max(1, _OF_A_BROWSER - self._places)
        least = alone if standing else _OF_A_BROWSER
        most = _WAITING_EACH * self._places
        if wait_s >= most * self._between_turns_s:
            return most
        return max(least, int(wait_s / self._between_turns_s))

    def _count_turn(self) -> None:
        now = time.monotonic()
        if self._latest_turn is not None:
            between_s = now - self._latest_turn
            weight = _LATEST if self._between_turns_s else 1.0
            self._between_turns_s += weight * (between_s - self._between_turns_s)
        self._latest_turn = now

    def _give_up(self, turn: asyncio.Future[bool]) -> None:
        if not turn.done():
            self._strike(turn)
            turn.set_result(False)

    def _strike(self, turn: "asyncio.Future[bool]") -> None:
        """Off the list of those who wait, if it is on it."""
        was_there = turn in self._waiting
        self._waiting.pop(turn, None)
        if was_there and not self._waiting:
            self._left_empty = time.monotonic()

    def _refused(self) -> OverloadedError:
        detail = (
            f"{self._places} requests are computed and {len(self._waiting)} wait; "
            "try again in a moment"
        )
        return OverloadedError(
            detail,
            limit=self._places,
            actual=self._taken + len(self._waiting),
            retry_after_s=_RETRY_AFTER_S,
        )


class Admission:
    """ASGI middleware: a request has a place until its answer begins.

    From then on it costs little, and its client may read as slowly as it likes. A
    request with a body has none before that has come. Searches that change nothing and
    what is sent with a body, such as batches, stand in two lines, so that the long ones
    leave room for the short. What embeds files has the line of `Inference`.

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
        self._refusals = 0
        self._reported = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on when it is its turn, or refuse it."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        if scope["type"] == "http":
            scope.setdefault("state", {})[_OTHERS] = self.others
        if scope["type"] != "http" or _is_exempt(scope, headers):
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
                answer = await refusal(Request(scope), exc)
                await answer(scope, receive, send)
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
            scope["state"]["refused"] = True
            self._count_refusal()
            raise

    def _count_refusal(self) -> None:
        """One line in the log for many refusals."""
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


def _is_exempt(scope: Scope, headers: Headers) -> bool:
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    if path.startswith(_EXEMPT):
        return True
    uploads = scope["method"] == "POST" and isinstance(scope.get("route"), UploadRoute)
    return uploads and media_type(headers) == FORM


def _waits_for_body(scope: Scope, headers: Headers) -> bool:
    """Whether there is one, and the route takes it: else nobody sees its end."""
    takes = getattr(scope.get("route"), "body_field", None) is not None
    length = headers.get("content-length", "0")
    return takes and (length != "0" or "transfer-encoding" in headers)
