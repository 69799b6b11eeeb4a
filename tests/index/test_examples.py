"""Searches by several examples against brute force over all vectors."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from searchers import COUNT, make, some_vectors
from sklearn.linear_model import LogisticRegression

from twinjet.index.errors import InvalidQueryError, UnknownExamplesError
from twinjet.index.examples import MAX_EXAMPLES, Examples
from twinjet.index.options import Options
from twinjet.index.scorers import LEAST_FOR_RANKER, STRATEGIES
from twinjet.index.search import Answer, Searcher

VECTORS = some_vectors()

# Each source of the sky of these tests is there twice.
OBJECTS = COUNT // 2

ALL = Options(k=COUNT)


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    return make(tmp_path_factory.mktemp("examples"), VECTORS)


def names(rows: Sequence[int]) -> list[str]:
    return [f"s{row}" for row in rows]


def rows_of(answer: Answer) -> list[int]:
    return [int(n.source.source_id[1:]) for n in answer.neighbours]


def assert_is_brute_force(
    answer: Answer, scores: np.ndarray, given: Sequence[int], options: Options
) -> None:
    """Ranked by these scores, ties in any order; nobody given, nobody twice."""
    found = rows_of(answer)
    objects = [row % OBJECTS for row in found]
    taken = {row % OBJECTS for row in given}
    assert len(set(objects)) == len(objects)
    assert not taken & set(objects)
    # Of each object its better half, then the best of them.
    best = np.maximum(scores[:OBJECTS], scores[OBJECTS:])
    best[list(taken)] = -np.inf
    wanted = np.sort(best[best > -np.inf])[::-1][: options.k]
    assert scores[found] == pytest.approx(wanted, abs=2e-6)


sides = st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=12, unique=True)


@given(rows=sides, cut=st.integers(0, 12), k=st.integers(1, COUNT))
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("strategy", ["mean", "best"])
def test_every_strategy_ranks_as_brute_force_does(
    searcher: Searcher, strategy: str, rows: list[int], cut: int, k: int
) -> None:
    like, unlike = rows[:cut], rows[cut:]
    options = Options(k=k)
    examples = Examples(names(like), names(unlike), strategy=strategy)  # type: ignore[arg-type]
    answer = searcher.similar_to_examples(examples, options)
    if strategy == "mean":
        total = np.zeros(24)
        for side, sign in ((like, 1), (unlike, -1)):
            if side:
                total += sign * VECTORS[side].astype(float).mean(axis=0)
        scores = VECTORS @ (total / np.linalg.norm(total))
    elif not like:
        scores = -(VECTORS @ VECTORS[unlike].T).max(axis=1)
    else:
        scores = (VECTORS @ VECTORS[like].T).max(axis=1)
        if unlike:
            scores[(VECTORS @ VECTORS[unlike].T).max(axis=1) > scores] = -np.inf
    assert_is_brute_force(answer, scores.astype(float), rows, options)
    assert answer.exact
    # The similarity is a cosine whatever the rank is by.
    near = (VECTORS @ VECTORS[like or unlike].T).max(axis=1)
    for neighbour, row in zip(answer.neighbours, rows_of(answer), strict=True):
        assert neighbour.similarity == pytest.approx(near[row], abs=2e-6)
        if neighbour.score is not None:
            assert neighbour.score == pytest.approx(scores[row], abs=2e-6)


def test_one_like_is_a_search_by_source(searcher: Searcher) -> None:
    alone = searcher.similar_to_source("s5", ALL).neighbours
    for strategy in ("mean", "best"):
        examples = Examples(["s5"], strategy=strategy)
        assert searcher.similar_to_examples(examples, ALL).neighbours == alone


def test_one_unlike_is_the_least_similar_first(searcher: Searcher) -> None:
    least = searcher.similar_to_source("s5", Options(k=COUNT, least=True))
    assert_is_brute_force(least, -(VECTORS @ VECTORS[5]).astype(float), [5], ALL)
    for strategy in ("mean", "best"):
        examples = Examples(unlike=["s5"], strategy=strategy)
        answer = searcher.similar_to_examples(examples, ALL)
        assert rows_of(answer) == rows_of(least)
    similarities = [n.similarity for n in least.neighbours]
    assert similarities == sorted(similarities)


def test_a_ranker_is_a_logistic_regression(searcher: Searcher) -> None:
    like, unlike = list(range(6)), list(range(20, 29))
    examples = Examples(names(like), names(unlike), strategy="ranker")
    answer = searcher.similar_to_examples(examples, ALL)
    fitted = LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000)
    fitted.fit(VECTORS[like + unlike].astype(float), [1] * 6 + [0] * 9)
    distances = fitted.decision_function(VECTORS.astype(float))
    distances /= np.linalg.norm(fitted.coef_)
    assert_is_brute_force(answer, distances, like + unlike, ALL)
    scores = [n.score for n in answer.neighbours]
    assert scores == pytest.approx(distances[rows_of(answer)], abs=1e-5)


def test_likes_with_pairs_are_moved_as_the_pairs_differ(tmp_path: Path) -> None:
    # Kinds and sizes add up: what is large of the kind of s0 is s0 with s1 less s2.
    rng = np.random.default_rng(3)
    kinds, sizes = np.linalg.qr(rng.normal(size=(24, 24)))[0][:12].reshape(2, 6, 24)
    vectors = (kinds[:, None] + sizes[None]).reshape(36, 24) / np.sqrt(2)
    vectors += 0.03 * rng.normal(size=vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    searcher = make(tmp_path, vectors.astype(np.float32))

    def name(kind: int, size: int) -> str:
        return f"s{6 * kind + size}"

    for kind in range(1, 6):
        for size in range(1, 6):
            examples = Examples([name(kind, 0)], pairs=[(name(0, size), name(0, 0))])
            answer = searcher.similar_to_examples(examples, Options(k=3))
            first = answer.neighbours[0]
            assert first.source.source_id == name(kind, size)
            like = vectors[6 * kind]
            assert first.similarity == pytest.approx(
                float(like @ vectors[6 * kind + size]), abs=1e-5
            )
            moved = like + vectors[size] - vectors[0]
            moved /= np.linalg.norm(moved)
            assert first.score == pytest.approx(
                float(moved @ vectors[6 * kind + size]), abs=1e-5
            )


@given(rows=sides.filter(lambda rows: len(rows) > 1))
@settings(max_examples=30, deadline=None)
def test_pairs_rank_as_their_formula_does(searcher: Searcher, rows: list[int]) -> None:
    half = len(rows) // 2
    likes, unlikes = rows[:half], rows[half : 2 * half]
    pairs = list(zip(names(likes), names(unlikes), strict=True))
    answer = searcher.similar_to_examples(Examples(pairs=pairs), ALL)
    near, far = VECTORS @ VECTORS[likes].T, VECTORS @ VECTORS[unlikes].T
    scores = near.max(axis=1) + np.minimum(near - far, 0).sum(axis=1)
    assert_is_brute_force(answer, scores.astype(float), likes + unlikes, ALL)


def test_vectors_ids_and_repetitions_say_the_same(searcher: Searcher) -> None:
    once = searcher.similar_to_examples(Examples(["s1", "s2"], ["s9"]), ALL)
    again = Examples(["s1", "s2", "S1", "s2"], ["s9"] * 40)
    assert searcher.similar_to_examples(again, ALL).neighbours == once.neighbours
    vectors = Examples(VECTORS[[1, 2]].tolist(), [VECTORS[9].tolist()])
    found = searcher.similar_to_examples(vectors, ALL)
    # What a vector is of is not known: its own source may be found.
    assert {1, 2} & {row % OBJECTS for row in rows_of(found)} == {1, 2}
    others = [row for row in rows_of(found) if row % OBJECTS not in {1, 2, 9}]
    assert others == rows_of(once)


def test_filters_exclusions_and_thresholds_hold_for_examples(
    searcher: Searcher,
) -> None:
    for strategy in STRATEGIES:
        like, unlike = names(range(10)), names(range(200, 210))
        examples = Examples(like, unlike, strategy=strategy)
        options = Options(
            k=1000, where="n >= 20 and n < 60", exclude=["s30"], min_similarity=0.1
        )
        found = searcher.similar_to_examples(examples, options).neighbours
        assert found
        assert all(n.similarity >= 0.1 for n in found)
        rows = {int(n.source.source_id[1:]) for n in found}
        assert rows <= set(range(20, 60)) - {30} - set(range(50, 60))


def test_pages_of_examples_join(searcher: Searcher) -> None:
    examples = Examples(["s1", "s2"], ["s9"], strategy="best")
    whole = rows_of(searcher.similar_to_examples(examples, ALL))
    pages = []
    for offset in range(0, len(whole), 7):
        page = Options(k=7, offset=offset)
        pages += rows_of(searcher.similar_to_examples(examples, page))
    assert pages == whole


UNIT = VECTORS[0].tolist()


@pytest.mark.parametrize(
    ("examples", "parameter", "words"),
    [
        (Examples(), "like", "it was 0"),
        (Examples(["s1"] * (MAX_EXAMPLES + 1)), "like", str(MAX_EXAMPLES)),
        (Examples(["s1"], ["s1"]), "unlike", "s1 is both"),
        (Examples(["s1"], ["s2", "S1"]), "unlike", "s1 is both"),
        (Examples([UNIT], [UNIT]), "unlike", "a vector is both"),
        (Examples(pairs=[("s1", "s1")]), "pairs", "s1 is both"),
        (Examples(unlike=["s1"], pairs=[("s2", "s3")]), "unlike", "of their own"),
        (Examples(pairs=[("s2", "s3")], strategy="best"), "strategy", "their own|own"),
        (Examples(["s1"], strategy="worst"), "strategy", "mean, best"),  # type: ignore[arg-type]
        (Examples([UNIT[:5]]), "like[0]", "5 numbers"),
        (Examples(["s1", [0.0] * 24]), "like[1]", "norm"),
        (Examples([[float("nan")] * 24]), "like[0]", "finite"),
        (Examples([[1e200] * 24]), "like[0]", "finite"),
        (Examples([(2 * VECTORS[0]).tolist()]), "like[0]", "norm was 2"),
        (Examples([UNIT, (-VECTORS[0]).tolist()]), "strategy", "cancel"),
        (Examples(names(range(9)), strategy="ranker"), "unlike", "at least 5"),
        (
            Examples(names(range(4)), names(range(9, 20)), strategy="ranker"),
            "like",
            "there were 4 and 11",
        ),
    ],
)
def test_examples_that_cannot_be_used_are_named(
    searcher: Searcher, examples: Examples, parameter: str, words: str
) -> None:
    with pytest.raises(InvalidQueryError, match=words) as caught:
        searcher.similar_to_examples(examples, Options())
    assert caught.value.parameter == parameter


def test_unknown_examples_are_all_named(searcher: Searcher) -> None:
    examples = Examples(["s1"], ["nobody", "s2", "no\0one", "x" * 3000])
    with pytest.raises(UnknownExamplesError) as caught:
        searcher.similar_to_examples(examples, Options())
    assert caught.value.source_ids == ["nobody", "no\0one", "x" * 3000]
    assert caught.value.parameter == "unlike"
    assert len(str(caught.value)) < 300


def test_the_least_number_for_a_ranker_is_enough(searcher: Searcher) -> None:
    least = LEAST_FOR_RANKER
    examples = Examples(
        names(range(least)), names(range(50, 50 + least)), strategy="ranker"
    )
    assert searcher.similar_to_examples(examples, Options()).neighbours


def test_as_many_examples_as_may_be_are_answered(searcher: Searcher) -> None:
    like = (names(range(COUNT)) * 4)[:MAX_EXAMPLES]
    answer = searcher.similar_to_examples(Examples(like, strategy="best"), ALL)
    assert answer.neighbours == []
    assert not answer.more
