"""Files on their way in: so many at a time, and under load fewer."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Scope

from twinjet.service.errors import OverloadedError
from twinjet.service.line import Line

# A body comes at once or its client is slow; who is slow keeps nobody else out.
_COMING_S = 1.0

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

    Of them the same part is let in as of the searches, and one in a second at least:
    else under load a few files would take the processor from all of these.

    Parameters
    ----------
    most_coming
        Bodies that come at the same time, without those that are slow to come.
    searches
        The line of those.
    """

    def __init__(self, most_coming: int, searches: Line) -> None:
        self._most_coming = most_coming
        self._searches = searches
        self._let_in: set[Upload] = set()
        self._credit = 1.0  # for so many
        self._latest = float("-inf")

    @property
    def whole(self) -> int:
        """How many have come whole and are not taken yet."""
        return sum(one.whole for one in self._let_in)

    def let_in(self) -> Upload:
        """Let one in; it is to `leave` when its file is taken, or at its end.

        Raises
        ------
        OverloadedError
            It is not let in.
        """
        now = time.monotonic()
        coming = sum(
            not one.whole and now - one.since_s < _COMING_S for one in self._let_in
        )
        if coming >= self._most_coming:
            detail = f"the bodies of {coming} uploads come; try again in a moment"
            raise OverloadedError(
                detail,
                limit=self._most_coming,
                actual=coming,
                retry_after_s=_RETRY_AFTER_S,
            )
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
