"""Cutouts of many sources at a time, where that is faster than one by one."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar, runtime_checkable

from twinjet.index.errors import CutoutUnavailableError
from twinjet.index.source import Source

A = TypeVar("A")
B = TypeVar("B")

# Sources that are begun before the first of them is asked for, for each thread: a slow
# one holds up those that are behind it no further than this.
_AHEAD = 4


@runtime_checkable
class Prefetching(Protocol):
    """A provider that fetches many cutouts at the same time."""

    def prefetch(
        self, sources: Iterable[Source]
    ) -> Generator[str | CutoutUnavailableError]:
        """Digest of each source's cutout in turn, or why there is none.

        A generator that is closed early, or an error, leaves what was fetched.
        """


def in_order(
    function: Callable[[A], B],
    items: Iterable[A],
    *,
    threads: int,
    ahead: int = _AHEAD,
) -> Generator[B]:
    """Results of a function in the order of the items, a bounded number ahead.

    `ThreadPoolExecutor.map` takes all items at once: a hundred thousand futures, which
    an interrupted run would have to wait for.

    Examples
    --------
    >>> list(in_order(str, range(3), threads=2))
    ['0', '1', '2']
    """
    pool = ThreadPoolExecutor(threads)
    try:
        pending: deque[Future[B]] = deque()
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= ahead * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        # Only those at work are waited for; they have deadlines.
        pool.shutdown(cancel_futures=True)
