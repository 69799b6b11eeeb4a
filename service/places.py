"""Places of uploads: as many as have their turn soon, and a few at least."""

from twinjet.service.pace import Pace

# So many may wait however long it takes: who comes alone is not refused.
_LEAST = 4


class Places:
    """Who is there, and how many may be.

    Parameters
    ----------
    at_once
        Of them, so many are worked on at a time; the others wait.
    most
        Places at most.
    wait_s
        Longest wait for a turn that is reckoned with.
    """

    def __init__(self, at_once: int, *, most: int, wait_s: float) -> None:
        self._at_once = at_once
        self.most = most
        """However soon they have their turns."""
        self._wait_s = wait_s
        self.taken = 0
        """By those who are there."""
        self._pace = Pace()
        self._line_ended_s = float("-inf")

    @property
    def room(self) -> int:
        """How many may be there, as the latest turns tell."""
        least = min(_LEAST, self.most)
        return self._pace.turns_in(self._wait_s, least=least, most=self.most)

    def worked_off_s(self, number: int) -> float:
        """In which so many have had their turns; 0 where nothing is known."""
        return number * self._pace.mean_s

    def come(self, now_s: float) -> None:
        """One is there."""
        was_line = self._is_line
        self.taken += 1
        if self._is_line and not was_line:
            self._pace.begin(now_s - self._line_ended_s)

    def go(self, now_s: float, *, had_its_turn: bool) -> None:
        """One is there no more; whether it had its turn, or gave up."""
        was_line = self._is_line
        # Where nobody waits, the time to the next one is that until it comes.
        if was_line and had_its_turn:
            self._pace.count(now_s)
        self.taken -= 1
        if was_line and not self._is_line:
            self._line_ended_s = now_s

    @property
    def _is_line(self) -> bool:
        return self.taken > self._at_once
