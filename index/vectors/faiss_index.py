"""FAISS in process over memory-mapped rows.

Small generations are compared row by row. Large ones are kept in lists of RaBitQ's one
bit per dimension (Gao & Long 2024, arXiv:2405.12497); the codes of the lists that are
nearest to the query are scanned, and the best are compared again with their float32
rows, so similarities are always exact. How many lists are looked into is measured when
the index is built, and kept in its file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from faiss.contrib.exhaustive_search import knn_ground_truth

from twinjet.index.vectors.policy import SCAN_FROM, is_few, lists_for, probes_for
from twinjet.index.vectors.port import Rows, Vectors
from twinjet.index.vectors.ranking import best_of, blocks_of

# Candidates to compare exactly: so many for each wanted neighbour, and no fewer
# than the second number. One bit of 256 dimensions is coarse: 30 and 300 left
# recall@10 at 0.94 on isotropic vectors, 10^5 of them, in November 2026.
_CANDIDATES_PER_NEIGHBOUR = 20
_LEAST_CANDIDATES = 1000

# Rows that a list's centre is learned from, by FAISS's own measure 39 at least, and
# how often it is moved. Of 10^5 embeddings, 10 and 25 times found the same.
_SAMPLE_PER_LIST = 64
_ITERATIONS = 10

# Lists are looked into until so much of so many nearest of some rows is in them.
_RECALL = {10: 0.999, 100: 0.99}
_MEASURED = 200
_LEAST_PROBES = 16


def index_kind(count: int) -> str:
    """FAISS factory string for so many rows: another one, another index."""
    return _kind(_lists_of(count))


def _lists_of(count: int) -> int:
    return 1 if count < SCAN_FROM else lists_for(count)


def build_index(vectors: Vectors, path: Path, *, lists: int | None = None) -> None:
    """Build the FAISS index for vectors (N, D) and write it.

    Rows are numbered from 0.

    Parameters
    ----------
    vectors
        Shape (N, D), float32, unit norm; may be memory-mapped.
    path
        Of the file.
    lists
        Other than `twinjet.index.vectors.policy.lists_for` gives, which is for as many
        rows as are not all compared.
    """
    count, dimension = vectors.shape
    if lists is None:
        lists = _lists_of(count)
    index: Any = faiss.index_factory(
        dimension, _kind(lists), faiss.METRIC_INNER_PRODUCT
    )
    # One list has one centre: a sample is as good as all, and one source is enough.
    inverted: Any = faiss.downcast_index(index)
    inverted.cp.min_points_per_centroid = 1
    inverted.cp.niter = _ITERATIONS
    index.train(_sample(vectors, 16_384 if lists == 1 else _SAMPLE_PER_LIST * lists))
    # In parts, so that memory does not grow with the generation.
    for _, block in blocks_of(vectors, None):
        index.add(np.ascontiguousarray(block))
    inverted.nprobe = _probes(index, lists, vectors)
    faiss.write_index(index, str(path))


def _kind(lists: int) -> str:
    """FAISS factory string."""
    return f"IVF{lists},RaBitQfs"


def _sample(vectors: Vectors, most: int) -> Vectors:
    """Rows from all over the sky: they are in the order of its cells."""
    rows = np.unique(np.linspace(0, len(vectors) - 1, most).astype(np.int64))
    return np.ascontiguousarray(vectors[rows])


def _probes(index: Any, lists: int, vectors: Vectors) -> int:
    """The fewest lists that hold what is nearest."""
    if lists <= _LEAST_PROBES:
        return lists
    queries = _sample(vectors, _MEASURED)
    blocks = (np.ascontiguousarray(block) for _, block in blocks_of(vectors, None))
    # Which list each of the nearest is in: the one whose centre is the nearest to it.
    find: Any = knn_ground_truth
    depth = min(max(_RECALL), len(vectors))
    _, nearest = find(queries, blocks, depth, faiss.METRIC_INNER_PRODUCT)
    homes = np.empty(nearest.shape, np.int64)
    for own, rows in zip(homes, nearest, strict=True):
        own[:] = index.quantizer.search(vectors[rows], 1)[1][:, 0]
    # How many lists are looked into until that one is.
    _, order = index.quantizer.search(queries, lists)
    turns = np.take_along_axis(np.argsort(order, axis=1), homes, axis=1) + 1
    fewest = [
        np.quantile(turns[:, :k], least, method="inverted_cdf")
        for k, least in _RECALL.items()
    ]
    return max(_LEAST_PROBES, int(max(fewest)))


@contextmanager
def _one_thread() -> Iterator[None]:
    """FAISS in this thread alone: one query is not worth waiting for another."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


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
        self,
        path: Path,
        vectors: Vectors,
        *,
        scan_from: int = SCAN_FROM,
    ) -> None:
        self._vectors = vectors
        self._index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        inverted: Any = faiss.downcast_index(self._index)
        self._lists: int = inverted.nlist
        self._probes: int = inverted.nprobe
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
            holding = probes_for(wanted, lists=self._lists, matching=available)
            probes = max(self._probes, holding)
            rows = self._scan(query, wanted, among, probes)
            if len(rows) < wanted and probes < self._lists:
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
        parameters = make(nprobe=probes)
        if among is not None:
            bits = np.zeros(len(self), dtype=bool)
            bits[among] = True
            packed = np.packbits(bits, bitorder="little")
            selector = faiss.IDSelectorBitmap(len(self), faiss.swig_ptr(packed))
            parameters.sel = selector
            # FAISS keeps pointers only: these must outlive the search.
            parameters.keep_alive = (selector, packed)
        with _one_thread():
            _, found = self._index.search(query[None], wanted, params=parameters)
        rows: Rows = found[0]
        return np.sort(rows[rows >= 0])
