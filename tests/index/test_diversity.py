"""Maximal marginal relevance against its formula, and on pages of a search."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from searchers import COUNT, make, some_vectors

from twinjet.index.diversity import diversified
from twinjet.index.examples import Examples
from twinjet.index.options import Options
from twinjet.index.search import Answer, Searcher

VECTORS = some_vectors()


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    return make(tmp_path_factory.mktemp("diversity"), VECTORS)


def ids(answer: Answer) -> list[str]:
    return [n.source.source_id for n in answer.neighbours]


@given(count=st.integers(1, 60), diversity=st.floats(0, 1), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_each_next_one_has_the_largest_marginal_relevance(
    count: int, diversity: float, seed: int
) -> None:
    vectors = VECTORS[np.random.default_rng(seed).permutation(COUNT)[:count]]
    relevance = -np.sort(-(vectors @ VECTORS[seed]))
    order = diversified(relevance, vectors, diversity, count)
    assert sorted(order) == list(range(count))
    assert order[0] == 0
    cosines = vectors @ vectors.T
    for place in range(1, count):
        gains = (1 - diversity) * relevance - diversity * (
            cosines[:, order[:place]].max(axis=1)
        )
        left = np.setdiff1d(np.arange(count), order[:place])
        assert gains[order[place]] == pytest.approx(gains[left].max(), abs=1e-5)
    shorter = diversified(relevance, vectors, diversity, count // 2)
    assert shorter.tolist() == order[: count // 2].tolist()


def test_no_diversity_changes_nothing(searcher: Searcher) -> None:
    plain = searcher.similar_to_source("s5", Options(k=50))
    same = searcher.similar_to_source("s5", Options(k=50, diversity=0.0))
    assert same.neighbours == plain.neighbours


def test_diverse_neighbours_are_less_alike(searcher: Searcher) -> None:
    alike = []
    for diversity in (0.0, 0.5, 0.9):
        options = Options(k=10, diversity=diversity)
        found = ids(searcher.similar_to_source("s5", options))
        vectors = VECTORS[[int(name[1:]) for name in found]]
        alike.append((vectors @ vectors.T)[np.triu_indices(10, 1)].mean())
    assert alike == sorted(alike, reverse=True)
    assert alike[0] > alike[-1] + 0.05


@pytest.mark.parametrize("least", [False, True])
def test_pages_of_differing_neighbours_join(searcher: Searcher, *, least: bool) -> None:
    whole = searcher.similar_to_source(
        "s5", Options(k=1000, diversity=0.7, least=least)
    )
    pages = []
    for offset in range(0, COUNT // 2, 9):
        options = Options(k=9, offset=offset, diversity=0.7, least=least)
        pages += searcher.similar_to_source("s5", options).neighbours
    assert pages == whole.neighbours
    assert len(pages) == COUNT // 2 - 1


def test_what_lies_beyond_the_pool_comes_in_its_own_order(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinjet.index.search.POOL", 20)
    plain = ids(searcher.similar_to_source("s5", Options(k=60)))
    diverse = ids(searcher.similar_to_source("s5", Options(k=60, diversity=0.9)))
    assert sorted(diverse[:20]) == sorted(plain[:20])
    assert diverse[:20] != plain[:20]
    assert diverse[20:] == plain[20:]
    page = ids(searcher.similar_to_source("s5", Options(k=9, offset=15, diversity=0.9)))
    assert page == diverse[15:24]


def test_examples_differ_too(searcher: Searcher) -> None:
    examples = Examples(["s1", "s2"], ["s9"], strategy="best")
    plain = ids(searcher.similar_to_examples(examples, Options(k=30)))
    diverse = ids(searcher.similar_to_examples(examples, Options(k=30, diversity=0.9)))
    assert diverse[0] == plain[0]
    assert diverse != plain
