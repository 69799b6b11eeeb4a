"""What every adapter ranks by: float32 rows, whatever found them.

The similarities of an answer are summed in float64, row by row: they are the same
numbers, to the last bit, in every engine and in blocks of any size.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from twinjet.index.vectors.port import Rows, Vectors

# Rows that are compared together: 67 MB of 515 numbers each.
_BLOCK = 32_768

# Rows that are copied together: what stays in the processor's cache, in memory that is
# used again. Copies of larger blocks take three times as long (2026-11).
_COPIED = 4096

# Products of fewer numbers are summed here, not by BLAS: its threads, and those of
# FAISS, wait for one another for longer than the sum takes (0.4 ms became 5, 2026-11).
_SMALL = 1 << 22

# By which a product of float32 unit vectors may be off, in whatever order its terms
# are summed.
ROUNDING = 2e-6


def blocks_of(vectors: Vectors, rows: Rows | None) -> Iterator[tuple[Rows, Vectors]]:
    """Some rows, or all, with their vectors, as many at a time as memory bears."""
    if rows is None:
        for start in range(0, len(vectors), _BLOCK):
            stop = min(start + _BLOCK, len(vectors))
            yield np.arange(start, stop, dtype=np.int64), vectors[start:stop]
        return
    for start in range(0, len(rows), _COPIED):
        some = rows[start : start + _COPIED]
        yield some, vectors[some]


def best_of(
    query: Vectors, k: int, blocks: Iterable[tuple[Rows, Vectors]]
) -> tuple[Vectors, Rows]:
    """The k rows that are most similar, by their float32 vectors.

    Parameters
    ----------
    query
        Shape (D,), float32, unit norm.
    k
        At most so many.
    blocks
        Rows, ascending within a block, shape (n,), and their vectors, shape (n, D).

    Returns
    -------
    similarities, rows
        As `twinjet.index.vectors.port.VectorIndex.search` gives them.

    Examples
    --------
    >>> vectors = np.eye(3, dtype=np.float32)
    >>> best_of(vectors[1], 2, blocks_of(vectors, None))[1].tolist()
    [1, 0]
    """
    similarities = np.empty(0, np.float32)
    found = np.empty(0, np.int64)
    for rows, vectors in blocks:
        if vectors.size < _SMALL:
            rough = np.einsum("nd,d->n", vectors, query)
        else:
            rough = np.asarray(vectors @ query)
        chosen = _promising(rough, similarities, k)
        similarities = np.append(similarities, settled(vectors[chosen], query))
        found = np.append(found, rows[chosen])
        # Descending, and equal ones in the order of rows.
        order = np.lexsort((found, -similarities))[:k]
        similarities, found = similarities[order], found[order]
    return similarities, found


def settled(vectors: Vectors, query: Vectors) -> Vectors:
    """Cosines of (n, D) to (D,), or to one of its own each, (n, D): as answers show.

    Examples
    --------
    >>> settled(np.eye(2, dtype=np.float32), np.float32([0.6, 0.8])).tolist()
    [0.6000000238418579, 0.800000011920929]
    """
    form = "nd,d->n" if query.ndim == 1 else "nd,nd->n"
    exact = np.einsum(form, vectors.astype(np.float64), query.astype(np.float64))
    return np.asarray(exact, np.float32)


def _promising(rough: Vectors, before: Vectors, k: int) -> Rows:
    """Places of those that may be among the k best, with what earlier blocks gave."""
    least = -np.inf if len(before) < k else float(before[k - 1])
    if k < len(rough):
        least = max(least, float(np.partition(rough, len(rough) - k)[len(rough) - k]))
    return np.flatnonzero(rough >= least - ROUNDING)
