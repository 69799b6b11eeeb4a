"""FAISS in process over memory-mapped rows.

Small generations are compared row by row. Large ones are scanned in RaBitQ's one
bit per dimension (Gao & Long 2024, arXiv:2405.12497), those above some million only
in the lists that are nearest to the query, and the best are compared again with
their float32 rows, so similarities are always exact.
"""

from pathlib import Path
from typing import Any

import faiss
import numpy as np

from twinjet.index.vectors.port import Rows, Vectors
from twinjet.index.vectors.ranking import (
    SCAN_FROM,
    best_of,
    blocks_of,
    is_few,
    lists_for,
)

# Candidates to compare exactly: so many for each wanted neighbour, and no fewer
# than the second number. One bit of 256 dimensions is coarse: 30 and 300 left
# recall@10 at 0.94 on isotropic vectors, 10^5 of them, in November 2026.
_CANDIDATES_PER_NEIGHBOUR = 50
_LEAST_CANDIDATES = 1000

LISTS_FROM = 2_000_000
"""Rows from which only some lists of them are scanned: all codes of a million took
7 to 17 ms, 128 lists of 4,096 took 3 (November 2026)."""

# Of the lists, those that are scanned; but for a filter, when it leaves too few.
_PROBES = 128

# Rows that a list's centre is learned from: enough by FAISS's own measure, 39.
_SAMPLE_PER_LIST = 64


def build_index(vectors: Vectors, path: Path, *, lists_from: int = LISTS_FROM) -> None:
    """Build the FAISS index for vectors (N, D) and write it.

    Rows are numbered from 0.
    """
    count, dimension = vectors.shape
    lists = 1 if count < lists_from else lists_for(count)
    index: Any = faiss.index_factory(
        dimension, _kind(lists), faiss.METRIC_INNER_PRODUCT
    )
    # One list has one centre: a sample is as good as all, and one source is enough.
    inverted: Any = faiss.downcast_index(index)
    inverted.cp.min_points_per_centroid = 1
    index.train(_sample(vectors, 16_384 if lists == 1 else _SAMPLE_PER_LIST * lists))
    # In parts, so that memory does not grow with the generation.
    for start in range(0, count, 65_536):
        index.add(np.ascontiguousarray(vectors[start : start + 65_536]))
    faiss.write_index(index, str(path))


def _kind(lists: int) -> str:
    """FAISS factory string."""
    return f"IVF{lists},RaBitQfs"


def _sample(vectors: Vectors, most: int) -> Vectors:
    """Rows from all over the sky: they are in the order of its cells."""
    rows = np.unique(np.linspace(0, len(vectors) - 1, most).astype(np.int64))
    return np.ascontiguousarray(vectors[rows])


class FaissIndex:
    """An index file with the float32 rows that it was built from.

    Parameters
    ----------
    path
        What `build_index` wrote. It must have been checked against its checksum:
        FAISS does not notice damage.
    vectors
        Shape (N, D), float32, unit norm; memory-mapped.
    scan_from
        Number of rows from which the codes are scanned first.
    """

    def __init__(
        self, path: Path, vectors: Vectors, *, scan_from: int = SCAN_FROM
    ) -> None:
        self._vectors = vectors
        self._index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        inverted: Any = faiss.downcast_index(self._index)
        self._lists: int = inverted.nlist
        self._scan_from = scan_from

    @property
    def kind(self) -> str:
        """FAISS factory string."""
        return _kind(self._lists)

    def __len__(self) -> int:
        """How many vectors there are."""
        return len(self._vectors)

    def vectors(self, rows: Rows) -> Vectors:
        """Vectors of rows: (n,) int64 to (n, D) float32."""
        return np.asarray(self._vectors[rows], dtype=np.float32)

    def search(
        self, query: Vectors, k: int, *, among: Rows | None = None, exact: bool = False
    ) -> tuple[Vectors, Rows]:
        """The most similar rows; see `twinjet.index.vectors.port.VectorIndex`."""
        wanted = max(k * _CANDIDATES_PER_NEIGHBOUR, _LEAST_CANDIDATES)
        available = len(self) if among is None else len(among)
        rows = among
        if not (exact or self.is_exact(among) or wanted >= available):
            rows = self._scan(query, wanted, among, _PROBES)
            if len(rows) < wanted:
                rows = self._scan(query, wanted, among, self._lists)
        return best_of(query, k, blocks_of(self._vectors, rows))

    def is_exact(self, among: Rows | None) -> bool:
        """Whether a search among these rows compares every one of them."""
        count = len(self)
        few = among is not None and is_few(len(among), count)
        return few or count < self._scan_from

    def _scan(
        self, query: Vectors, wanted: int, among: Rows | None, probes: int
    ) -> Rows:
        """Candidates by their one-bit codes, ascending."""
        # The stubs of 2026 know neither this nor a selector.
        make: Any = faiss.SearchParametersIVF
        parameters = make(nprobe=min(probes, self._lists))
        if among is not None:
            bits = np.zeros(len(self), dtype=bool)
            bits[among] = True
            packed = np.packbits(bits, bitorder="little")
            selector = faiss.IDSelectorBitmap(len(self), faiss.swig_ptr(packed))
            parameters.sel = selector
            # FAISS keeps pointers only: these must outlive the search.
            parameters.keep_alive = (selector, packed)
        _, found = self._index.search(query[None], wanted, params=parameters)
        rows: Rows = found[0]
        return np.sort(rows[rows >= 0])
