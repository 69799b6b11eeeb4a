"""FAISS's lists: how many are looked into is measured, whatever the vectors are."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from twinjet.index.vectors.faiss_index import FaissIndex, build_index

F32 = NDArray[np.float32]


def vectors_about(centres: int, spread: float, *, count: int = 4000) -> F32:
    rng = np.random.default_rng(2)
    middle = rng.normal(size=(centres, 64))
    vectors = middle[rng.integers(centres, size=count)]
    vectors = vectors + spread * rng.normal(size=vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def probes_of(path: Path) -> int:
    index: Any = faiss.downcast_index(faiss.read_index(str(path)))
    probes: int = index.nprobe
    return probes


@pytest.mark.parametrize(("centres", "spread"), [(30, 0.3), (1, 100.0)])
def test_the_nearest_are_found_in_clusters_and_where_there_are_none(
    tmp_path: Path, centres: int, spread: float
) -> None:
    vectors = vectors_about(centres, spread)
    build_index(vectors, tmp_path / "index.faiss", lists=64)
    index = FaissIndex(tmp_path / "index.faiss", vectors, scan_from=0)
    shared = 0
    for row in range(0, 4000, 80):
        wanted = index.search(vectors[row], 10, exact=True)[1]
        shared += len(np.intersect1d(wanted, index.search(vectors[row], 10)[1]))
    assert shared / 500 > 0.98


def test_where_nothing_is_near_more_lists_are_looked_into(tmp_path: Path) -> None:
    for name, vectors in (
        ("near", vectors_about(30, 0.3)),
        ("far", vectors_about(1, 100.0)),
    ):
        build_index(vectors, tmp_path / name, lists=64)
    assert probes_of(tmp_path / "near") == 16
    # No more than are needed: 64 would be all.
    assert 32 < probes_of(tmp_path / "far") < 64


def test_the_file_does_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    vectors = vectors_about(30, 0.3)
    before = faiss.omp_get_max_threads()
    made = []
    try:
        for threads in (1, 2):
            faiss.omp_set_num_threads(threads)
            build_index(vectors, tmp_path / "index.faiss", lists=64)
            made.append((tmp_path / "index.faiss").read_bytes())
    finally:
        faiss.omp_set_num_threads(before)
    assert made[0] == made[1]


def test_a_search_leaves_the_threads_of_others_alone(tmp_path: Path) -> None:
    vectors = vectors_about(30, 0.3)
    build_index(vectors, tmp_path / "index.faiss", lists=64)
    before = faiss.omp_get_max_threads()
    index = FaissIndex(tmp_path / "index.faiss", vectors, scan_from=0)
    index.search(vectors[0], 5)
    assert faiss.omp_get_max_threads() == before
