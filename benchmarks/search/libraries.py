"""Contenders in this process: Twinjet's own search and the libraries beside it."""

import gc
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import hnswlib
import numpy as np
import usearch.index
from workload import F32, I64

from twinjet.index.vectors.faiss_index import FaissIndex, build_index
from twinjet.index.vectors.port import VectorIndex

# isort: split
# After Twinjet, which tells its OpenBLAS what the processor is: for all the same.
import faiss

THREADS = os.cpu_count() or 1


class CannotFilterError(Exception):
    """A contender answers among all rows only."""


class Contender(Protocol):
    """Something that searches vectors."""

    pids: list[int]
    """Of the processes whose memory counts."""

    @property
    def settings(self) -> Sequence[str]:
        """Each is a row: how broad it searches."""

    def build(self, vectors: F32, folder: Path, /) -> None:
        """Take all vectors, memory-mapped, (N, D)."""

    def searcher(
        self, setting: str, rows: I64 | None, k: int, /
    ) -> Callable[[F32], I64]:
        """What answers a query (D,) with rows, among `rows` only.

        Raises
        ------
        CannotFilterError
            `rows` are some, and it knows no filter.
        """

    def close(self) -> None:
        """Give back what the process's end does not."""


class InProcess:
    """What contenders of this process share."""

    def __init__(self) -> None:
        self.pids = [os.getpid()]

    def close(self) -> None:
        """Nothing is outside of this process."""


class Twinjet(InProcess):
    """FAISS's one-bit codes in lists, compared again with float32 rows."""

    settings = (
        "",
        "exact=true",
    )

    def build(self, vectors: F32, folder: Path) -> None:
        """Build, write, open, as a generation is."""
        build_index(vectors, folder / "index.faiss")
        gc.collect()
        self.index: VectorIndex = FaissIndex(folder / "index.faiss", vectors)

    def searcher(self, setting: str, rows: I64 | None, k: int) -> Callable[[F32], I64]:
        """By the port."""
        exact = bool(setting)
        return lambda q: self.index.search(q, k, among=rows, exact=exact)[1]


class Numpy(InProcess):
    """A product with all rows, or with those that a filter leaves."""

    settings = ("",)

    def build(self, vectors: F32, _folder: Path) -> None:
        """Have all in memory."""
        self.vectors = np.array(vectors)

    def searcher(self, _setting: str, rows: I64 | None, k: int) -> Callable[[F32], I64]:
        """The k largest of a product."""

        def search(query: F32) -> I64:
            some = self.vectors if rows is None else self.vectors[rows]
            similarities = some @ query
            best = np.argpartition(-similarities, k - 1)[:k]
            best = best[np.argsort(-similarities[best])]
            return best if rows is None else rows[best]

        return search


class FaissLibrary(InProcess):
    """An index of FAISS as it comes; filters are bitmaps."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.settings: Sequence[str] = ("nprobe=16", "nprobe=64", "nprobe=256")
        if kind.startswith("HNSW"):
            self.settings = ("efSearch=64", "efSearch=256", "efSearch=1024")
        elif kind == "Flat":
            self.settings = ("",)

    def build(self, vectors: F32, _folder: Path) -> None:
        """Train on a sample, add all."""
        self.count = len(vectors)
        metric = faiss.METRIC_INNER_PRODUCT
        make: Any = faiss.index_factory
        self.index: Any = make(vectors.shape[1], self.kind, metric)
        if "HNSW" in self.kind:
            self.index.hnsw.efConstruction = 100
        if not self.index.is_trained:
            most = min(self.count, 64 * self.index.nlist)
            chosen = np.linspace(0, self.count - 1, most).astype(np.int64)
            self.index.train(np.ascontiguousarray(vectors[chosen]))
        self.index.add(np.ascontiguousarray(vectors))

    def searcher(self, setting: str, rows: I64 | None, k: int) -> Callable[[F32], I64]:
        """With FAISS's parameters of a search."""
        name, _, value = setting.partition("=")
        given: dict[str, Any] = {name: int(value)} if name else {}
        if rows is not None:
            bits = np.zeros(self.count, bool)
            bits[rows] = True
            packed = np.packbits(bits, bitorder="little")
            given["sel"] = faiss.IDSelectorBitmap(self.count, faiss.swig_ptr(packed))
            # FAISS holds no more than a pointer to it.
            given["sel"].keep_alive = packed
        kinds: Any = faiss
        make = kinds.SearchParameters
        if "HNSW" in self.kind:
            make = kinds.SearchParametersHNSW
        elif "IVF" in self.kind:
            make = kinds.SearchParametersIVF
        parameters = make(**given) if given else None

        def search(query: F32) -> I64:
            found: I64 = self.index.search(query[None], k, params=parameters)[1][0]
            return found

        return search


class Hnswlib(InProcess):
    """The library of the graph's authors."""

    settings = (
        "ef=64",
        "ef=256",
        "ef=1024",
    )

    def build(self, vectors: F32, _folder: Path) -> None:
        """By as many threads as there are."""
        count, dimension = vectors.shape
        self.index = hnswlib.Index(space="ip", dim=dimension)
        self.index.init_index(max_elements=count, ef_construction=100, M=32)
        for start in range(0, count, 50_000):
            block = np.ascontiguousarray(vectors[start : start + 50_000])
            rows = np.arange(start, start + len(block))
            self.index.add_items(block, rows, num_threads=THREADS)

    def searcher(self, setting: str, rows: I64 | None, k: int) -> Callable[[F32], I64]:
        """A filter is asked for each row that it comes by."""
        self.index.set_ef(max(k, int(setting.partition("=")[2])))
        options: dict[str, Any] = {"num_threads": 1}
        if rows is not None:
            options["filter"] = frozenset(rows.tolist()).__contains__

        def search(query: F32) -> I64:
            found: I64 = self.index.knn_query(query, k, **options)[0][0]
            return found.astype(np.int64)

        return search


class Usearch(InProcess):
    """USearch, float32."""

    settings = (
        "expansion=64",
        "expansion=256",
        "expansion=1024",
    )

    def build(self, vectors: F32, _folder: Path) -> None:
        """By as many threads as there are."""
        self.index: Any = usearch.index.Index(
            ndim=vectors.shape[1],
            metric="ip",
            dtype="f32",
            connectivity=32,
            expansion_add=100,
        )
        for start in range(0, len(vectors), 50_000):
            block = np.ascontiguousarray(vectors[start : start + 50_000])
            rows = np.arange(start, start + len(block))
            self.index.add(rows, block, threads=THREADS)

    def searcher(self, setting: str, rows: I64 | None, k: int) -> Callable[[F32], I64]:
        """Without filters: Python cannot give it any."""
        if rows is not None:
            msg = "its Python package has no filter"
            raise CannotFilterError(msg)
        self.index.expansion_search = int(setting.partition("=")[2])

        def search(query: F32) -> I64:
            found: I64 = self.index.search(query, k, threads=1).keys
            return found.astype(np.int64)

        return search
