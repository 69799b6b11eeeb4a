"""What every vector index must do, by `twinjet.index.vectors.port.VectorIndex`."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from databases import empty_database
from numpy.typing import NDArray

from twinjet.index.database import create_engine
from twinjet.index.vectors.engine import VectorEngine
from twinjet.index.vectors.faiss_index import FaissIndex, build_index
from twinjet.index.vectors.pgvector import PgvectorEngine
from twinjet.index.vectors.policy import SCAN_FROM
from twinjet.index.vectors.port import VectorIndex

F32 = NDArray[np.float32]


def clustered(count: int, dimension: int = 128, *, seed: int = 0) -> F32:
    """Unit vectors about some dozen centres, as embeddings are."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(40, dimension))
    vectors = centres[rng.integers(40, size=count)] + 0.6 * rng.normal(
        size=(count, dimension)
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


VECTORS = clustered(5000)
ALL = np.arange(len(VECTORS))


class Adapter(Protocol):
    """Makes an index of vectors, which is searched whole from `scan_from` rows."""

    def __call__(self, vectors: F32, scan_from: int = SCAN_FROM) -> VectorIndex: ...


def faiss_adapter(folder: Path, lists: int) -> Adapter:
    def make(vectors: F32, scan_from: int = SCAN_FROM) -> VectorIndex:
        np.save(folder / "vectors.npy", vectors)
        build_index(vectors, folder / "index.faiss", lists=min(lists, len(vectors)))
        mapped = np.load(folder / "vectors.npy", mmap_mode="r")
        return FaissIndex(folder / "index.faiss", mapped, scan_from=scan_from)

    return make


def engine_adapter(engine: Callable[[int], VectorEngine], *, here: bool) -> Adapter:
    """Of a server; `here` is whether the rows are on this machine too."""

    def make(vectors: F32, scan_from: int = SCAN_FROM) -> VectorIndex:
        server = engine(scan_from)
        # What is there already is not loaded again.
        name = f"g{len(vectors):06d}_{vectors.shape[1]}_{scan_from}"
        server.load(name, vectors)
        index = server.open(name, len(vectors), vectors if here else None)
        assert index is not None
        return index

    return make


ADAPTERS = {
    "faiss": "one list",
    "faiss, lists": "some lists",
    "pgvector": "rows here",
    "pgvector alone": "no rows here",
    "milvus": "rows here",
    "milvus alone": "no rows here",
}


@pytest.fixture(scope="module", params=ADAPTERS)
def adapter(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Adapter]:
    kind: str = request.param
    with ExitStack() as kept:
        if kind.startswith("faiss"):
            folder = tmp_path_factory.mktemp("faiss")
            yield faiss_adapter(folder, 1 if kind == "faiss" else 64)
            return
        here = ADAPTERS[kind] == "rows here"
        if kind.startswith("milvus"):
            uri = request.getfixturevalue("milvus").uri
            from twinjet.index.vectors.milvus import MilvusEngine  # noqa: PLC0415

            yield engine_adapter(
                lambda scan_from: MilvusEngine(uri, scan_from=scan_from), here=here
            )
            return
        server = request.getfixturevalue("pgvector")
        url = kept.enter_context(empty_database(server.url))
        database = create_engine(url)
        kept.callback(database.dispose)
        yield engine_adapter(
            lambda scan_from: PgvectorEngine(database, scan_from=scan_from), here=here
        )


@pytest.fixture(scope="module", params=["compares all", "searches"])
def index(request: pytest.FixtureRequest, adapter: Adapter) -> VectorIndex:
    return adapter(VECTORS, SCAN_FROM if request.param == "compares all" else 0)


@pytest.fixture(scope="module")
def large(adapter: Adapter) -> tuple[VectorIndex, F32]:
    vectors = clustered(30_000, 32)
    return adapter(vectors), vectors


def brute_force(vectors: F32, query: F32, rows: NDArray[np.int64]) -> list[int]:
    similarities = vectors[rows].astype(np.float64) @ query
    best: list[int] = rows[np.argsort(-similarities, kind="stable")].tolist()
    return best


def test_exact_search_is_brute_force(index: VectorIndex) -> None:
    for row in (0, 1234, 4999):
        _, rows = index.search(VECTORS[row], 50, exact=True)
        assert rows.tolist() == brute_force(VECTORS, VECTORS[row], ALL)[:50]


def test_similarities_are_the_same_numbers_everywhere(index: VectorIndex) -> None:
    for exact in (True, False):
        similarities, rows = index.search(VECTORS[7], 20, exact=exact)
        wanted = [
            np.float32((VECTORS[row].astype(np.float64) * VECTORS[7]).sum())
            for row in rows
        ]
        assert similarities.dtype == np.float32
        np.testing.assert_array_max_ulp(similarities, np.array(wanted), maxulp=1)
        assert (np.diff(similarities) <= 0).all()


def test_search_finds_nearly_all(index: VectorIndex) -> None:
    found = 0
    for row in range(0, 5000, 100):
        _, rows = index.search(VECTORS[row], 10)
        found += len(set(rows) & set(brute_force(VECTORS, VECTORS[row], ALL)[:10]))
    assert found / 500 > 0.97


@pytest.mark.parametrize("count", [0, 1, 7, 100, 4000])
def test_among_some_rows_only_these_are_found(index: VectorIndex, count: int) -> None:
    rows = np.sort(np.random.default_rng(count).choice(5000, count, replace=False))
    _, found = index.search(VECTORS[3], 10, among=rows)
    assert found.tolist() == brute_force(VECTORS, VECTORS[3], rows)[:10]


def test_a_selective_filter_of_a_large_index_is_exact(
    large: tuple[VectorIndex, F32],
) -> None:
    index, vectors = large
    assert not index.is_exact(None)
    rows = np.arange(0, 30_000, 60)
    assert index.is_exact(rows)
    _, found = index.search(vectors[7], 5, among=rows)
    assert found.tolist() == brute_force(vectors, vectors[7], rows)[:5]


@pytest.fixture
def few_are_20_000(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the index were ten times as large as it is."""
    monkeypatch.setattr("twinjet.index.vectors.policy._GATHER_ROWS", 20_000)


def test_a_wide_filter_of_a_large_index_is_kept_and_says_that_it_is_not_exact(
    large: tuple[VectorIndex, F32], few_are_20_000: None
) -> None:
    index, vectors = large
    many = np.arange(30_000)[5000:]
    assert not index.is_exact(many)
    shared = 0
    for row in range(0, 30_000, 1500):
        _, found = index.search(vectors[row], 5, among=many)
        assert (found >= 5000).all()
        assert len(found) == 5
        shared += len(set(found) & set(brute_force(vectors, vectors[row], many)[:5]))
    _, found = index.search(vectors[11], 5, among=many, exact=True)
    assert found.tolist() == brute_force(vectors, vectors[11], many)[:5]
    assert shared / 100 > 0.95


def test_a_filter_that_leaves_only_what_is_far_is_filled(
    large: tuple[VectorIndex, F32], few_are_20_000: None
) -> None:
    """No index may give up because the nearest are all filtered away."""
    index, vectors = large
    far = np.sort(np.argsort(vectors @ vectors[11])[:22_000])
    assert not index.is_exact(far)
    _, found = index.search(vectors[11], 20, among=far)
    assert len(found) == 20
    assert np.isin(found, far).all()


def test_more_than_there_is_gives_all(index: VectorIndex) -> None:
    _, rows = index.search(VECTORS[0], 10_000)
    assert sorted(rows.tolist()) == ALL.tolist()


# Ten sources, each catalogued four times.
FORTY = np.repeat(clustered(10), 4, axis=0)


@pytest.mark.parametrize(("count", "scan_from"), [(1, SCAN_FROM), (40, 0)])
def test_small_indexes_answer(adapter: Adapter, count: int, scan_from: int) -> None:
    index = adapter(FORTY[:count], scan_from)
    assert len(index) == count
    similarities, rows = index.search(FORTY[0], 10)
    assert (rows[0], len(rows)) == (0, min(10, count))
    assert similarities[0] == pytest.approx(1)


def test_ties_come_in_the_order_of_rows(adapter: Adapter) -> None:
    index = adapter(FORTY, 0)
    for exact in (True, False):
        assert index.search(FORTY[5], 3, exact=exact)[1].tolist() == [4, 5, 6]


def test_vectors_come_in_the_order_asked(index: VectorIndex) -> None:
    rows = np.array([7, 0, 4999])
    np.testing.assert_array_equal(index.vectors(rows), VECTORS[rows])


def test_no_rows_have_no_vectors(index: VectorIndex) -> None:
    assert index.vectors(np.empty(0, np.int64)).shape == (0, 128)
