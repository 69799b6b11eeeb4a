"""Tables that strangers send, on their way to the sources that they name."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from twinjet.index.source_tables import Asked, Entry
from twinjet.service.decoding.pool import Decoders
from twinjet.service.decoding.replies import Named
from twinjet.service.decoding.trades import TABLES
from twinjet.service.errors import OverloadedError

# Those that wait besides the one that is read; most take a tenth of a second.
_MOST_WAITING = 16


class TableReader:
    """Reads one table after another, in a process that starts with the first of them.

    Parameters
    ----------
    deadline_s
        Within which reading must have been begun.
    """

    def __init__(self, *, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._decoders = Decoders(1, TABLES)
        self._has_started = False
        self._waiting = 0

    async def stop(self) -> None:
        """End the process."""
        await self._decoders.close()

    async def batch(
        self, name: str, read: Callable[[], Awaitable[bytes]]
    ) -> list[Asked]:
        """Rows of a table, as of `twinjet.index.source_tables.read_batch`.

        Parameters
        ----------
        name
            Of the file, for the messages.
        read
            Gives the bytes; called when it is this table's turn.

        Raises
        ------
        TwinjetIndexError
            As for that.
        DecodeFailedError
            It takes more than it may.
        OverloadedError
            Its turn did not come in time, or too many wait.
        """
        named = await self._named("batch", name, read)
        return [
            Asked(
                row=row,
                source_id=source_id,
                position=None if ra is None or dec is None else (ra, dec),
                fault=fault,
            )
            for row, source_id, ra, dec, fault in named
        ]

    async def entries(
        self, name: str, read: Callable[[], Awaitable[bytes]]
    ) -> list[Entry]:
        """Entries of a list, as of `twinjet.index.source_tables.read_entries`.

        Parameters and errors are those of `batch`.
        """
        named = await self._named("list", name, read)
        return [Entry(source_id, ra, dec) for _, source_id, ra, dec, _ in named]

    async def _named(
        self, kind: str, name: str, read: Callable[[], Awaitable[bytes]]
    ) -> list[Named]:
        if not self._has_started:
            self._has_started = True
            self._decoders.start()
        self._decoders.check()
        if self._waiting >= _MOST_WAITING:
            detail = f"{self._waiting} tables wait already; try again in a moment"
            raise self._refusal(detail, _MOST_WAITING, self._waiting)
        started = time.perf_counter()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._deadline_s):
                decoder = await self._decoders.next_free()
        except TimeoutError:
            waited_s = round(time.perf_counter() - started, 3)
            detail = "the turn of the table did not come in time; try again later"
            raise self._refusal(detail, self._deadline_s, waited_s) from None
        finally:
            self._waiting -= 1
        return await self._decoders.decode(decoder, read, {"kind": kind, "name": name})

    def _refusal(self, detail: str, limit: float, actual: float) -> OverloadedError:
        after_s = self._deadline_s
        return OverloadedError(
            detail, limit=limit, actual=actual, retry_after_s=after_s
        )
