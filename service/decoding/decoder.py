"""One decoder, as the service sees it: a process at the other end of a socket."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Generic, Self

from twinjet.service.decoding.replies import (
    READY,
    REPLY,
    Failed,
    Refused,
    UnbelievableReplyError,
    checked,
)
from twinjet.service.decoding.sandbox import Allowance
from twinjet.service.decoding.trades import T, Trade
from twinjet.service.decoding.wire import LENGTHS, MAX_HEAD_BYTES, packed
from twinjet.service.errors import DecodeFailedError

# Where Python and its libraries are and how they speak; nothing of the settings.
_KEPT = (
    *("PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_ALL", "LC_CTYPE"),
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME"),
)

# One thread: others would stand in the way of the encoder's, and of the filter. And
# what was large is given back when it is freed, or the next file had less room.
_OWN = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "1048576",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}

# A second, unless the machine is very busy.
_START_S = 60.0

# Of a process that has closed its socket, until it has an exit status.
_DEATH_S = 1.0

# What is handed to the loop at a time, which goes on meanwhile.
_PIECE_BYTES = 256 * 1024

# Of an answer, that is made sense of at once; more, while others are answered.
_SMALL_BYTES = 2**20


class StartError(Exception):
    """A decoder did not come to life."""


class _Reader(asyncio.StreamReader):
    """Tells of the end of the other side also when nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = asyncio.Event()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.ended.set()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self.ended.set()


class Decoder(Generic[T]):
    """A process that decodes one file at a time; made by `start`."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        reader: _Reader,
        writer: asyncio.StreamWriter,
        trade: Trade[T],
    ) -> None:
        self._trade = trade
        self._process = process
        self._reader = reader
        self._writer = writer
        self.asked = False
        """Whether it ever was given a file."""
        self.filtered = False
        """Whether its system calls are filtered."""

    @classmethod
    async def start(cls, trade: Trade[T]) -> Self:
        """Start one, and wait until it can be asked.

        Raises
        ------
        OSError
            The machine has no process, no file or no memory for it.
        StartError
            It ended, or did not become ready.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                # A new process, never a fork: torch and FAISS hang in one. From the
                # loop's thread, for it is killed when the thread that made it ends.
                process = subprocess.Popen(  # noqa: ASYNC220, S603 - our own program
                    trade.program,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=_environment(),
                    # An interrupt from the terminal is ours. A session of its own would
                    # be a group of its own to the scheduler, whose autogroups on a
                    # busy core let one that has work wait for seconds.
                    process_group=0,
                )
            except BaseException:
                ours.close()
                raise
        reader = _Reader()
        protocol = asyncio.StreamReaderProtocol(reader)
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_unix_connection(
                lambda: protocol, sock=ours
            )
        except BaseException:
            ours.close()
            process.kill()
            process.wait()
            raise
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        decoder = cls(process, reader, writer, trade)
        try:
            await decoder._become_ready()
        except BaseException:
            await decoder.end()
            raise
        return decoder

    @property
    def has_ended(self) -> bool:
        """Whether there is nobody to ask any more."""
        return self._reader.ended.is_set()

    async def ended(self) -> None:
        """Wait until there is nobody to ask any more."""
        await self._reader.ended.wait()

    def kill(self) -> None:
        """End it, whatever it is at."""
        self._process.kill()
        self._writer.close()
        self._reader.ended.set()

    async def end(self, within_s: float = 0.0) -> int:
        """End it, unless it ends by itself in some time; its exit status.

        It is ended when this is cancelled, too.
        """
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.shield(loop.run_in_executor(None, self._end, within_s))
        finally:
            self._writer.close()
            self._reader.ended.set()

    def _end(self, within_s: float) -> int:
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(within_s)
        self._process.kill()
        return self._process.wait()

    async def decode(self, task: Mapping[str, Any], data: bytes) -> T:
        """What a file holds.

        Parameters
        ----------
        task
            As for `twinjet.service.decoding.images.decoded`, or
            `twinjet.service.decoding.tables.named`.
        data
            The file.

        Raises
        ------
        CutoutError, TwinjetIndexError
            The file is no usable one.
        DecodeFailedError
            The decoder is not to be asked again.
        """
        self.asked = True
        started = time.perf_counter()
        allowance = self._trade.allowance
        try:
            async with asyncio.timeout(allowance.wall_s):
                await self._send(task, data)
                head, found = await self._receive()
            reply = checked(REPLY, head)
            if isinstance(reply, Refused):
                raise reply.as_error()
            if isinstance(reply, Failed):
                raise _failure(reply, allowance)
            spent_ms = 1e3 * (time.perf_counter() - started)
            made = partial(self._trade.believed, task, reply, found, spent_ms)
            return await _now_or_beside(made, len(found))
        except TimeoutError:
            detail = f"it takes more than {allowance.wall_s:g} s"
            cause = f"no answer in {allowance.wall_s:g} s"
            raise DecodeFailedError(
                detail, cause=cause, limit=allowance.wall_s
            ) from None
        except UnbelievableReplyError as exc:
            detail, cause = "the decoder failed on it", f"a reply of no sense: {exc}"
            raise DecodeFailedError(detail, cause=cause) from None
        except (EOFError, OSError):
            raise _death(await self.end(_DEATH_S), allowance) from None

    async def _become_ready(self) -> None:
        try:
            async with asyncio.timeout(_START_S):
                head, _ = await self._receive()
            self.filtered = checked(READY, head).filtered
        except TimeoutError:
            msg = f"not ready in {_START_S:g} s"
            raise StartError(msg) from None
        except UnbelievableReplyError as exc:
            msg = f"a greeting of no sense: {exc}"
            raise StartError(msg) from None
        except (EOFError, OSError):
            msg = f"it ended with status {await self.end(_DEATH_S)}"
            raise StartError(msg) from None

    async def _send(self, task: Mapping[str, Any], data: bytes) -> None:
        self._writer.write(packed(dict(task), len(data)))
        for start in range(0, len(data), _PIECE_BYTES):
            self._writer.write(data[start : start + _PIECE_BYTES])
            await self._writer.drain()

    async def _receive(self) -> tuple[bytes, bytes]:
        """Head and bytes of a message."""
        lengths = await self._reader.readexactly(LENGTHS.size)
        head_bytes, size = LENGTHS.unpack(lengths)
        if head_bytes > MAX_HEAD_BYTES or size > self._trade.allowance.reply_bytes:
            msg = f"a message of {head_bytes} and {size} bytes"
            raise UnbelievableReplyError(msg)
        head = await self._reader.readexactly(head_bytes)
        return head, await self._reader.readexactly(size)


async def _now_or_beside(work: Callable[[], T], size: int) -> T:
    return work() if size <= _SMALL_BYTES else await asyncio.to_thread(work)


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return kept | _OWN


def _failure(reply: Failed, allowance: Allowance) -> DecodeFailedError:
    cause = f"{reply.cause}, {reply.at}"
    if reply.cause == MemoryError.__name__:
        room = allowance.room_bytes
        detail = f"it takes more than {room >> 20} MiB of memory"
        return DecodeFailedError(detail, cause=cause, limit=room)
    return DecodeFailedError("the decoder failed on it", cause=cause)


def _death(status: int, allowance: Allowance) -> DecodeFailedError:
    """Of a decoder that ended with a status while it had a file."""
    if status == -signal.SIGXCPU:
        limit = allowance.cpu_s
        detail = f"it takes more than {limit} s of processor time"
        return DecodeFailedError(detail, cause="its time is up", limit=limit)
    ended = signal.Signals(-status).name if status < 0 else f"status {status}"
    detail = "the decoder ended on it"
    return DecodeFailedError(detail, cause=f"it ended by {ended}")
