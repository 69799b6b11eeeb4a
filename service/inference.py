"""Uploads on their way to the encoder: so many and no more, and none for ever."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from twinjet.model.encoder import Encoder
from twinjet.model.errors import CutoutError
from twinjet.service.batcher import Batcher
from twinjet.service.decoding.pool import Decoders
from twinjet.service.decoding.replies import Decoded
from twinjet.service.errors import OverloadedError
from twinjet.service.places import Places

# Told to who is refused, at least.
_RETRY_AFTER_S = 1.0

_T = TypeVar("_T")


@dataclass(frozen=True)
class Embedded:
    """An uploaded cutout and its embedding."""

    decoded: Decoded
    vector: NDArray[np.float32]
    """Shape (D,), unit norm."""
    timings_ms: dict[str, float]

    def notes(self) -> list[str]:
        """What was done to the image that its owner may not expect."""
        return [*self.decoded.notes, *self.decoded.prepared.notes]


class Inference:
    """Decode and embed uploads.

    Each has a place from when its body has come until it is embedded, and all wait in
    one line: for a process that decodes, then for the encoder. How soon those before
    had their turns says how many places there are: under a load of other requests,
    which have the processor too, fewer. When there is none left, or a deadline passes
    before the turn comes, the upload is refused; what has been begun is finished. Of a
    call that is cancelled the place is free at once.

    Parameters
    ----------
    encoder
        In force for the life of the service.
    queue
        Places, at most.
    wait_s
        Longest wait for a turn that is reckoned with.
    decoders
        Processes that decode; started and closed here.
    deadline_s
        Within which decoding, and then embedding, must have been begun.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        queue: int,
        wait_s: float,
        decoders: Decoders[Decoded],
        deadline_s: float,
    ) -> None:
        self.encoder = encoder
        self._places = Places(decoders.count, most=queue, wait_s=wait_s)
        self._deadline_s = deadline_s
        self._decoders = decoders
        self._batcher = Batcher(encoder)

    def start(self) -> None:
        """Start the decoders, in the loop that will ask; nobody waits for them."""
        self._decoders.start()

    async def stop(self) -> None:
        """End the decoders."""
        await self._decoders.close()

    def close(self) -> None:
        """Wait for the encoder's work in hand, take no more."""
        self._batcher.close()

    @property
    def waiting(self) -> int:
        """Uploads that have a place."""
        return self._places.taken

    def check_room(self, *, besides: int = 0) -> None:
        """Refuse an upload that would find no place.

        Parameters
        ----------
        besides
            Uploads that have none yet and come before it.

        Raises
        ------
        OverloadedError
            All places are taken, or there is nobody to decode.
        """
        self._check(self.waiting + besides, self._places.room)

    def _check(self, there: int, room: int) -> None:
        self._decoders.check()
        if there >= room:
            detail = f"{there} uploads wait already; try again in a moment"
            soon_s = min(self._places.worked_off_s(there), self._deadline_s)
            raise OverloadedError(
                detail,
                limit=room,
                actual=there,
                retry_after_s=max(_RETRY_AFTER_S, soon_s),
            )

    async def embed(
        self,
        read: Callable[[], Awaitable[bytes]],
        *,
        pixel_scale_arcsec: float | None = None,
        hdu: int | None = None,
        invariant: bool | None = None,
    ) -> Embedded:
        """Embed one file.

        Parameters
        ----------
        read
            Gives the bytes; called when it is this upload's turn, so that those that
            wait need no memory.
        pixel_scale_arcsec, hdu
            As for `read_cutout`.
        invariant
            As for `Encoder.embed`.

        Raises
        ------
        OverloadedError
            There was no place, or the turn did not come before the deadline.
        CutoutError
            The bytes are no usable cutout.
        """
        # Who was let in has sent the body: as long as there is a place, it has one.
        self._check(self.waiting, self._places.most)
        self._places.come(time.monotonic())
        had_its_turn = False
        try:
            started = time.perf_counter()
            decoded = await self._decoded(
                started,
                read,
                recipe=self.encoder.recipe(invariant=invariant).to_dict(),
                pixel_scale_arcsec=pixel_scale_arcsec,
                hdu=hdu,
            )
            image = decoded.prepared.image
            embedding = await self._begun_in_time(
                started, self._batcher.embed(image, invariant=invariant)
            )
            in_all = 1e3 * (time.perf_counter() - started)
            at_work = decoded.spent_ms + embedding.spent_ms
            timings = {
                "queue": max(0.0, in_all - at_work),
                "decode": decoded.spent_ms,
                "embed": embedding.spent_ms,
            }
            had_its_turn = True
            return Embedded(decoded, embedding.vector, timings)
        except CutoutError:
            had_its_turn = True
            raise
        finally:
            self._places.go(time.monotonic(), had_its_turn=had_its_turn)

    async def _decoded(
        self, started: float, read: Callable[[], Awaitable[bytes]], **task: Any
    ) -> Decoded:
        try:
            async with asyncio.timeout(self._left_s(started)):
                decoder = await self._decoders.next_free()
        except TimeoutError:
            raise self._late(started) from None
        return await self._decoders.decode(decoder, read, task)

    async def _begun_in_time(self, started: float, work: Future[_T]) -> _T:
        """Result of work that some thread is to do, unless its turn comes too late."""
        result = asyncio.wrap_future(work)
        try:
            await asyncio.wait([result], timeout=self._left_s(started))
            if not result.done() and work.cancel():
                raise self._late(started)
            return await result
        except asyncio.CancelledError:
            work.cancel()
            result.cancel()
            raise

    def _left_s(self, started: float) -> float:
        return max(0.0, started + self._deadline_s - time.perf_counter())

    def _late(self, started: float) -> OverloadedError:
        detail = "the turn of the upload did not come in time; try again later"
        return OverloadedError(
            detail,
            limit=self._deadline_s,
            actual=round(time.perf_counter() - started, 3),
            retry_after_s=self._deadline_s,
        )
