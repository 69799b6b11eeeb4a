"""What scores mean, and how isolated sources are, against brute force."""

import json
import os
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray
from searchers import COUNT, DEC, RA, make, some_vectors

from twinjet.index import calibrate as making
from twinjet.index.calibrate import background_of, calibrate
from twinjet.index.calibration import Calibration
from twinjet.index.errors import (
    GenerationDamagedError,
    InvalidQueryError,
    NotCalibratedError,
)
from twinjet.index.generation import OpenGeneration, open_generation
from twinjet.index.options import Options
from twinjet.index.outliers import OutliersAnswer, outliers
from twinjet.index.search import Searcher
from twinjet.index.sky import unit_vectors

VECTORS = some_vectors()


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    return make(tmp_path_factory.mktemp("calibration"), VECTORS)


@pytest.fixture(scope="module")
def generation(searcher: Searcher) -> OpenGeneration:
    return searcher.generation


def calibration_of(generation: OpenGeneration) -> Calibration:
    assert generation.calibration is not None
    return generation.calibration


def same_object(count: int = COUNT) -> NDArray[np.bool_]:
    """Which sources are closer than 10 arcsec, by astropy; (N, N)."""
    sky = SkyCoord(RA[:count], DEC[:count], unit="deg")
    separation = sky[:, None].separation(sky[None])
    return np.asarray(separation < 10 * u.arcsec)


def ids(answer: OutliersAnswer) -> list[str]:
    return [one.source.source_id for one in answer.outliers]


def test_isolation_is_the_mean_distance_to_the_ten_nearest_other_objects(
    generation: OpenGeneration,
) -> None:
    same = same_object()
    references: list[int] = []
    for row in range(COUNT):
        if not same[row, references].any():
            references.append(row)
    calibration = calibration_of(generation)
    assert calibration.info.references == len(references)
    assert not calibration.info.sampled
    cosines = VECTORS.astype(np.float64) @ VECTORS[references].T
    cosines[same[:, references]] = -2
    nearest = np.sort(cosines, axis=1)[:, -10:]
    wanted = (1 - nearest).mean(axis=1)
    np.testing.assert_allclose(calibration.isolation, wanted, atol=1e-6)
    assert calibration.info.pairs == int((cosines > -2).sum())
    for row in (0, 7, 299):
        found = calibration.isolation_of(row)
        assert found is not None
        values = calibration.isolation
        assert found.rank == 1 + sum(value > values[row] for value in values)
        assert found.percentile == pytest.approx(100 * np.mean(values < values[row]))
    order = calibration.order.tolist()
    assert sorted(order) == list(range(COUNT))
    assert order[0] == int(np.argmax(calibration.isolation))


def test_expected_by_chance_is_what_is_found_of_all_pairs(
    generation: OpenGeneration,
) -> None:
    same = same_object()
    cosines = (VECTORS @ VECTORS.T)[~same]
    calibration = calibration_of(generation)
    in_tail = [s for s in (0.5, 0.6, 0.7) if s > calibration.info.tail_from]
    assert in_tail
    for similarity in (-0.5, 0.0, 0.2, 0.4, *in_tail):
        expected = generation.expected_by_chance(similarity, COUNT)
        found = COUNT * np.mean(cosines >= similarity)
        # References are each object once, and below the tail there is a sample.
        assert expected == pytest.approx(found, rel=0.05, abs=0.05)


def test_what_was_never_seen_is_rare_and_not_impossible(
    generation: OpenGeneration,
) -> None:
    similarities = np.linspace(-1, 1, 2001)
    expected = [generation.expected_by_chance(s, 1000) for s in similarities]
    known = [value for value in expected if value is not None]
    assert len(known) == len(similarities)
    assert known == sorted(known, reverse=True)
    assert known[0] == pytest.approx(1000)
    pairs = calibration_of(generation).info.pairs
    assert known[-1] == pytest.approx(1000 / (pairs + 1))


def test_of_several_examples_it_is_a_bound_that_stays_within_the_sources(
    generation: OpenGeneration,
) -> None:
    one = generation.expected_by_chance(0.5, 200)
    five = generation.expected_by_chance(0.5, 200, references=5)
    assert one is not None
    assert five == pytest.approx(5 * one)
    assert generation.expected_by_chance(-1.0, 200, references=5) == 200


def test_an_answer_counts_what_was_searched(searcher: Searcher) -> None:
    whole = searcher.similar_to_source("s5", Options(k=3))
    assert whole.searched == COUNT - 1
    some = searcher.similar_to_source("s5", Options(k=3, where="n < 100"))
    assert some.searched == 99
    others = searcher.similar_to_source("s5", Options(k=3, where="n >= 100"))
    assert others.searched == COUNT - 100
    first = whole.neighbours[0]
    assert first.expected_by_chance == searcher.generation.expected_by_chance(
        first.similarity, COUNT - 1
    )


def test_the_same_whatever_the_number_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(3000, 40)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    places = unit_vectors(rng.uniform(0, 360, 3000), rng.uniform(-90, 90, 3000))
    background = background_of(vectors, places)
    made = []
    for threads in (1, 2, 5):
        folder = tmp_path / str(threads)
        folder.mkdir()
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=threads: set(range(n)))
        info = calibrate(folder, vectors, places, background)
        files = [(folder / name).read_bytes() for name in ("isolation.npy", "tail.npy")]
        made.append((info, files))
    assert made[0] == made[1] == made[2]


def test_of_many_sources_a_sample_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(6)
    vectors = rng.normal(size=(2000, 8)).astype(np.float32)
    vectors[1000:, :4] += 1.0
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    places = unit_vectors(rng.uniform(0, 360, 2000), rng.uniform(-90, 90, 2000))
    background = background_of(vectors, places)
    opened = []
    for references in (2000, 500):
        monkeypatch.setattr(making, "REFERENCES", references)
        folder = tmp_path / str(references)
        folder.mkdir()
        info = calibrate(folder, vectors, places, background)
        assert info is not None
        assert info["sampled"] == (references == 500)
        opened.append(Calibration.read(folder, info))
    whole, sample = opened
    assert sample.info.references == 500
    one, other = (np.argsort(np.argsort(c.isolation)) for c in opened)
    assert np.corrcoef(one, other)[0, 1] > 0.9
    for similarity in (0.0, 0.5, 0.8, 0.95):
        assert sample.exceedance(similarity, background) == pytest.approx(
            whole.exceedance(similarity, background), rel=0.2
        )


@pytest.mark.parametrize(
    ("vectors", "apart"),
    [
        (np.eye(1, 4), True),
        (np.eye(2, 4), True),
        (np.eye(2, 4), False),
        (np.repeat(np.eye(1, 4), 30, axis=0), True),
        (np.repeat(np.eye(1, 4), 30, axis=0), False),
        (np.concatenate([np.eye(3), -np.eye(3)]), True),
    ],
)
def test_few_and_equal_sources_are_calibrated_or_not_but_never_fail(
    tmp_path: Path, vectors: NDArray[np.float64], *, apart: bool
) -> None:
    few = vectors.astype(np.float32)
    count = len(few)
    places = unit_vectors(np.arange(count) * apart, np.zeros(count))
    background = background_of(few, places)
    info = calibrate(tmp_path, few, places, background)
    assert (info is None) == (not apart or count == 1)
    if info is not None:
        calibration = Calibration.read(tmp_path, info)
        assert not np.isnan(calibration.isolation).any()
        parts = [calibration.exceedance(s, background) for s in (-1.0, 0.3, 1.0)]
        assert parts == sorted(parts, reverse=True)
        assert all(0 < part <= 1 for part in parts)


def planted(folder: Path) -> Searcher:
    """s7 and its sky twin s157 are far from all others, s8 somewhat."""
    vectors = VECTORS.copy()
    vectors[:, 0] = np.abs(vectors[:, 0]) + 1
    vectors[[7, 157]] = -np.eye(24)[0]
    vectors[8, 0] = -0.3
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return make(folder, vectors.astype(np.float32))


def test_what_is_like_no_other_comes_first_and_once(tmp_path: Path) -> None:
    searcher = planted(tmp_path)
    first, second = outliers(searcher, Options(k=2)).outliers
    assert first.source.source_id == "s7"
    # Its duplicate does not make it less isolated, nor does it come after it.
    assert first.isolation.distance > 1.2
    assert second.source.source_id == "s8"
    kept = outliers(searcher, Options(k=2, keep_duplicates=True))
    assert ids(kept) == ["s7", "s157"]
    assert [one.isolation.rank for one in kept.outliers] == [1, 1]
    without = outliers(searcher, Options(k=1, exclude=("S 157",)))
    assert ids(without) == ["s8"]  # what lies on its place is it
    some = outliers(searcher, Options(k=5, where="n > 100 and n < 160"))
    assert ids(some)[0] == "s157"
    assert some.searched == 59
    none = outliers(searcher, Options(where="n < 0"))
    assert (none.outliers, none.more, none.searched) == ([], False, 0)


def test_pages_of_outliers_join_and_show_each_object_once(searcher: Searcher) -> None:
    whole = outliers(searcher, Options(k=1000))
    assert not whole.more
    pages = [outliers(searcher, Options(k=40, offset=o)) for o in range(0, 200, 40)]
    assert [name for page in pages for name in ids(page)] == ids(whole)
    assert [one.rank for page in pages for one in page.outliers] == [
        one.rank for one in whole.outliers
    ]
    rows = [int(name[1:]) for name in ids(whole)]
    same = same_object()[np.ix_(rows, rows)]
    assert same.sum() == len(rows)
    distances = [one.isolation.distance for one in whole.outliers]
    assert distances == sorted(distances, reverse=True)
    least = outliers(searcher, Options(k=1, least=True)).outliers[0]
    assert least.isolation.percentile == 0


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        (Options(min_similarity=0.5), "min_similarity"),
        (Options(diversity=0.5), "diversity"),
        (Options(k=0), "k"),
    ],
)
def test_options_without_a_meaning_are_refused(
    searcher: Searcher, options: Options, parameter: str
) -> None:
    with pytest.raises(InvalidQueryError) as caught:
        outliers(searcher, options)
    assert caught.value.parameter == parameter


def edit_manifest(folder: Path, **members: Any) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) | members
    path.write_text(json.dumps({k: v for k, v in manifest.items() if v != "absent"}))


def test_a_generation_without_calibration_is_served(tmp_path: Path) -> None:
    searcher = make(tmp_path, VECTORS)
    wanted = searcher.similar_to_source("s5", Options())
    folder = tmp_path / "g000001"
    edit_manifest(folder, calibration="absent")
    (folder / "isolation.npy").unlink()
    (folder / "tail.npy").unlink()
    earlier = Searcher(open_generation(folder), searcher.store)
    found = earlier.similar_to_source("s5", Options())
    assert [n.source for n in found.neighbours] == [n.source for n in wanted.neighbours]
    assert {n.expected_by_chance for n in found.neighbours} == {None}
    with pytest.raises(NotCalibratedError, match="generation 1 does not know"):
        outliers(earlier, Options())


@pytest.mark.parametrize("name", ["isolation.npy", "tail.npy"])
def test_a_damaged_calibration_is_a_damaged_generation(
    tmp_path: Path, name: str
) -> None:
    make(tmp_path, VECTORS)
    path = tmp_path / "g000001" / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(GenerationDamagedError, match=name):
        open_generation(tmp_path / "g000001")
    path.unlink()
    with pytest.raises(GenerationDamagedError, match=name):
        open_generation(tmp_path / "g000001")


def test_a_manifest_that_describes_another_calibration_is_refused(
    tmp_path: Path,
) -> None:
    make(tmp_path, VECTORS)
    edit_manifest(tmp_path / "g000001", calibration={"neighbours": 10})
    with pytest.raises(GenerationDamagedError, match="not understood"):
        open_generation(tmp_path / "g000001")
