"""The searcher against brute force over the sky and the vectors."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from searchers import COUNT, DEC, RA, make, some_vectors

from twinjet.index.errors import (
    FilterError,
    GenerationDamagedError,
    InvalidQueryError,
    NoSourceAtPositionError,
    UnknownSourceError,
)
from twinjet.index.generation import open_generation
from twinjet.index.options import Options
from twinjet.index.regions import Cone
from twinjet.index.search import Answer, Searcher
from twinjet.index.sky import unit_vectors

VECTORS = some_vectors()


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    return make(tmp_path_factory.mktemp("search"), VECTORS)


def ids(answer: Answer) -> list[str]:
    return [n.source.source_id for n in answer.neighbours]


def expected(row: int, options: Options) -> list[str]:
    """What a person would do with pencil and paper."""
    order = np.argsort(-(VECTORS @ VECTORS[row]), kind="stable")
    sky = unit_vectors(RA, DEC)
    taken, found = [row], []
    for other in order:
        if other == row:
            continue
        near = min(math.dist(sky[other], sky[t]) for t in taken)
        if (
            not options.keep_duplicates
            and math.degrees(near) * 3600 < options.duplicate_radius_arcsec
        ):
            continue
        taken.append(other)
        found.append(f"s{other}")
    return found[options.offset : options.offset + options.k]


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("row", [0, 25, 100, 299])
def test_neighbours_are_those_of_brute_force(
    searcher: Searcher,
    row: int,
    keep: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    options = Options(k=100, keep_duplicates=keep)
    answer = searcher.similar_to_source(f"s{row}", options)
    assert ids(answer) == expected(row, options)
    assert f"s{row}" not in ids(answer)


def test_nobody_appears_twice_over_ra_0_or_at_the_pole(searcher: Searcher) -> None:
    for row in range(30):
        answer = searcher.similar_to_source(f"s{row}", Options(k=1000))
        objects = [int(name[1:]) % (COUNT // 2) for name in ids(answer)]
        assert len(set(objects)) == len(objects) == COUNT // 2 - 1
        assert row not in objects


def test_pages_join_to_one_ranking(searcher: Searcher) -> None:
    whole = ids(searcher.similar_to_source("s5", Options(k=60)))
    pages = [
        ids(searcher.similar_to_source("s5", Options(k=20, offset=o)))
        for o in (0, 20, 40)
    ]
    assert [name for page in pages for name in page] == whole
    last = searcher.similar_to_source("s5", Options(k=20, offset=140))
    assert (len(last.neighbours), last.more) == (9, False)
    assert last.neighbours[0].rank == 141


def test_a_position_asks_for_its_nearest_source(searcher: Searcher) -> None:
    options = Options(k=5)
    answer = searcher.similar_to_position(float(RA[40]), float(DEC[40]), 1.0, options)
    assert answer.query is not None
    assert answer.query.source_id == "s40"
    assert ids(answer) == ids(searcher.similar_to_source("s40", options))
    with pytest.raises(NoSourceAtPositionError, match="1 arcsec"):
        searcher.similar_to_position(float(RA[40]), float(DEC[40]) + 0.01, 1.0, options)


def test_a_vector_finds_its_own_source_first(searcher: Searcher) -> None:
    answer = searcher.similar_to_vector(VECTORS[7], Options(k=3))
    assert answer.neighbours[0].source.source_id == "s7"
    assert answer.neighbours[0].similarity == pytest.approx(1)
    assert answer.neighbours[0].percentile == 100
    with pytest.raises(InvalidQueryError, match="shape"):
        searcher.similar_to_vector(VECTORS[7][:5], Options())


def test_percentiles_fall_with_similarity(searcher: Searcher) -> None:
    found = searcher.similar_to_source("s5", Options(k=149)).neighbours
    percentiles = [n.percentile or 0 for n in found]
    assert percentiles == sorted(percentiles, reverse=True)
    assert percentiles[0] > 95
    assert percentiles[-1] < 20


def test_thresholds_exclusions_and_filters_hold(searcher: Searcher) -> None:
    everyone = searcher.similar_to_source("s5", Options(k=149)).neighbours
    least = everyone[30].similarity
    found = searcher.similar_to_source("s5", Options(k=1000, min_similarity=least))
    assert len(found.neighbours) == 31
    first = everyone[0].source.source_id
    without = searcher.similar_to_source("s5", Options(k=5, exclude=(first, "unknown")))
    # Neither the excluded source nor the same object under its other name.
    assert int(first[1:]) % 150 not in {int(i[1:]) % 150 for i in ids(without)}
    some = searcher.similar_to_source(
        "s5", Options(k=1000, where="n >= 100 and n < 120")
    )
    assert sorted(ids(some)) == [f"s{n}" for n in range(100, 120)]
    region = Cone(float(RA[0]), float(DEC[0]), 0.1)
    near = searcher.similar_to_source("s5", Options(k=10, region=region))
    assert set(ids(near)) <= {"s0", "s150"}
    assert len(ids(near)) == 1


@pytest.mark.parametrize(
    ("change", "parameter"),
    [
        ({"k": 0}, "k"),
        ({"k": 1001}, "k"),
        ({"offset": -1}, "offset"),
        ({"diversity": 1.01}, "diversity"),
        ({"diversity": math.nan}, "diversity"),
        ({"min_similarity": math.nan}, "min_similarity"),
        ({"duplicate_radius_arcsec": -1.0}, "duplicate_radius_arcsec"),
    ],
)
def test_options_out_of_bounds_are_named(
    searcher: Searcher, change: dict[str, object], parameter: str
) -> None:
    options = dataclasses.replace(Options(), **change)  # type: ignore[arg-type]
    with pytest.raises(InvalidQueryError) as caught:
        searcher.similar_to_source("s5", options)
    assert caught.value.parameter == parameter


def test_unknown_sources_and_columns_are_refused(searcher: Searcher) -> None:
    with pytest.raises(UnknownSourceError):
        searcher.similar_to_source("nobody", Options())
    with pytest.raises(FilterError, match="near ones"):
        searcher.similar_to_source("s5", Options(where="m > 1"))
    with pytest.raises(InvalidQueryError):
        searcher.similar_to_position(0, 91, 1, Options())


@pytest.mark.parametrize("count", [1, 2])
def test_the_smallest_indexes_answer(tmp_path: Path, count: int) -> None:
    searcher = make(tmp_path, some_vectors(count))
    answer = searcher.similar_to_source("s0", Options())
    assert len(answer.neighbours) == count - 1
    own = searcher.similar_to_vector(some_vectors(count)[0], Options()).neighbours[0]
    assert own.percentile == (None if count == 1 else 100)


FILES = (
    "vectors.npy",
    "index.faiss",
    "positions.npy",
    "background.npy",
    "manifest.json",
)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["flip", "shorten", "remove", "empty"])
def test_a_damaged_generation_is_never_opened(
    tmp_path: Path, name: str, damage: str
) -> None:
    make(tmp_path, some_vectors(50))
    path = tmp_path / "g000001" / name
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    if damage == "flip":
        # In the manifest, a digit of the checksums; in the others any byte.
        place = (
            data.index(b"sha256") + 12 if name == "manifest.json" else len(data) // 2
        )
        data[place] ^= 1
        path.write_bytes(data)
    elif damage == "shorten":
        path.write_bytes(data[:-7])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    # Whatever is wrong with the manifest shows in a file that does not fit it.
    named = r"\.(npy|faiss)|manifest" if name == "manifest.json" else name
    with pytest.raises(GenerationDamagedError, match=named):
        open_generation(tmp_path / "g000001")


def test_stray_files_do_no_harm(tmp_path: Path) -> None:
    make(tmp_path, some_vectors(50))
    (tmp_path / "g000001" / ".nfs0001").write_text("x")
    assert len(open_generation(tmp_path / "g000001").index) == 50
