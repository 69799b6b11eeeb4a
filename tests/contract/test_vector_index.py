"""What every vector index must do, by `twinjet.index.vectors.port.VectorIndex`."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from twinjet.index.vectors.faiss_index import LISTS_FROM, FaissIndex, build_index
from twinjet.index.vectors.port import VectorIndex
from twinjet.index.vectors.ranking import SCAN_FROM


def clustered(
    count: int, dimension: int = 128, *, seed: int = 0
) -> NDArray[np.float32]:
    """Unit vectors about some dozen centres, as embeddings are."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(40, dimension))
    vectors = centres[rng.integers(40, size=count)] + 0.6 * rng.normal(
        size=(count, dimension)
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def faiss_index(
    vectors: NDArray[np.float32],
    folder: Path,
    scan_from: int,
    lists_from: int = LISTS_FROM,
) -> FaissIndex:
    np.save(folder / "vectors.npy", vectors)
    build_index(vectors, folder / "index.faiss", lists_from=lists_from)
    mapped = np.load(folder / "vectors.npy", mmap_mode="r")
    return FaissIndex(folder / "index.faiss", mapped, scan_from=scan_from)


VECTORS = clustered(5000)


@pytest.fixture(params=["compares all", "scans codes", "scans lists"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> VectorIndex:
    scan_from = SCAN_FROM if request.param == "compares all" else 0
    lists_from = 1000 if request.param == "scans lists" else LISTS_FROM
    return faiss_index(VECTORS, tmp_path, scan_from, lists_from)


def brute_force(
    query: NDArray[np.float32], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    similarities = VECTORS[rows] @ query
    return rows[np.argsort(-similarities, kind="stable")]


ALL = np.arange(len(VECTORS))


def test_exact_search_is_brute_force(index: VectorIndex) -> None:
    for row in (0, 1234, 4999):
        similarities, rows = index.search(VECTORS[row], 50, exact=True)
        assert rows.tolist() == brute_force(VECTORS[row], ALL)[:50].tolist()
        np.testing.assert_allclose(
            similarities, VECTORS[rows] @ VECTORS[row], atol=1e-6
        )


def test_search_finds_nearly_all_and_its_similarities_are_exact(
    index: VectorIndex,
) -> None:
    found = 0
    for row in range(0, 5000, 100):
        similarities, rows = index.search(VECTORS[row], 10)
        np.testing.assert_allclose(
            similarities, VECTORS[rows] @ VECTORS[row], atol=1e-6
        )
        assert (np.diff(similarities) <= 0).all()
        found += len(np.intersect1d(rows, brute_force(VECTORS[row], ALL)[:10]))
    assert found / 500 > 0.97


@pytest.mark.parametrize("count", [0, 1, 7, 100, 4000])
def test_among_some_rows_only_these_are_found(index: VectorIndex, count: int) -> None:
    rows = np.sort(np.random.default_rng(count).choice(5000, count, replace=False))
    _, found = index.search(VECTORS[3], 10, among=rows)
    assert found.tolist() == brute_force(VECTORS[3], rows)[:10].tolist()


def test_a_selective_filter_of_a_large_index_is_exact(tmp_path: Path) -> None:
    vectors = clustered(30_000, 32)
    index = faiss_index(vectors, tmp_path, SCAN_FROM)
    assert not index.is_exact(None)
    rows = np.arange(0, 30_000, 60)
    assert index.is_exact(rows)
    _, found = index.search(vectors[7], 5, among=rows)
    assert (
        found.tolist() == rows[np.argsort(-(vectors[rows] @ vectors[7]))][:5].tolist()
    )
    many = np.arange(0, 30_000)[5000:]
    assert not index.is_exact(many)
    _, found = index.search(vectors[7], 5, among=many)
    assert (found >= 5000).all()
    assert len(found) == 5


def test_more_than_there_is_gives_all(index: VectorIndex) -> None:
    _, rows = index.search(VECTORS[0], 10_000)
    assert sorted(rows.tolist()) == ALL.tolist()


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_small_indexes_answer(tmp_path: Path, count: int) -> None:
    vectors = clustered(count)
    for scan_from in (0, SCAN_FROM):
        index = faiss_index(vectors, tmp_path, scan_from)
        assert len(index) == count
        similarities, rows = index.search(vectors[0], 10)
        assert (rows[0], len(rows)) == (0, min(10, count))
        assert similarities[0] == pytest.approx(1)


def test_ties_come_in_the_order_of_rows(tmp_path: Path) -> None:
    vectors = np.repeat(clustered(3), 4, axis=0)
    index = faiss_index(vectors, tmp_path, SCAN_FROM)
    assert index.search(vectors[0], 3)[1].tolist() == [0, 1, 2]


def test_vectors_come_in_the_order_asked(index: VectorIndex) -> None:
    rows = np.array([7, 0, 4999])
    np.testing.assert_array_equal(index.vectors(rows), VECTORS[rows])
