"""What every adapter ranks by: float32 rows, whatever found them.

The similarities of an answer are summed in float64, row by row: they are the same
numbers, to the last bit, in every engine and in blocks of any size.
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from twinjet.index.vectors.port import Rows, Vectors

# Below this a full comparison is as quick as any index (20,000 x 256 float32 are
# 20 MB, about 1 ms), and it is exact.
SCAN_FROM = 20_000

# Fewer matching rows than either: gather them and compare exactly. The graphs and
# lists of every engine lose neighbours there: FAISS's HNSW found 7 % of them among
# a thousandth of the rows (2026-11).
_GATHER_ROWS = 20_000
_GATHER_FRACTION = 0.02

# Rows that are compared together: 67 MB of 515 numbers each.
_BLOCK = 32_768

# FAISS warns below it, which Milvus uses too.
_LEAST_IN_LIST = 39

# By which a product of float32 unit vectors may be off, in whatever order its terms
# are summed.
_ROUNDING = 2e-6


def is_few(matching: int, count: int) -> bool:
    """Whether so many of all rows are compared rather than searched.

    Examples
    --------
    >>> is_few(20_000, 10**6), is_few(20_001, 10**6), is_few(20_001, 2 * 10**6)
    (True, False, True)
    """
    return matching <= max(_GATHER_ROWS, _GATHER_FRACTION * count)


def lists_for(count: int) -> int:
    """How many lists so many rows are kept in, where a search looks at the nearest.

    Examples
    --------
    >>> lists_for(40), lists_for(10**5), lists_for(2 * 10**6), lists_for(10**8)
    (1, 1024, 4096, 32768)
    """
    # A power of two near four times the root, which balances lists and what is in
    # them; and no fewer rows in a list than its centre can be learned from.
    balanced = 1 << int(math.log2(4 * math.sqrt(max(1, count))))
    return max(1, min(balanced, count // _LEAST_IN_LIST))


def blocks_of(vectors: Vectors, rows: Rows | None) -> Iterator[tuple[Rows, Vectors]]:
    """Some rows, or all, with their vectors, as many at a time as memory bears."""
    count = len(vectors) if rows is None else len(rows)
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        if rows is None:
            yield np.arange(start, stop, dtype=np.int64), vectors[start:stop]
        else:
            yield rows[start:stop], vectors[rows[start:stop]]


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
    exact = query.astype(np.float64)
    similarities = np.empty(0, np.float32)
    found = np.empty(0, np.int64)
    for rows, vectors in blocks:
        rough = np.asarray(vectors @ query)
        chosen = _promising(rough, similarities, k)
        settled = np.einsum("nd,d->n", vectors[chosen].astype(np.float64), exact)
        similarities = np.append(similarities, settled.astype(np.float32))
        found = np.append(found, rows[chosen])
        # Descending, and equal ones in the order of rows.
        order = np.lexsort((found, -similarities))[:k]
        similarities, found = similarities[order], found[order]
    return similarities, found


def _promising(rough: Vectors, before: Vectors, k: int) -> Rows:
    """Places of those that may be among the k best, with what earlier blocks gave."""
    least = -np.inf if len(before) < k else float(before[k - 1])
    if k < len(rough):
        least = max(least, float(np.partition(rough, len(rough) - k)[len(rough) - k]))
    return np.flatnonzero(rough >= least - _ROUNDING)
