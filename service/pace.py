"""How soon one follows another of those who wait in a line.

Who has a line says when it begins, and tells of each turn while there is one.
"""

# How much the latest counts in the mean time between two.
_LATEST = 0.1

# After so long without a line, what was seen of the last one says nothing.
_FORGOTTEN_S = 5.0


class Pace:
    """Mean time between two that have had their turn, of late.

    Times without a line are no part of it: then they come when somebody asks.
    """

    def __init__(self) -> None:
        self._mean_s = 0.0
        self._latest_s: float | None = None

    def begin(self, empty_s: float) -> None:
        """A line begins, after there was none for so long."""
        self._latest_s = None
        if empty_s > _FORGOTTEN_S:
            self._mean_s = 0.0

    def count(self, now_s: float) -> None:
        """One has its turn."""
        if self._latest_s is not None:
            weight = _LATEST if self._mean_s else 1.0
            self._mean_s += weight * (now_s - self._latest_s - self._mean_s)
        self._latest_s = now_s

    @property
    def mean_s(self) -> float:
        """Between two turns; 0 where nothing is known."""
        return self._mean_s

    def turns_in(self, seconds: float, *, least: int, most: int) -> int:
        """How many have their turn in so long a time; ``most`` where none is known."""
        if seconds >= most * self._mean_s:
            return most
        return max(least, int(seconds / self._mean_s))
