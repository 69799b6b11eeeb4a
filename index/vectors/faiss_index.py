"""FAISS in process over memory-mapped rows.

Small generations are compared row by row. Large ones are scanned in RaBitQ's one
bit per dimension (Gao & Long 2024, arXiv:2405.12497) and the best are compared
again with their float32 rows, so similarities are always exact.
"""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from twinjet.index.vectors.port import Rows, Vectors

# Below this a full comparison is as quick as any index (20,000 x 256 float32 are
# 20 MB, about 1 ms), and it is exact.
SCAN_FROM = 20_000

# Candidates to compare exactly: so many for each wanted neighbour, and no fewer
# than the second number. One bit of 256 dimensions is coarse: 30 and 300 left
# recall@10 at 0.94 on isotropic vectors, 10^5 of them, in November 2026.
_CANDIDATES_PER_NEIGHBOUR = 50
_LEAST_CANDIDATES = 1000

# Fewer matching rows than either: gather them and compare exactly.
_GATHER_ROWS = 20_000
_GATHER_FRACTION = 0.02


def index_kind(count: int) -> str:  # noqa: ARG001 - so far one for all
    """FAISS factory string for so many rows: another one, another index."""
    return "IVF1,RaBitQfs"


def build_index(vectors: Vectors, path: Path) -> None:
    """Build the FAISS index for vectors (N, D) and write it.

    Rows are numbered from 0.
    """
    count, dimension = vectors.shape
    kind = index_kind(count)
    index: Any = faiss.index_factory(dimension, kind, faiss.METRIC_INNER_PRODUCT)
    # One list has one centroid: a sample is as good as all, and one source is
    # enough.
    inverted: Any = faiss.downcast_index(index)
    inverted.cp.min_points_per_centroid = 1
    index.train(np.ascontiguousarray(vectors[:16_384]))
    # In parts, so that memory does not grow with the generation.
    for start in range(0, count, 65_536):
        index.add(np.ascontiguousarray(vectors[start : start + 65_536]))
    faiss.write_index(index, str(path))


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
        self._scan_from = scan_from

    @property
    def kind(self) -> str:
        """FAISS factory string."""
        return index_kind(len(self))

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
        exact = exact or self.is_exact(among)
        if among is not None:
            if exact or wanted >= len(among):
                return self._best(query, k, among)
        elif exact or wanted >= len(self):
            return _top(np.asarray(self._vectors @ query), None, k)
        return self._best(query, k, self._scan(query, wanted, among))

    def is_exact(self, among: Rows | None) -> bool:
        """Whether a search among these rows compares every one of them."""
        count = len(self)
        if count < self._scan_from:
            return True
        few = max(_GATHER_ROWS, _GATHER_FRACTION * count)
        return among is not None and len(among) <= few

    def _best(self, query: Vectors, k: int, rows: Rows) -> tuple[Vectors, Rows]:
        """The best of some rows, by their float32 vectors."""
        return _top(self.vectors(rows) @ query, rows, k)

    def _scan(self, query: Vectors, wanted: int, among: Rows | None) -> Rows:
        """Candidates by their one-bit codes, ascending."""
        parameters: Any = None
        if among is not None:
            bits = np.zeros(len(self), dtype=bool)
            bits[among] = True
            packed = np.packbits(bits, bitorder="little")
            selector = faiss.IDSelectorBitmap(len(self), faiss.swig_ptr(packed))
            # The stubs of 2026 know no selector.
            make: Any = faiss.SearchParametersIVF
            parameters = make(sel=selector, nprobe=1)
            # FAISS keeps pointers only: these must outlive the search.
            parameters.keep_alive = (selector, packed)
        _, found = self._index.search(query[None], wanted, params=parameters)
        rows: NDArray[np.int64] = found[0]
        return np.sort(rows[rows >= 0])


def _top(similarities: Vectors, rows: Rows | None, k: int) -> tuple[Vectors, Rows]:
    """The k largest, descending; ties in ascending order of row."""
    count = len(similarities)
    if k < count:
        # All that tie with the k-th, so that the cut does not choose among them.
        least = np.partition(similarities, count - k)[count - k]
        chosen = np.flatnonzero(similarities >= least)
    else:
        chosen = np.arange(count)
    order = np.argsort(-similarities[chosen], kind="stable")[:k]
    chosen = chosen[order].astype(np.int64, copy=False)
    return similarities[chosen], chosen if rows is None else rows[chosen]
