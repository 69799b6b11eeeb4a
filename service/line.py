"""Places that some have, and a line of those who wait for one."""

import asyncio
import time

from twinjet.service.errors import OverloadedError
from twinjet.service.pace import Pace

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

# How much the latest who came counts in the share of those who were let in, and how
# long that share stands for the next ones, from when somebody was refused.
_LATEST_COMER = 0.02
_SHARE_S = 1.0

_RETRY_AFTER_S = 1.0


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
        self._pace = Pace()
        self._share = 1.0
        self._last_refusal = float("-inf")

    @property
    def share(self) -> float:
        """Of those who came lately, the part that was let in: 0 to 1."""
        if time.monotonic() - self._last_refusal > _SHARE_S:
            return 1.0
        return self._share

    @property
    def taken(self) -> int:
        """Places that are taken."""
        return self._taken

    @property
    def waiting(self) -> int:
        """Who wait for one."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether who comes now would have no turn in time."""
        return bool(self._waiting) and len(self._waiting) >= self._room()

    def refused(self) -> OverloadedError:
        """For one who comes while it is full."""
        self._count_comer(let_in=False)
        return self._refused()

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
                self._was_empty = now
                self._pace.begin(empty_s)
            if self._taken < self._places:
                self._taken += 1
                self._count_comer(let_in=True)
                return
        if self.is_full:
            raise self.refused()
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
        self._count_comer(let_in=given)
        if not given:
            raise self._refused()

    def leave(self) -> None:
        """Give a place back, to whom it is the turn of."""
        while self._waiting:
            turn = next(iter(self._waiting))
            self._strike(turn)
            if not turn.done():  # cancelled, and its task does not know it yet
                turn.set_result(True)
                self._pace.count(time.monotonic())
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
        return self._pace.turns_in(wait_s, least=least, most=most)

    def _count_comer(self, *, let_in: bool) -> None:
        self._share = self.share + _LATEST_COMER * (let_in - self.share)
        if not let_in:
            self._last_refusal = time.monotonic()

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
