"""The encoder in one long-lived thread, to which images that wait go together.

torch keeps memory for every thread that has run it, so all requests share one.
"""

import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinjet.model.encoder import Encoder


@dataclass(frozen=True)
class Embedding:
    """What the encoder makes of an image."""

    vector: NDArray[np.float32]
    """Shape (D,), unit norm."""
    spent_ms: float
    """In the encoder, with the whole batch."""


@dataclass(frozen=True)
class _Waiting:
    image: NDArray[np.float32]
    invariant: bool | None
    embedding: Future[Embedding]


class Batcher:
    """Embed images of many requests, as many at once as cost no more than one.

    Nobody waits for others to come: what waits when the encoder becomes free goes
    together. Its batches have one shape and are padded, so that a vector is the same
    to the bit whoever else is in the batch.

    Parameters
    ----------
    encoder
        Through which they all go.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._waiting: deque[_Waiting] = deque()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Wait for the work in hand, take no more."""
        self._thread.shutdown()

    def embed(
        self, image: NDArray[np.float32], *, invariant: bool | None = None
    ) -> Future[Embedding]:
        """The embedding of an image (S, S) that `Preprocess` has made, to come.

        Cancelled before its batch begins, it is never computed.
        """
        one = _Waiting(image, invariant, Future())
        with self._lock:
            self._waiting.append(one)
        # One call for each image: those whose image an earlier batch took find less.
        self._thread.submit(self._embed_next)
        return one.embedding

    def _embed_next(self) -> None:
        waiting = self._next()
        batch = [o for o in waiting if o.embedding.set_running_or_notify_cancel()]
        if not batch:
            return
        started = time.perf_counter()
        try:
            images = np.stack([one.image for one in batch])
            vectors = self._encoder.embed_images(images, invariant=batch[0].invariant)
        except BaseException as exc:  # noqa: BLE001 - told to each who waits
            for one in batch:
                one.embedding.set_exception(exc)
            return
        spent_ms = 1e3 * (time.perf_counter() - started)
        for one, vector in zip(batch, vectors, strict=True):
            one.embedding.set_result(Embedding(vector, spent_ms))

    def _next(self) -> list[_Waiting]:
        """The first that waits, and those behind it that fit into its batch."""
        with self._lock:
            if not self._waiting:
                return []
            views = self._waiting[0].invariant
            room = self._encoder.in_one_batch(invariant=views)
            batch = [one for one in self._waiting if one.invariant == views][:room]
            chosen = set(map(id, batch))
            self._waiting = deque(o for o in self._waiting if id(o) not in chosen)
            return batch
