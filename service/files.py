"""Files on their way in: so many at a time, and under load fewer."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Scope

from twinjet.service.errors import OverloadedError
from twinjet.service.line import Line

# A body comes at once or its client is slow; who is slow keeps nobody else out.
_COMING_S = 1.0

# Bodies that come at the same time, for each place: what they cost is little.
_COMING_EACH = 4

# Whatever becomes of the searches, one file is let in after so long.
_EACH_S = 1.0

_RETRY_AFTER_S = 1.0

# Under which a request has what is to be called when its file is taken.
_TAKEN = "file_taken"


@dataclass(eq=False)
class Upload:
    """A request that was let in and whose file nobody has taken yet."""

    since_s: float
    """When it was let in, of the monotonic clock."""
    whole: bool = False
    """Whether all of its body has come."""


class Files:
    """Which requests with files are let in, before any of their bodies is read.

    Those that find no place later would have been read and parsed in vain. Of them the
    same part is let in as of the searches, and one in a second at least: else under
    load a few files would take the processor from all of these.

    Parameters
    ----------
    places
        Of those whose body has come.
    searches
        The line of those.
    """

    def __init__(self, places: int, searches: Line) -> None:
        self._places = places
        self._searches = searches
        self._let_in: set[Upload] = set()
        self._credit = 1.0  # for so many
        self._latest = float("-inf")

    def let_in(self, waiting: int) -> Upload:
        """Let one in; it is to `leave` when its file is taken, or at its end.

        Parameters
        ----------
        waiting
            How many have a place already.

        Raises
        ------
        OverloadedError
            It is not let in.
        """
        now = time.monotonic()
        whole = waiting + sum(one.whole for one in self._let_in)
        coming = sum(
            not one.whole and now - one.since_s < _COMING_S for one in self._let_in
        )
        _check(whole, self._places)
        _check(coming, _COMING_EACH * self._places)
        self._spend(now)
        one = Upload(now)
        self._let_in.add(one)
        return one

    def leave(self, one: Upload) -> None:
        """Its file is taken, or it has ended; told again, that changes nothing."""
        self._let_in.discard(one)

    def _spend(self, now: float) -> None:
        share = self._searches.share
        self._credit += share
        if self._credit >= 1:
            self._credit -= 1
        elif now - self._latest < _EACH_S:
            detail = (
                f"of late the part {share:.3f} of the searches was answered, and of "
                "files no more are taken; try again in a moment"
            )
            raise OverloadedError(
                detail, limit=round(share, 3), actual=1, retry_after_s=_EACH_S
            )
        self._latest = now


def when_taken(scope: Scope, leave: Callable[[], None]) -> None:
    """What `taken` is to call."""
    scope["state"][_TAKEN] = leave


def taken(scope: Scope) -> None:
    """The file of a request has a place, or has turned out to be none."""
    leave: Callable[[], None] | None = scope["state"].get(_TAKEN)
    if leave is not None:
        leave()


def _check(there: int, room: int) -> None:
    if there >= room:
        detail = f"{there} uploads are under way; try again in a moment"
        raise OverloadedError(
            detail,
            limit=room,
            actual=there,
            retry_after_s=_RETRY_AFTER_S,
        )
