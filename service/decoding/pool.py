"""Some decoders: started before they are needed, replaced when they end."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic

from twinjet.service.decoding.decoder import Decoder, StartError
from twinjet.service.decoding.trades import T, Trade
from twinjet.service.errors import DecodeFailedError, OverloadedError
from twinjet.service.request_ids import current

_log = logging.getLogger(__name__)

# One that cannot be started is tried again, and ever later.
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0


class Decoders(Generic[T]):
    """A number of decoders, each given one file at a time.

    Parameters
    ----------
    count
        How many.
    trade
        What they are for.
    """

    def __init__(self, count: int, trade: Trade[T]) -> None:
        self.count = count
        """How many."""
        self._trade = trade
        self._free: asyncio.Queue[Decoder[T]] = asyncio.Queue()
        self._living = 0
        self._keepers: list[asyncio.Task[None]] = []
        self._at_work: set[asyncio.Task[T]] = set()
        # When the next one is tried, of those that could not be started.
        self._retry_at: float | None = None
        self._told_unfiltered = False

    def start(self) -> None:
        """Start them, in the loop that will ask them; nobody waits for them."""
        self._keepers = [asyncio.create_task(self._keep()) for _ in range(self.count)]

    async def close(self) -> None:
        """End them, whatever they are at."""
        tasks = [*self._keepers, *self._at_work]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def check(self) -> None:
        """Refuse a file while no decoder can be started.

        Raises
        ------
        OverloadedError
            The machine has no process or no memory for one; it is tried again.
        """
        if self._living or self._retry_at is None:
            return
        detail = "no decoder of uploads can be started; try again later"
        raise OverloadedError(
            detail,
            limit=self.count,
            actual=0,
            retry_after_s=max(1.0, self._retry_at - time.monotonic()),
        )

    async def next_free(self) -> Decoder[T]:
        """Wait for a decoder that has nothing to do; it is then to be given a file."""
        while (decoder := await self._free.get()).has_ended:
            pass  # its keeper starts another
        return decoder

    async def decode(
        self,
        decoder: Decoder[T],
        read: Callable[[], Awaitable[bytes]],
        task: Mapping[str, Any],
    ) -> T:
        """Have a free decoder read a file.

        It is finished within its limits when this is cancelled.

        Parameters
        ----------
        decoder
            Of `next_free`.
        read
            Gives the bytes.
        task
            As for `Decoder.decode`.

        Raises
        ------
        CutoutError, TwinjetIndexError
            The file is no usable one.
        DecodeFailedError
            It took more than it may, or the decoder came to grief on it.
        """
        try:
            data = await read()
        except BaseException:
            self._free.put_nowait(decoder)
            raise
        work = asyncio.create_task(self._decode(decoder, data, task))
        self._at_work.add(work)
        work.add_done_callback(self._done)
        return await asyncio.shield(work)

    async def _decode(
        self, decoder: Decoder[T], data: bytes, task: Mapping[str, Any]
    ) -> T:
        try:
            return await decoder.decode(task, data)
        except DecodeFailedError as exc:
            # By now it may be of a mind of its own.
            decoder.kill()
            _log.warning("request %s: a decoder is replaced: %s", current(), exc.cause)
            raise
        finally:
            if not decoder.has_ended:
                self._free.put_nowait(decoder)

    def _done(self, work: asyncio.Task[T]) -> None:
        self._at_work.discard(work)
        if not work.cancelled():
            work.exception()  # which nobody else asks for when the client has gone

    async def _keep(self) -> None:
        """Have one decoder, whatever happens to it."""
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                was_of_use = await self._keep_one()
            except (OSError, StartError) as exc:
                _log.warning("a decoder of uploads cannot be started: %s", exc)
                was_of_use = False
            if was_of_use:
                wait_s = _FIRST_WAIT_S
                continue
            self._retry_at = time.monotonic() + wait_s
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    async def _keep_one(self) -> bool:
        """From its start to its end; whether it ever was given a file."""
        decoder = await Decoder.start(self._trade)
        if not (decoder.filtered or self._told_unfiltered):
            self._told_unfiltered = True
            _log.warning("this machine cannot filter the system calls of decoders")
        self._retry_at = None
        self._living += 1
        try:
            self._free.put_nowait(decoder)
            await decoder.ended()
        finally:
            self._living -= 1
            await decoder.end()
        return decoder.asked
