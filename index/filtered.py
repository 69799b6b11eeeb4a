"""Rows of the last filters, as a generation's sources never change."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from twinjet.index.vectors.port import Rows

# Of int64, 32 MB in all for one generation.
_MOST_ROWS = 4_000_000


class FilteredRows:
    """What filters let through, the latest used kept; safe to use from threads.

    Parameters
    ----------
    most_rows
        Rows of all filters together; what has more by itself is not kept.

    Examples
    --------
    >>> import numpy as np
    >>> kept = FilteredRows()
    >>> kept.of("flux > 1", lambda: np.array([2, 5]))
    array([2, 5])
    >>> kept.of("flux > 1", lambda: np.array([]))
    array([2, 5])
    """

    def __init__(self, most_rows: int = _MOST_ROWS) -> None:
        self._most_rows = most_rows
        self._kept: OrderedDict[str, Rows] = OrderedDict()
        self._lock = Lock()

    def of(self, where: str, find: Callable[[], Rows]) -> Rows:
        """Rows of a filter, found only if they are not kept; they cannot be written."""
        with self._lock:
            if where in self._kept:
                self._kept.move_to_end(where)
                return self._kept[where]
        rows = find()
        rows.setflags(write=False)
        if len(rows) > self._most_rows:
            return rows
        with self._lock:
            self._kept[where] = rows
            self._kept.move_to_end(where)
            while self._weight() > self._most_rows:
                self._kept.popitem(last=False)
        return rows

    def _weight(self) -> int:
        # A filter that nothing passes takes room, too.
        return sum(max(len(rows), 1000) for rows in self._kept.values())
