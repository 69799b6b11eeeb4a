"""One decoder, as the service sees it: a process at the other end of a socket."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from twinjet.service.decoding.replies import (
    READY,
    REPLY,
    Decoded,
    Failed,
    Refused,
    UnbelievableReplyError,
    checked,
)
from twinjet.service.decoding.sandbox import CPU_S, ROOM_BYTES
from twinjet.service.decoding.wire import LENGTHS, MAX_HEAD_BYTES, packed
from twinjet.service.errors import DecodeFailedError

PROGRAM = (sys.executable, "-P", "-m", "twinjet.service.decoding.child")

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
}

# A second, unless the machine is very busy.
_START_S = 60.0

# Of a process that has closed its socket, until it has an exit status.
_DEATH_S = 1.0

# What is handed to the loop at a time, which goes on meanwhile.
_PIECE_BYTES = 256 * 1024


# 512 px; recipes have some 80.
_MAX_IMAGE_BYTES = 4 * 512**2

_TOO_MUCH_MEMORY = f"it takes more than {ROOM_BYTES >> 20} MiB of memory"


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


class Decoder:
    """A process that decodes one file at a time; made by `start`."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        reader: _Reader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self.asked = False
        """Whether it ever was given a file."""
        self.filtered = False
        """Whether its system calls are filtered."""

    @classmethod
    async def start(cls, program: Sequence[str]) -> Self:
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
                    program,
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
        decoder = cls(
            process, reader, asyncio.StreamWriter(transport, protocol, reader, loop)
        )
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

    async def decode(
        self, task: Mapping[str, Any], data: bytes, *, wall_s: float
    ) -> Decoded:
        """What a file holds.

        Parameters
        ----------
        task
            As for `twinjet.service.decoding.child.decoded`.
        data
            The file.
        wall_s
            Longest time for it.

        Raises
        ------
        CutoutError
            The file is no usable cutout.
        DecodeFailedError
            The decoder is not to be asked again.
        """
        self.asked = True
        started = time.perf_counter()
        try:
            async with asyncio.timeout(wall_s):
                await self._send(task, data)
                head, image = await self._receive()
            reply = checked(REPLY, head)
            if isinstance(reply, Refused):
                raise reply.as_error()
            if isinstance(reply, Failed):
                raise _failure(reply)
            spent_ms = 1e3 * (time.perf_counter() - started)
            side = task["recipe"]["size_px"]
            return reply.decoded(image, side=side, spent_ms=spent_ms)
        except TimeoutError:
            detail = f"it takes more than {wall_s:g} s"
            cause = f"no answer in {wall_s:g} s"
            raise DecodeFailedError(detail, cause=cause, limit=wall_s) from None
        except UnbelievableReplyError as exc:
            detail, cause = "the decoder failed on it", f"a reply of no sense: {exc}"
            raise DecodeFailedError(detail, cause=cause) from None
        except (EOFError, OSError):
            raise _death(await self.end(_DEATH_S)) from None

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
        if head_bytes > MAX_HEAD_BYTES or size > _MAX_IMAGE_BYTES:
            msg = f"a message of {head_bytes} and {size} bytes"
            raise UnbelievableReplyError(msg)
        head = await self._reader.readexactly(head_bytes)
        return head, await self._reader.readexactly(size)


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return kept | _OWN


def _failure(reply: Failed) -> DecodeFailedError:
    cause = f"{reply.cause}, {reply.at}"
    if reply.cause == MemoryError.__name__:
        return DecodeFailedError(_TOO_MUCH_MEMORY, cause=cause, limit=ROOM_BYTES)
    return DecodeFailedError("the decoder failed on it", cause=cause)


def _death(status: int) -> DecodeFailedError:
    """Of a decoder that ended with a status while it had a file."""
    if status == -signal.SIGXCPU:
        detail = f"it takes more than {CPU_S} s of processor time"
        return DecodeFailedError(detail, cause="its time is up", limit=CPU_S)
    ended = signal.Signals(-status).name if status < 0 else f"status {status}"
    detail = "the decoder ended on it"
    return DecodeFailedError(detail, cause=f"it ended by {ended}")
