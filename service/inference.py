"""The encoder in one long-lived thread.

torch keeps memory for every thread that has run it, so all requests share one.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinjet.model.cutout import Cutout
from twinjet.model.decode import read_cutout
from twinjet.model.encoder import Encoder
from twinjet.model.preprocess import Prepared


@dataclass(frozen=True)
class Embedded:
    """An uploaded cutout and its embedding."""

    cutout: Cutout
    prepared: Prepared
    vector: NDArray[np.float32]
    """Shape (D,), unit norm."""
    timings_ms: dict[str, float]

    def notes(self) -> list[str]:
        """What was done to the image that its owner may not expect."""
        return [*self.cutout.notes, *self.prepared.notes]


class Inference:
    """Decode and embed uploads.

    Parameters
    ----------
    encoder
        In force for the life of the service.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")

    def close(self) -> None:
        """Wait for the work in hand, take no more."""
        self._thread.shutdown()

    async def embed(
        self,
        data: bytes,
        *,
        pixel_scale_arcsec: float | None = None,
        hdu: int | None = None,
        invariant: bool | None = None,
    ) -> Embedded:
        """Embed the bytes of one file.

        Raises
        ------
        CutoutError
            The bytes are no usable cutout.
        """
        started = time.perf_counter()
        cutout, prepared = await asyncio.to_thread(
            self._prepare, data, pixel_scale_arcsec, hdu, invariant
        )
        decoded = time.perf_counter()
        loop = asyncio.get_running_loop()
        vector = await loop.run_in_executor(
            self._thread, self._embed, prepared, invariant
        )
        done = time.perf_counter()
        timings = {"decode": 1e3 * (decoded - started), "embed": 1e3 * (done - decoded)}
        return Embedded(cutout, prepared, vector, timings)

    def _prepare(  # a thread passes by position
        self,
        data: bytes,
        pixel_scale_arcsec: float | None,
        hdu: int | None,
        invariant: bool | None,  # noqa: FBT001
    ) -> tuple[Cutout, Prepared]:
        cutout = read_cutout(data, pixel_scale_arcsec=pixel_scale_arcsec, hdu=hdu)
        return cutout, self.encoder.recipe(invariant=invariant)(cutout)

    def _embed(  # an executor passes by position
        self,
        prepared: Prepared,
        invariant: bool | None,  # noqa: FBT001
    ) -> NDArray[np.float32]:
        image = prepared.image[None]
        vector: NDArray[np.float32] = self.encoder.embed_images(
            image, invariant=invariant
        )[0]
        return vector
