"""No object twice in any answer: over RA 0, at Dec +64, at the poles."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st
from searchers import make

from twinjet.index.batch import similar_to_each
from twinjet.index.examples import Examples
from twinjet.index.options import Options
from twinjet.index.ranking import first_of_each_object
from twinjet.index.scorers import Strategy
from twinjet.index.search import Answer, Neighbour, Searcher
from twinjet.index.sky import unit_vectors
from twinjet.index.source_tables import Asked
from twinjet.index.vectors.faiss_index import FaissIndex

# Where coordinates are awkward, and a place where they are not.
CENTRES = [
    *((0.0, 0.0), (360.0, 30.0), (359.9999, 64.0), (0.0001, -64.0), (180.0, 64.0)),
    *((0.0, 90.0), (77.0, -90.0), (123.0, 89.9995), (300.0, -89.9999), (200.0, 10.0)),
]
RADIUS_ARCSEC = 10.0

# More sources in all than the candidates of one search by codes, which are 1,000.
AT_EACH, WITHIN_ARCSEC = 120, 125.0

# Rounding of the two ways to measure, arcsec.
SLACK = 1e-5


def some_sky() -> SkyCoord:
    """Many at each place, most of them with a twin."""
    rng = np.random.default_rng(3)
    ra, dec = np.repeat(CENTRES, AT_EACH, axis=0).T
    angle = rng.uniform(0, 360, len(ra))
    gap = WITHIN_ARCSEC * np.sqrt(rng.uniform(0, 1, len(ra)))
    centres = SkyCoord(ra * u.deg, dec * u.deg)
    return centres.directional_offset_by(angle * u.deg, gap * u.arcsec)


SKY = some_sky()
COUNT = len(SKY)
GAPS = SKY[:, None].separation(SKY[None, :]).arcsec
VECTORS = np.random.default_rng(4).normal(size=(COUNT, 16)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)


@pytest.fixture(scope="module", params=["compared", "by its codes"])
def searcher(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Searcher:
    folder = tmp_path_factory.mktemp("twins")
    found = make(folder, VECTORS, ra=SKY.ra.deg, dec=SKY.dec.deg)
    if request.param == "compared":
        return found
    path = folder / "g000001" / "index.faiss"
    index = FaissIndex(path, found.generation.vectors, scan_from=0)
    return Searcher(replace(found.generation, index=index), found.store)


def test_a_searcher_is_as_exact_as_it_says(
    searcher: Searcher, request: pytest.FixtureRequest
) -> None:
    compared = "by its codes" not in request.node.name
    assert searcher.similar_to_source("s0", Options(k=1)).exact == compared


def rows_of(neighbours: Collection[Neighbour]) -> list[int]:
    return [int(n.source.source_id[1:]) for n in neighbours]


def assert_each_once(neighbours: Collection[Neighbour], asked: Collection[int]) -> None:
    """By astropy's separations, all pairs of them and of what was asked with."""
    rows = rows_of(neighbours)
    assert not set(rows) & set(asked)
    everyone = np.array([*asked, *rows])
    gaps = GAPS[np.ix_(everyone, everyone)]
    gaps[: len(asked), : len(asked)] = np.inf
    assert not (np.triu(gaps < RADIUS_ARCSEC - SLACK, 1)).any()


def greedy(order: Collection[int], asked: Collection[int]) -> list[int]:
    """The first of each object, in order."""
    taken = list(asked)
    for row in order:
        if row not in taken and (GAPS[row, taken].min() > RADIUS_ARCSEC):
            taken.append(row)
    return taken[len(asked) :]


OPTIONS = st.builds(
    Options,
    k=st.integers(1, 200),
    offset=st.integers(0, 60),
    diversity=st.just(0.0) | st.floats(0, 1),
    least=st.booleans(),
    exact=st.booleans(),
    min_similarity=st.none() | st.floats(-1, 0.5),
    where=st.none() | st.integers(1, COUNT).map("n < {}".format),
)
ROWS = st.integers(0, COUNT - 1)


@settings(max_examples=15, deadline=None)
@given(row=ROWS, options=OPTIONS)
def test_a_source_has_no_object_twice_among_its_neighbours(
    searcher: Searcher, row: int, options: Options
) -> None:
    answer = searcher.similar_to_source(f"s{row}", options)
    assert_each_once(answer.neighbours, [row])


@settings(max_examples=15, deadline=None)
@given(
    like=st.lists(ROWS, min_size=1, max_size=7, unique=True),
    unlike=st.lists(ROWS, max_size=7, unique=True),
    strategy=st.sampled_from(["mean", "best", "ranker"]),
    options=OPTIONS,
)
def test_examples_have_no_object_twice_nor_one_of_themselves(
    searcher: Searcher,
    like: list[int],
    unlike: list[int],
    strategy: Strategy,
    options: Options,
) -> None:
    unlike = [row for row in unlike if row not in like]
    if strategy == "ranker" and min(len(like), len(unlike)) < 5:
        strategy = "best"
    examples = Examples(
        like=[f"s{row}" for row in like],
        unlike=[f"s{row}" for row in unlike],
        strategy=strategy,
    )
    answer = searcher.similar_to_examples(examples, replace(options, least=False))
    assert_each_once(answer.neighbours, [*like, *unlike])


@settings(max_examples=6, deadline=None)
@given(row=ROWS, size=st.integers(3, 50), options=OPTIONS)
def test_pages_together_have_no_object_twice(
    searcher: Searcher, row: int, size: int, options: Options
) -> None:
    pages: list[Neighbour] = []
    answer: Answer | None = None
    while answer is None or (answer.more and len(pages) < 120):
        page = replace(options, k=size, offset=len(pages))
        answer = searcher.similar_to_source(f"s{row}", page)
        pages += answer.neighbours
    assert_each_once(pages, [row])


@settings(max_examples=6, deadline=None)
@given(rows=st.lists(ROWS, min_size=1, max_size=8), options=OPTIONS)
def test_no_row_of_a_batch_has_an_object_twice(
    searcher: Searcher, rows: list[int], options: Options
) -> None:
    asked = [Asked(number, f"s{row}") for number, row in enumerate(rows, 1)]
    answer = similar_to_each(searcher, asked, options)
    for row, result in zip(rows, answer.results, strict=True):
        assert_each_once(result.neighbours, [row])


@settings(max_examples=3, deadline=None)
@given(row=ROWS)
def test_no_object_is_lost_for_its_twin(searcher: Searcher, row: int) -> None:
    answer = searcher.similar_to_source(f"s{row}", Options(k=1000, exact=True))
    order = np.argsort(-(VECTORS @ VECTORS[row]), kind="stable").tolist()
    assert rows_of(answer.neighbours) == greedy(order, [row])


@settings(max_examples=100, deadline=None)
@given(
    centre=st.sampled_from(CENTRES),
    moves=st.lists(
        st.tuples(st.floats(0, 360), st.floats(0, 60)), min_size=2, max_size=30
    ),
    radius=st.floats(0.001, 60),
)
def test_objects_are_told_apart_at_any_place(
    centre: tuple[float, float], moves: list[tuple[float, float]], radius: float
) -> None:
    angle, gap = np.array(moves).T
    sky = SkyCoord(*centre, unit=u.deg).directional_offset_by(
        angle * u.deg, gap * u.arcsec
    )
    rows = np.arange(len(moves))
    kept = first_of_each_object(
        unit_vectors(sky.ra.deg, sky.dec.deg), rows, rows >= 0, (), radius
    )
    for row in rows:
        before = np.flatnonzero(kept[:row])
        nearest = sky[before].separation(sky[row]).arcsec.min() if len(before) else 1e9
        if abs(nearest - radius) > SLACK:
            assert kept[row] == (nearest > radius)
