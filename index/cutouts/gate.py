"""How often and how many at a time one host is asked, by all threads together.

Own code, where `tenacity` serves for the retries: pyrate-limiter 4.5 allows a burst
at the start of each window, keeps a thread of its own for every limiter, and cannot be
told that the host wants to be left alone until a given time.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock

from twinjet.index.cutouts.errors import ArchiveTroubleError

# Failures in a row after which a host is left alone: four sources that were asked
# for five times each.
TROUBLE_LIMIT = 20

# For how long. A build then ends within seconds instead of asking a dead host a
# hundred thousand times.
REST_S = 600.0


class HostGate:
    """Lets requests to one host through, evenly spaced and not too many at once.

    Parameters
    ----------
    host
        Its name, for messages.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._changed = Condition()
        self._active = 0
        self._failures = 0
        # Both on the clock of `time.monotonic`, seconds.
        self._next_turn = 0.0
        self._closed_until = 0.0
        self._why = ""

    @contextmanager
    def turn(
        self, *, interval_s: float, concurrency: int, longest_wait_s: float
    ) -> Iterator[None]:
        """Wait for a turn and hold it.

        Parameters
        ----------
        interval_s
            From the turn before to this one, seconds.
        concurrency
            Turns that may be held at the same time.
        longest_wait_s
            A host that wants to be left alone for longer is not waited for.

        Raises
        ------
        ArchiveTroubleError
            The host is to be left alone for longer than that.
        """
        with self._changed:
            while True:
                now = time.monotonic()
                closed_s = self._closed_until - now
                if closed_s > longest_wait_s:
                    msg = f"{self._why}; it is not asked again for {closed_s:.0f} s"
                    raise ArchiveTroubleError(msg)
                wait_s = max(self._next_turn - now, closed_s)
                if self._active >= concurrency:
                    # Those at work have deadlines, and say when they are done.
                    self._changed.wait()
                elif wait_s > 0:
                    self._changed.wait(wait_s)
                else:
                    break
            self._next_turn = now + interval_s
            self._active += 1
        try:
            yield
        finally:
            with self._changed:
                self._active -= 1
                self._changed.notify_all()

    def close_for(self, seconds: float, why: str) -> None:
        """Leave the host alone for so long, and say why to whoever will not wait."""
        with self._changed:
            until = time.monotonic() + seconds
            if until > self._closed_until:
                self._closed_until, self._why = until, why

    def note(self, *, failed: bool) -> None:
        """Count failures in a row; too many close the gate for a while."""
        with self._changed:
            self._failures = self._failures + 1 if failed else 0
            tired = self._failures >= TROUBLE_LIMIT
            if tired:
                self._failures = 0
        if tired:
            why = f"{self._host} has failed {TROUBLE_LIMIT} times in a row"
            self.close_for(REST_S, why)


# The one state of a module here: a host's patience is that of the host, however many
# providers of this process ask it.
_GATES: dict[str, HostGate] = {}
_GATES_LOCK = Lock()


def gate_of(host: str) -> HostGate:
    """Gate of a host, the same for every caller in this process."""
    with _GATES_LOCK:
        return _GATES.setdefault(host, HostGate(host))
