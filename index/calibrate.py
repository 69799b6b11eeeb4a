"""Makes the calibration of a generation, with it and from its own vectors.

Every source is compared with reference sources: all of them, or `REFERENCES` drawn at
random where there are more, so that the work grows with the number of sources and not
with its square. Sources are compared in blocks, of which each processor holds one.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from threadpoolctl import threadpool_limits

from twinjet.index.calibration import CalibrationInfo, chord_between
from twinjet.index.options import OBJECT_RADIUS_ARCSEC
from twinjet.index.sky import chord_of
from twinjet.index.vectors.port import Rows, Vectors

# Sources that all are compared with: 10^5 sources of 512 dimensions then take 41 s on
# two busy cores (November 2026), and their embedding a quarter of an hour.
REFERENCES = 20_000

# Nearest sources whose mean distance is the isolation.
NEIGHBOURS = 10

# Random pairs for the percentile: the highest it can tell from 100 is 99.9998.
_PAIRS = 500_000

# Part of the random pairs that is left to the tail, where all comparisons are counted.
_TAIL = 0.002

# Of the tail, equally wide in the distance between unit vectors: near a cosine of 1
# they are finer than float32 can tell.
_BINS = 4096

# The tail is no narrower, though nearly all be alike: what float32 can tell from 1.
_LEAST_REACH = 1e-3

# Sources that are compared at a time.
_BLOCK = 512

# References among which one maximum is taken before the largest are looked for.
_GROUP = 16


def background_of(
    vectors: Vectors, positions: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Sorted similarities of random pairs of different objects, float32."""
    count = len(vectors)
    if count < 2:  # noqa: PLR2004 - there is no pair
        return np.empty(0, np.float32)
    rng = np.random.default_rng(0)
    nearest = chord_of(OBJECT_RADIUS_ARCSEC) ** 2
    parts = []
    for _ in range(_PAIRS // 50_000):
        first = rng.integers(count, size=50_000)
        second = (first + rng.integers(1, count, size=50_000)) % count
        gaps = ((positions[first] - positions[second]) ** 2).sum(axis=1)
        first, second = first[gaps > nearest], second[gaps > nearest]
        parts.append(np.einsum("nd,nd->n", vectors[first], vectors[second]))
    return np.sort(np.concatenate(parts)).astype(np.float32)


def calibrate(
    folder: Path,
    vectors: Vectors,
    positions: NDArray[np.float64],
    background: NDArray[np.float32],
) -> dict[str, Any] | None:
    """Make the calibration of vectors and write its files.

    Parameters
    ----------
    folder
        Where to.
    vectors
        Shape (N, D), float32, unit norm; may be memory-mapped.
    positions
        Shape (N, 3), unit vectors.
    background
        Sorted similarities of random pairs.

    Returns
    -------
    dict or None
        Members of `CalibrationInfo`; None where there is nothing to compare.
    """
    if not len(background):
        return None
    reach = chord_between(float(background[int((1 - _TAIL) * len(background))]))
    tail_from = 1 - max(reach, _LEAST_REACH) ** 2 / 2
    references = _references(positions)
    comparison = _Comparison(vectors, positions, references, tail_from)
    isolation = np.lib.format.open_memmap(
        folder / "isolation.npy", "w+", np.float32, (len(vectors),)
    )
    counts, pairs = np.zeros(_BINS, np.int64), 0
    # Each block is one thread's, so that the numbers do not depend on how many there
    # are.
    with (
        threadpool_limits(1, "blas"),
        ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool,
    ):
        for start, block in pool.map(comparison, _starts(len(vectors))):
            isolation[start : start + len(block.isolation)] = block.isolation
            counts += block.counts
            pairs += block.pairs
    isolation.flush()
    np.save(folder / "tail.npy", np.cumsum(counts))
    return asdict(
        CalibrationInfo(
            neighbours=NEIGHBOURS,
            references=len(references),
            sampled=len(vectors) > REFERENCES,
            object_radius_arcsec=OBJECT_RADIUS_ARCSEC,
            pairs=pairs,
            tail_from=tail_from,
        )
    )


@dataclass(frozen=True)
class _Block:
    isolation: NDArray[np.float32]
    counts: NDArray[np.int64]
    pairs: int


class _Comparison:
    """Compares the sources of a block with all references."""

    def __init__(
        self,
        vectors: Vectors,
        positions: NDArray[np.float64],
        references: Rows,
        tail_from: float,
    ) -> None:
        self._vectors, self._positions = vectors, positions
        self._tail_from = tail_from
        self._tree = cKDTree(positions[references])
        # Filled up to whole groups; what fills is never near.
        self._count = len(references)
        filled = -(-max(self._count, _GROUP * NEIGHBOURS) // _GROUP) * _GROUP
        self._references = np.zeros((filled, vectors.shape[1]), np.float32)
        self._references[: self._count] = vectors[references]

    def __call__(self, start: int) -> tuple[int, _Block]:
        """The block that begins at a row, and this row."""
        part = slice(start, start + _BLOCK)
        similarities = self._vectors[part] @ self._references.T
        similarities[:, self._count :] = -np.inf
        same = self._tree.query_ball_point(
            self._positions[part], chord_of(OBJECT_RADIUS_ARCSEC)
        )
        rows = np.repeat(np.arange(len(same)), [len(places) for places in same])
        similarities[rows, np.concatenate(same).astype(np.int64)] = -np.inf
        near = similarities[similarities >= self._tail_from]
        counts, _ = np.histogram(
            np.sqrt(np.maximum(0, 2 * (1 - near.astype(np.float64)))),
            bins=_BINS,
            range=(0, chord_between(self._tail_from)),
        )
        pairs = len(same) * self._count - len(rows)
        return start, _Block(_isolation(similarities), counts, pairs)


def _isolation(similarities: Vectors) -> NDArray[np.float32]:
    """Mean distance to the nearest of (n, m * `_GROUP`), where there are any."""
    count = len(similarities)
    groups = similarities.reshape(count, -1, _GROUP)
    # The k largest of all are in the k groups with the largest maxima.
    best = np.argpartition(groups.max(axis=2), -NEIGHBOURS, axis=1)[:, -NEIGHBOURS:]
    some = np.take_along_axis(groups, best[:, :, None], axis=1).reshape(count, -1)
    largest = np.sort(np.partition(some, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS:], axis=1)
    there = largest > -np.inf
    distances = np.where(there, 1 - largest.astype(np.float64), 0).sum(axis=1)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float32] = (distances / there.sum(axis=1)).astype(np.float32)
    return mean


def _references(positions: NDArray[np.float64]) -> Rows:
    """Rows that all are compared with, ascending, each another object."""
    count = len(positions)
    rows = np.arange(count)
    if count > REFERENCES:
        rng = np.random.default_rng(1)
        rows = np.sort(rng.choice(count, REFERENCES, replace=False))
    tree = cKDTree(positions[rows])
    pairs = tree.query_pairs(chord_of(OBJECT_RADIUS_ARCSEC), output_type="ndarray")
    kept = np.ones(len(rows), dtype=bool)
    for first, second in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]:
        if kept[first]:
            kept[second] = False
    return rows[kept]


def _starts(count: int) -> Iterator[int]:
    yield from range(0, count, _BLOCK)
