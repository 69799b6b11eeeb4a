"""Who waits for a place has one soon, in order, or is refused at once."""

import asyncio

import pytest

from twinjet.service import line as lines
from twinjet.service.errors import OverloadedError
from twinjet.service.line import Line

_LONG_S = 60.0


def test_a_turn_that_falls_to_one_who_has_just_gone_is_the_next_ones() -> None:
    async def main() -> tuple[int, int]:
        line = Line(1, wait_s=_LONG_S)
        await line.take()
        gone, other = (asyncio.create_task(line.take()) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        line.leave()  # before the other task knows
        with pytest.raises(asyncio.CancelledError):
            await gone
        await other
        held = line.taken
        line.leave()
        return held, line.taken

    assert asyncio.run(main()) == (1, 0)


def test_turns_are_given_in_order() -> None:
    async def main() -> list[int]:
        line = Line(1, wait_s=_LONG_S)
        await line.take()
        served: list[int] = []

        async def one(number: int) -> None:
            await line.take()
            served.append(number)
            line.leave()

        waiting = [asyncio.create_task(one(number)) for number in range(5)]
        await asyncio.sleep(0)
        assert line.waiting == 5
        line.leave()
        await asyncio.gather(*waiting)
        assert (line.taken, line.waiting) == (0, 0)
        return served

    assert asyncio.run(main()) == [0, 1, 2, 3, 4]


class Clock:
    """What `Line` looks at, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


async def filled(line: Line) -> list[asyncio.Task[None]]:
    """As many as may wait, besides those that do."""
    waiting: list[asyncio.Task[None]] = []
    while True:
        task = asyncio.create_task(line.take())
        await asyncio.sleep(0)
        if task.done():
            assert isinstance(task.exception(), OverloadedError)
            return waiting
        waiting.append(task)


async def turns(line: Line, clock: Clock, *, each_s: float, number: int) -> None:
    """So many, at equal distances; whoever had one is followed by another."""
    for _ in range(number):
        clock.now += each_s
        follower = asyncio.create_task(line.take())
        await asyncio.sleep(0)
        line.leave()
        await asyncio.sleep(0)
        assert not follower.done()


@pytest.mark.parametrize("places", [1, 3])
def test_nobody_waits_who_would_have_no_turn_in_time(
    monkeypatch: pytest.MonkeyPatch, places: int
) -> None:
    monkeypatch.setattr(lines, "time", clock := Clock())

    async def main() -> tuple[int, int]:
        line = Line(places, wait_s=_LONG_S)
        for _ in range(places):
            await line.take()
        tasks = await filled(line)
        unknown = len(tasks)
        for one in tasks[1:]:
            one.cancel()
        await asyncio.gather(*tasks[1:], return_exceptions=True)
        # Ten seconds between two turns: six of them in the minute that one may wait.
        await turns(line, clock, each_s=10, number=5)
        await filled(line)
        return unknown, line.waiting

    assert asyncio.run(main()) == (16 * places, 6)


@pytest.mark.parametrize(("idle_s", "room"), [(2, 6), (3600, 16)])
def test_a_line_that_has_been_empty_has_room_again_and_forgets(
    monkeypatch: pytest.MonkeyPatch, idle_s: float, room: int
) -> None:
    monkeypatch.setattr(lines, "time", clock := Clock())
    monkeypatch.setattr(lines, "_OF_A_BROWSER", 1)

    async def main() -> int:
        line = Line(1, wait_s=_LONG_S)
        await line.take()
        first = asyncio.create_task(line.take())
        await asyncio.sleep(0)
        await turns(line, clock, each_s=10, number=6)
        clock.now += 10
        # More than one would wait for longer than is of use to anybody.
        assert (line.waiting, await filled(line)) == (1, [])
        line.leave()
        assert first.done()
        assert line.waiting == 0
        # What there was no turn in does not count as time between two.
        clock.now += idle_s
        return len(await filled(line))

    assert asyncio.run(main()) == room


def test_a_line_that_is_kept_short_stays_so_though_it_empties_for_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lines, "time", clock := Clock())
    monkeypatch.setattr(lines, "_OF_A_BROWSER", 1)

    async def main() -> list[int]:
        line = Line(1, wait_s=60)
        await line.take()
        waiting = asyncio.create_task(line.take())
        await asyncio.sleep(0)
        await turns(line, clock, each_s=10, number=6)
        clock.now += 10
        room = []
        for pause_s in (0.01, 0.01, 1.0):
            line.leave()
            await asyncio.sleep(0)
            assert line.waiting == 0
            clock.now += pause_s
            room.append(len(await filled(line)))
            for _ in range(room[-1] - 1):
                line.leave()
                await asyncio.sleep(0)
        await waiting
        return room

    *short, after_a_second = asyncio.run(main())
    assert short == [1, 1]
    assert after_a_second >= 6


@pytest.mark.parametrize("places", [1, 2, 8])
def test_six_connections_are_never_refused_however_long_they_ask(
    monkeypatch: pytest.MonkeyPatch, places: int
) -> None:
    monkeypatch.setattr(lines, "time", clock := Clock())

    async def main() -> None:
        line = Line(places, wait_s=0.25)

        async def ask(number: int) -> None:
            for _ in range(20):
                await line.take()
                clock.now += 0.1 + number / 1000
                await asyncio.sleep(0)
                line.leave()

        await asyncio.gather(*map(ask, range(6)))
        assert (line.taken, line.waiting) == (0, 0)

    asyncio.run(main())


def test_requests_that_never_wait_make_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "time", clock := Clock())

    async def main() -> int:
        line = Line(1, wait_s=1)
        for _ in range(1000):
            await line.take()
            clock.now += 0.004
            line.leave()
            clock.now += 0.004
        await line.take()
        return len(await filled(line))

    assert asyncio.run(main()) == 16


def test_a_line_has_an_end() -> None:
    async def main() -> None:
        line = Line(1, wait_s=_LONG_S)
        await line.take()
        waiting = []
        while True:
            task = asyncio.create_task(line.take())
            await asyncio.sleep(0)
            if task.done():
                break
            waiting.append(task)
        with pytest.raises(OverloadedError) as refused:
            task.result()
        assert refused.value.actual == 1 + len(waiting) == 1 + line.waiting
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        line.leave()
        assert (line.taken, line.waiting) == (0, 0)

    asyncio.run(main())


def test_a_place_given_to_one_who_is_cancelled_goes_to_the_next() -> None:
    async def main() -> None:
        line = Line(1, wait_s=_LONG_S)
        await line.take()
        gone, next_one = (asyncio.create_task(line.take()) for _ in range(2))
        await asyncio.sleep(0)
        line.leave()  # to the first, which is cancelled before it knows
        gone.cancel()
        await next_one
        assert gone.cancelled()
        line.leave()
        assert (line.taken, line.waiting) == (0, 0)

    asyncio.run(main())


def test_the_share_of_those_let_in_is_that_of_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(lines, "time", clock)

    async def come(line: Line, *, let_in: bool) -> None:
        if let_in:
            await line.take()
            line.leave()
        else:
            with pytest.raises(OverloadedError):
                await line.take()

    async def main() -> None:
        open_, full = Line(1, wait_s=0.1), Line(1, wait_s=0.1)
        for _ in range(500):
            await come(open_, let_in=True)
        assert open_.share == 1
        await full.take()
        room = [asyncio.create_task(full.take()) for _ in range(16)]
        await asyncio.sleep(0)
        before = full.share
        for _ in range(50):
            await come(full, let_in=False)
        assert full.share < before / 2
        for _ in range(450):
            await come(full, let_in=False)
        assert 0 <= full.share < 0.01
        clock.now += 1.1  # nobody has been refused since
        assert full.share == 1
        for _ in room:
            full.leave()
        await asyncio.gather(*room)
        full.leave()
        for _ in range(100):
            await full.take()
            others = [asyncio.create_task(full.take()) for _ in range(16)]
            await asyncio.sleep(0)
            await come(full, let_in=False)
            for _ in others:
                full.leave()
            await asyncio.gather(*others)
            full.leave()
        # Of each 18 who came 17 were let in.
        assert full.share == pytest.approx(17 / 18, abs=0.03)

    asyncio.run(main())
