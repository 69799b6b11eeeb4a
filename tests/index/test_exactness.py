"""Filtered neighbours are all of them, at any selectivity."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from searchers import make

from twinjet.index.batch import similar_to_each
from twinjet.index.examples import Examples
from twinjet.index.options import Options
from twinjet.index.regions import Cone
from twinjet.index.search import Searcher
from twinjet.index.sky import unit_vectors
from twinjet.index.source import Column
from twinjet.index.source_tables import Asked
from twinjet.index.vectors.policy import SCAN_FROM

# More than are compared one by one without a filter: an index would be asked.
COUNT = SCAN_FROM + 4000

RNG = np.random.default_rng(5)
RA = RNG.uniform(0, 360, COUNT)
DEC = np.degrees(np.arcsin(RNG.uniform(-1, 1, COUNT)))
PLACES = unit_vectors(RA, DEC)
SIZE = RNG.permutation(COUNT).astype(np.float64)
KIND = RNG.choice(["FRI", "FRII", "bent"], COUNT)
VECTORS = RNG.normal(size=(COUNT, 48)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    return make(
        tmp_path_factory.mktemp("exact"),
        VECTORS,
        ra=RA,
        dec=DEC,
        columns=(Column("size"), Column("fr", kind="text")),
        values=[
            {"size": size, "fr": str(fr)} for size, fr in zip(SIZE, KIND, strict=True)
        ],
    )


def test_without_a_filter_this_index_is_not_exact(searcher: Searcher) -> None:
    assert not searcher.similar_to_source("s0", Options()).exact


def similarities(row: int, mask: NDArray[np.bool_], k: int) -> NDArray[np.float32]:
    """Of the k nearest by comparing all."""
    mask = mask.copy()
    mask[row] = False
    return np.sort(VECTORS[mask] @ VECTORS[row])[::-1][:k]


@settings(max_examples=40, deadline=None)
@given(
    row=st.integers(0, COUNT - 1),
    k=st.integers(1, 60),
    drawn=st.tuples(st.floats(-4, 0), st.sampled_from(["FRI", "FRII", "bent", None])),
    cone=st.none()
    | st.tuples(
        st.sampled_from([0.0, 360.0, 123.4]),
        st.sampled_from([90.0, -90.0, 64.0, 0.0]),
        st.floats(20, 180),
    ),
)
def test_filtered_neighbours_are_those_of_comparing_all(
    searcher: Searcher,
    row: int,
    k: int,
    drawn: tuple[float, str | None],
    cone: tuple[float, float, float] | None,
) -> None:
    exponent, kind = drawn
    most = max(1, round(COUNT * 10**exponent))
    where, mask = f"size < {most}", most > SIZE
    if kind is not None:
        where, mask = f"{where} and fr = '{kind}'", mask & (kind == KIND)
    region = None
    if cone is not None:
        region = Cone(*cone)
        centre = unit_vectors(cone[0], cone[1])[0]
        mask &= np.degrees(np.arccos(np.clip(PLACES @ centre, -1, 1))) <= cone[2]
    options = Options(k=k, where=where, region=region, keep_duplicates=True)
    answer = searcher.similar_to_source(f"s{row}", options)
    assert answer.exact
    found = [n.similarity for n in answer.neighbours]
    assert found == pytest.approx(similarities(row, mask, k), abs=2e-6)
    rows = [int(n.source.source_id[1:]) for n in answer.neighbours]
    assert mask[rows].all()
    assert len(set(rows)) == len(rows)
    assert row not in rows
    assert answer.more == (mask.sum() - mask[row] > k)


@settings(max_examples=8, deadline=None)
@given(row=st.integers(0, COUNT - 1), exponent=st.floats(-4, 0))
def test_examples_and_batches_are_filtered_as_sources_are(
    searcher: Searcher, row: int, exponent: float
) -> None:
    most = max(1, round(COUNT * 10**exponent))
    options = Options(k=20, where=f"size < {most}", keep_duplicates=True)
    expected = similarities(row, most > SIZE, 20)
    examples = searcher.similar_to_examples(Examples(like=[f"s{row}"]), options)
    batch = similar_to_each(searcher, [Asked(1, f"s{row}")], options).results[0]
    pages = [
        neighbour
        for offset in range(0, 20, 5)
        for neighbour in searcher.similar_to_source(
            f"s{row}", replace(options, k=5, offset=offset)
        ).neighbours
    ]
    for neighbours in (examples.neighbours, batch.neighbours, pages):
        found = [n.similarity for n in neighbours]
        assert found == pytest.approx(expected, abs=2e-6)
