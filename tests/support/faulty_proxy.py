"""What stands between a client and a server, and breaks what the server answers.

Faults begin and end while connections are open. What has befallen a connection stays
with it: nobody comes back in step with a stream that has lost bytes.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

import numpy as np

# Read at a time: a large answer has several of them.
_PIECE_BYTES = 4096

# Who does not take the last piece of an answer is not waited for any longer.
_LAST_PIECE_S = 1.0

_End = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Fault:
    """What befalls connections.

    ``late`` keeps each piece of an answer back. ``reset`` and ``cut`` end a connection
    in the middle of an answer, with a reset, and as if all had been said. ``half-open``
    swallows what is said on both sides. ``garbage`` is instead of the rest of an
    answer.
    """

    kind: Literal["none", "late", "reset", "cut", "half-open", "garbage"]
    within_bytes: int = 1
    """Of a connection's answers so many at most come before it; how many is another
    number for each, the small ones no less likely than the large."""
    delays_s: tuple[float, float] = (0.0, 0.0)
    """Least and longest."""


NO_FAULT = Fault("none")


class FaultyProxy:
    """Passes connections to a port of this machine on; made by `faulty_proxy`."""

    def __init__(self, server_port: int, *, seed: int) -> None:
        self._server_port = server_port
        self._rng = np.random.default_rng(seed)
        self._fault = NO_FAULT
        self._lines: set[_Line] = set()
        self._meetings: set[asyncio.Task[None]] = set()
        self._struck = 0
        self._port = 0
        self._over = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="faulty proxy")

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    @property
    def struck(self) -> int:
        """How many connections a fault has befallen."""
        return self._struck

    def start(self) -> None:
        """Listen, in a thread."""
        self._thread.start()
        self._listening.wait()

    def stop(self) -> None:
        """End all connections."""
        self._call(self._over.set)
        self._thread.join()

    def switch(self, fault: Fault) -> None:
        """Have it befall every connection, those that are open and new ones."""

        def begin() -> None:
            self._fault = fault
            for line in self._lines:
                line.expect(fault)

        self._call(begin)

    def befall_open(self, fault: Fault) -> None:
        """Have it befall connections that are open, and no new ones."""

        def begin() -> None:
            for line in self._lines:
                line.expect(fault)

        self._call(begin)

    def hang_up(self) -> None:
        """End every connection that is open."""

        def end() -> None:
            for meeting in self._meetings:
                meeting.cancel()

        self._call(end)

    def _call(self, what: Callable[[], None]) -> None:
        """In the thread, and wait until it is done."""
        assert self._loop is not None
        done = threading.Event()

        def call() -> None:
            what()
            done.set()

        self._loop.call_soon_threadsafe(call)
        done.wait()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        async with server:
            self._port = server.sockets[0].getsockname()[1]
            self._listening.set()
            await self._over.wait()
            server.close()
            for meeting in self._meetings:
                meeting.cancel()
            await asyncio.gather(*self._meetings, return_exceptions=True)

    async def _meet(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        meeting = asyncio.current_task()
        assert meeting is not None
        self._meetings.add(meeting)
        writers = [writer]
        try:
            server = await asyncio.open_connection("127.0.0.1", self._server_port)
            writers.append(server[1])
            line = _Line((reader, writer), server, self._rng, self._count)
            line.expect(self._fault)
            self._lines.add(line)
            try:
                await line.carry()
            finally:
                self._lines.discard(line)
        except (OSError, asyncio.CancelledError):
            pass  # the server is away, or this is over
        finally:
            for one in writers:
                await _close(one)
            self._meetings.discard(meeting)

    def _count(self) -> None:
        self._struck += 1


class _Line:
    """One connection from end to end, and what befalls it."""

    def __init__(
        self,
        client: _End,
        server: _End,
        rng: np.random.Generator,
        struck: Callable[[], None],
    ) -> None:
        self._asking, self._client = client
        self._answering, self._server = server
        self._rng = rng
        self._tell_struck = struck
        self._fault = NO_FAULT
        self._before = 0
        self._struck = False

    def expect(self, fault: Fault) -> None:
        """Have a fault befall it, unless it is broken already."""
        if not self._struck or self._fault.kind == "late":
            self._fault, self._struck = fault, False
            self._before = int(fault.within_bytes ** self._rng.uniform())

    async def carry(self) -> None:
        """Until one of both has no more to say."""
        ways = [
            asyncio.create_task(self._carry_questions()),
            asyncio.create_task(self._carry_answers()),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _carry_questions(self) -> None:
        while piece := await self._asking.read(_PIECE_BYTES):
            if self._fault.kind == "half-open":
                self._strike()
            else:
                self._server.write(piece)
                await self._server.drain()

    async def _carry_answers(self) -> None:
        while piece := await self._answering.read(_PIECE_BYTES):
            if self._fault.kind == "late":
                self._strike()
                await asyncio.sleep(self._rng.uniform(*self._fault.delays_s))
            # Looked at now: it may be another one after the delay.
            if self._fault.kind == "half-open":
                self._strike()
                continue
            if await self._say(piece):
                return
        if self._fault.kind == "half-open":
            # Nobody hears of the end, either.
            await asyncio.Event().wait()

    async def _say(self, piece: bytes) -> bool:
        """Whether that was the last that the client hears."""
        kind = self._fault.kind
        rest = b""
        if kind in {"reset", "cut", "garbage"}:
            piece, rest = piece[: self._before], piece[self._before :]
            self._before -= len(piece)
        if rest:
            self._strike()
        if rest and kind == "garbage":
            piece += self._rng.bytes(len(rest))
        self._client.write(piece)
        await self._client.drain()
        if rest and kind == "reset":
            # No more than this makes a close a reset.
            self._client.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        return bool(rest) and kind != "garbage"

    def _strike(self) -> None:
        if not self._struck:
            self._struck = True
            self._tell_struck()


async def _close(writer: asyncio.StreamWriter) -> None:
    """With what was written to it, unless nobody takes that."""
    writer.close()
    with suppress(OSError, TimeoutError):
        await asyncio.wait_for(writer.wait_closed(), _LAST_PIECE_S)
    writer.transport.abort()


@contextmanager
def faulty_proxy(server_port: int, *, seed: int = 0) -> Iterator[FaultyProxy]:
    """A proxy of a port of this machine, without a fault, for as long as this is open.

    Parameters
    ----------
    server_port
        Where the server listens.
    seed
        Of what is drawn.
    """
    proxy = FaultyProxy(server_port, seed=seed)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
