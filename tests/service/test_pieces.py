"""Downloads are made a piece at a time, and nobody who reads slowly is waited for."""

import asyncio
import threading
import time
from collections.abc import Generator

import pytest

from twinjet.service.pieces import one_by_one


class Making:
    """How many pieces are made at a time."""

    def __init__(self) -> None:
        self.now = self.most = self.closed = 0
        self._lock = threading.Lock()

    def pieces(self, count: int) -> Generator[int]:
        try:
            for number in range(count):
                with self._lock:
                    self.now += 1
                    self.most = max(self.most, self.now)
                time.sleep(0.01)
                with self._lock:
                    self.now -= 1
                yield number
        finally:
            self.closed += 1


@pytest.mark.parametrize("at_a_time", [1, 2])
def test_many_are_each_whole_and_wait_for_one_another(at_a_time: int) -> None:
    making = Making()

    async def main() -> list[list[int]]:
        turn = asyncio.Semaphore(at_a_time)

        async def read() -> list[int]:
            return [piece async for piece in one_by_one(turn, making.pieces(5))]

        return await asyncio.gather(*(read() for _ in range(6)))

    assert asyncio.run(main()) == [[0, 1, 2, 3, 4]] * 6
    assert (making.most, making.closed) == (at_a_time, 6)


def test_a_reader_that_rests_or_goes_away_keeps_nobody() -> None:
    making = Making()

    async def main() -> list[int]:
        turn = asyncio.Semaphore(1)
        resting = one_by_one(turn, making.pieces(5))
        assert await anext(resting) == 0
        other = [piece async for piece in one_by_one(turn, making.pieces(3))]
        await resting.aclose()
        return other

    assert asyncio.run(main()) == [0, 1, 2]
    assert making.closed == 2


def test_a_fault_is_told_and_the_next_has_its_turn() -> None:
    def faulty() -> Generator[int]:
        yield 1
        msg = "the disk is gone"
        raise OSError(msg)

    async def main() -> list[int]:
        turn = asyncio.Semaphore(1)
        with pytest.raises(OSError, match="the disk is gone"):
            async for _ in one_by_one(turn, faulty()):
                pass
        return [piece async for piece in one_by_one(turn, Making().pieces(1))]

    assert asyncio.run(main()) == [0]
