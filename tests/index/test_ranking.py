"""A ranking does not depend on how much of it is asked for, nor on the index."""

from pathlib import Path

import numpy as np
import pytest

from twinjet.index.ranking import ExactLook, IndexLook, Rules, Scan, rank, scans
from twinjet.index.scorers import nearest_to
from twinjet.index.vectors.faiss_index import FaissIndex, build_index

COUNT = 6000


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> FaissIndex:
    """One that scans codes and does miss some."""
    vectors = np.random.default_rng(3).normal(size=(COUNT, 24)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    path: Path = tmp_path_factory.mktemp("index") / "index.faiss"
    build_index(vectors, path)
    return FaissIndex(path, vectors, scan_from=0)


def test_a_deeper_look_only_adds(index: FaissIndex) -> None:
    query = index.vectors(np.array([7]))[0]
    whole = IndexLook(index, query)(COUNT)[1]
    assert sorted(whole) == list(range(COUNT))
    for depth in (1, 63, 64, 65, 200, 1000, 3000):
        rows = IndexLook(index, query)(depth)[1]
        assert len(rows) >= depth
        assert rows.tolist() == whole[: len(rows)].tolist()


def test_a_step_by_step_look_is_one_look(index: FaissIndex) -> None:
    query = index.vectors(np.array([7]))[0]
    steps, among = IndexLook(index, query), np.arange(0, COUNT, 2)
    assert [len(steps(depth)[1]) for depth in (10, 90, 500)] == [64, 128, 512]
    assert steps(500)[1].tolist() == IndexLook(index, query)(500)[1].tolist()
    found = IndexLook(index, query, among)(COUNT)[1]
    assert sorted(found) == among.tolist()


@pytest.mark.parametrize("wanted", [1, 40, 300, COUNT])
def test_a_ranking_begins_with_every_shorter_one(
    index: FaissIndex, wanted: int
) -> None:
    rng = np.random.default_rng(4)
    positions = rng.normal(size=(COUNT, 3))
    positions /= np.linalg.norm(positions, axis=1, keepdims=True)
    positions[1::2] = positions[::2]  # each object twice
    scorer = nearest_to(index.vectors(np.array([7]))[0])
    rules = Rules(excluded={7, 9}, duplicate_radius_arcsec=10.0)

    def ranked(wanted: int) -> list[int]:
        look = IndexLook(index, scorer.direction)  # type: ignore[arg-type]
        found = rank(
            look,
            wanted,
            scorer=scorer,
            index=index,
            rules=rules,
            positions=positions,
        )
        return [int(row) for row in found.rows]

    whole = ranked(COUNT)
    assert len(whole) == COUNT // 2 - 2
    assert ranked(wanted) == whole[:wanted]


def test_a_scan_finds_what_an_exact_index_finds(index: FaissIndex) -> None:
    scorer = nearest_to(index.vectors(np.array([7]))[0])
    assert scorer.direction is not None
    for among in (None, np.arange(5, 900, 3), np.empty(0, np.int64)):
        scores, rows = Scan(index, scorer, among)(200)
        wanted, theirs = ExactLook(index, scorer.direction, among)(200)
        assert scores == pytest.approx(wanted, abs=1e-6)
        assert set(rows[:100]) <= set(theirs)


def test_many_directions_have_the_numbers_of_one(index: FaissIndex) -> None:
    vectors = index.vectors(np.arange(40))
    scorers = [nearest_to(vector) for vector in vectors]
    looks = scans(index, vectors, scorers)
    for vector, scorer, look in zip(vectors, scorers, looks, strict=True):
        alone, rows = ExactLook(index, vector)(50)
        for scores, found in (look(50), Scan(index, scorer)(50)):
            assert scores.tolist() == alone.tolist()
            assert found.tolist() == rows.tolist()
        assert scorer.similarities(index.vectors(rows)).tolist() == alone.tolist()
