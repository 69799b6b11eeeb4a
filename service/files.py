"""Files on their way in: so many at a time, and under load fewer."""

import time
from dataclasses import dataclass

from twinjet.service.errors import OverloadedError
from twinjet.service.line import Line

# A body comes at once or its client is slow; who is slow keeps nobody else out.
_COMING_S = 1.0

# Whatever becomes of the searches, one file is let in after so long.
_EACH_S = 1.0

_RETRY_AFTER_S = 1.0


@dataclass(eq=False)
class File:
    """A request that was let in."""

    since: float
    whole: bool = False
    """Whether all of it has come."""


class Files:
    """Which requests with files are let in, before any of their bodies is read.

    Those that find no place later would have been read and parsed in vain. Of them the
    same part is let in as of the searches, and one in a second at least: else under
    load a few files would take the processor from all of these.

    Parameters
    ----------
    places
        Files that may be under way; of those whose body is slow to come, none counts.
    searches
        The line of those.
    """

    def __init__(self, places: int, searches: Line) -> None:
        self._places = places
        self._searches = searches
        self._under_way: set[File] = set()
        self._credit = 1.0  # for so many
        self._latest = float("-inf")

    def let_in(self) -> File:
        """Let one in; it is to `leave` when its answer begins.

        Raises
        ------
        OverloadedError
            It is not let in.
        """
        now = time.monotonic()
        crowd = sum(f.whole or now - f.since < _COMING_S for f in self._under_way)
        if crowd >= self._places:
            detail = f"{crowd} uploads wait already; try again in a moment"
            raise OverloadedError(
                detail,
                limit=self._places,
                actual=crowd,
                retry_after_s=_RETRY_AFTER_S,
            )
        self._spend(now)
        one = File(now)
        self._under_way.add(one)
        return one

    def leave(self, one: File) -> None:
        """It is under way no more; told again, that changes nothing."""
        self._under_way.discard(one)

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
