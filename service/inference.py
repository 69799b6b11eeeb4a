"""Uploads on their way to the encoder: so many and no more, and none for ever."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from twinjet.model.decode import read_cutout
from twinjet.model.encoder import Encoder
from twinjet.model.preprocess import Prepared
from twinjet.service.batcher import Batcher
from twinjet.service.errors import OverloadedError

# Told to who is refused while the queue is full, which takes less to be worked off.
_RETRY_AFTER_S = 1.0

_T = TypeVar("_T")


@dataclass(frozen=True)
class Decoded:
    """What is kept of an uploaded cutout, whose pixels may be 64 MiB."""

    prepared: Prepared
    centre: SkyCoord | None
    """Sky position of the centre of the image, ICRS; None without a WCS."""
    has_scale: bool
    """Whether the size of a pixel on the sky is known."""
    notes: tuple[str, ...]
    """Of how the file was read."""
    spent_ms: float
    """For reading, decoding and preparing it."""


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
    one line: for a thread that decodes, then for the encoder. When there is no place
    left, or a deadline passes before the turn comes, the upload is refused; what has
    been begun is finished. Of a call that is cancelled the place is free at once.

    Parameters
    ----------
    encoder
        In force for the life of the service.
    queue
        Places.
    decoders
        Threads that decode.
    deadline_s
        Within which decoding, and then embedding, must have been begun.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        queue: int,
        decoders: int,
        deadline_s: float,
    ) -> None:
        self.encoder = encoder
        self._places = queue
        self._taken = 0
        self._deadline_s = deadline_s
        self._decoders = ThreadPoolExecutor(decoders, thread_name_prefix="decoder")
        self._batcher = Batcher(encoder)

    def close(self) -> None:
        """Wait for the work in hand, take no more."""
        self._decoders.shutdown(cancel_futures=True)
        self._batcher.close()

    @property
    def waiting(self) -> int:
        """Uploads that have a place."""
        return self._taken

    def check_room(self) -> None:
        """Refuse an upload that would find no place.

        Raises
        ------
        OverloadedError
            All places are taken.
        """
        if self._taken >= self._places:
            detail = f"{self._taken} uploads wait already; try again in a moment"
            raise OverloadedError(
                detail,
                limit=self._places,
                actual=self._taken,
                retry_after_s=_RETRY_AFTER_S,
            )

    async def embed(
        self,
        read: Callable[[], bytes],
        *,
        pixel_scale_arcsec: float | None = None,
        hdu: int | None = None,
        invariant: bool | None = None,
    ) -> Embedded:
        """Embed one file.

        Parameters
        ----------
        read
            Gives the bytes; called in a thread when it is this upload's turn, so that
            those that wait need no memory.
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
        self.check_room()
        self._taken += 1
        try:
            return await self._embed(
                lambda: self._decode(read, pixel_scale_arcsec, hdu, invariant),
                invariant=invariant,
            )
        finally:
            self._taken -= 1

    async def _embed(
        self, decode: Callable[[], Decoded], *, invariant: bool | None
    ) -> Embedded:
        started = time.perf_counter()
        decoded = await self._begun_in_time(started, self._decoders.submit(decode))
        embedding = await self._begun_in_time(
            started, self._batcher.embed(decoded.prepared.image, invariant=invariant)
        )
        in_all = 1e3 * (time.perf_counter() - started)
        at_work = decoded.spent_ms + embedding.spent_ms
        timings = {
            "queue": max(0.0, in_all - at_work),
            "decode": decoded.spent_ms,
            "embed": embedding.spent_ms,
        }
        return Embedded(decoded, embedding.vector, timings)

    async def _begun_in_time(self, started: float, work: Future[_T]) -> _T:
        """Result of work that some thread is to do, unless its turn comes too late."""
        result = asyncio.wrap_future(work)
        left = started + self._deadline_s - time.perf_counter()
        try:
            await asyncio.wait([result], timeout=max(0.0, left))
            if not result.done() and work.cancel():
                detail = "the turn of the upload did not come in time; try again later"
                raise OverloadedError(
                    detail,
                    limit=self._deadline_s,
                    actual=round(time.perf_counter() - started, 3),
                    retry_after_s=self._deadline_s,
                )
            return await result
        except asyncio.CancelledError:
            work.cancel()
            result.cancel()
            raise

    def _decode(
        self,
        read: Callable[[], bytes],
        pixel_scale_arcsec: float | None,
        hdu: int | None,
        invariant: bool | None,  # noqa: FBT001
    ) -> Decoded:
        started = time.perf_counter()
        cutout = read_cutout(read(), pixel_scale_arcsec=pixel_scale_arcsec, hdu=hdu)
        prepared = self.encoder.recipe(invariant=invariant)(cutout)
        centre = cutout.centre()
        return Decoded(
            prepared=prepared,
            centre=centre,
            has_scale=cutout.pixel_scale_arcsec is not None,
            notes=cutout.notes,
            spent_ms=1e3 * (time.perf_counter() - started),
        )
