"""What a search ranks by: one vector, or several examples under a strategy.

Every strategy gives each source a score, the larger the earlier, and the cosine to the
example that it is most like; the two are the same where there is one example.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from twinjet.index.errors import InvalidQueryError
from twinjet.index.vectors.port import Vectors
from twinjet.index.vectors.ranking import settled

Strategy = Literal["mean", "best", "ranker"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

# Likes and unlikes, each, that a ranker is fitted to. With fewer the boundary is the
# difference of two accidental means, which is what `mean` says without pretence.
LEAST_FOR_RANKER = 5

# Inverse strength of the ridge on the ranker's weights. Embeddings are of unit norm, so
# that the margin of a clear boundary is reached at weights of some tens.
_RANKER_C = 10.0

# Of the difference of two means of unit vectors: shorter ones are rounding.
_LEAST_LENGTH = 1e-4


@dataclass(frozen=True)
class Scorer:
    """How vectors are ranked.

    Attributes
    ----------
    references
        Shape (m, D), unit norm: the similarity of a source is its largest cosine to
        one of these.
    score
        Of vectors (n, D), shape (n,), float32; ``-inf`` leaves a source out.
    direction
        Shape (D,), unit norm, if the score is the cosine to it and the best are near
        it, as a vector index can find them; else every vector is scored.
    named
        Whether the score is another number than the similarity.
    sign
        Of the score of a single reference, where it is its cosine or the contrary.
    """

    references: Vectors
    score: Callable[[Vectors], Vectors]
    direction: Vectors | None = None
    named: bool = True
    sign: Literal[1, -1] = 1

    def similarities(self, vectors: Vectors) -> Vectors:
        """Cosine of vectors (n, D) to the most similar reference, shape (n,)."""
        references = self.references
        if len(references) == 1:
            return settled(vectors, references[0])
        exact = vectors.astype(np.float64) @ references.T.astype(np.float64)
        return settled(vectors, references[exact.argmax(axis=1)])

    def settled(self, vectors: Vectors) -> Vectors:
        """Scores (n,) of vectors (n, D) that do not depend on how many they are."""
        if self.direction is not None:
            return settled(vectors, self.direction)
        if not self.named and len(self.references) == 1:
            return self.sign * settled(vectors, self.references[0])
        # Of float64 vectors all sums are in float64.
        exact: Any = vectors.astype(np.float64)
        return np.asarray(self.score(exact), np.float32)


def nearest_to(vector: Vectors) -> Scorer:
    """By cosine to a vector (D,), the largest first."""
    return Scorer(vector[None], lambda x: x @ vector, direction=vector, named=False)


def farthest_from(vector: Vectors) -> Scorer:
    """By cosine to a vector (D,), the smallest first."""
    return Scorer(vector[None], lambda x: -(x @ vector), named=False, sign=-1)


def scorer_of(likes: Vectors, unlikes: Vectors, strategy: Strategy) -> Scorer:
    """Scorer of examples and counter-examples.

    With unlikes alone the least similar come first, and the similarity is that to the
    nearest of them.

    Parameters
    ----------
    likes, unlikes
        Shapes (m, D) and (n, D), float32, unit norm, not both empty.
    strategy
        ``mean``, ``best`` or ``ranker``: see `mean_of`, `best_of`, `ranker_of`.

    Raises
    ------
    InvalidQueryError
        The examples cancel each other, or are too few for a ranker.
    """
    if strategy == "ranker":
        return ranker_of(likes, unlikes)
    if strategy == "best":
        return best_of(likes, unlikes)
    return mean_of(likes, unlikes)


def mean_of(likes: Vectors, unlikes: Vectors) -> Scorer:
    """By cosine to the mean of the likes minus the mean of the unlikes.

    Raises
    ------
    InvalidQueryError
        Nothing is left of the difference.

    Notes
    -----
    Relevance feedback without an original query and with equal weights (Rocchio 1971,
    in: Salton, The SMART Retrieval System, p. 313):
    ``q = mean(likes) - mean(unlikes)``, brought to unit norm.

    Examples
    --------
    >>> up, right = np.eye(2, dtype=np.float32)
    >>> mean_of(np.stack([up, right]), np.empty((0, 2), np.float32)).direction.round(3)
    array([0.707, 0.707], dtype=float32)
    """
    if len(likes) + len(unlikes) == 1:
        return nearest_to(likes[0]) if len(likes) else farthest_from(unlikes[0])
    difference = _mean(likes) - _mean(unlikes)
    length = float(np.linalg.norm(difference))
    if length < _LEAST_LENGTH:
        msg = (
            "the examples cancel each other: nothing is left of the mean of the likes "
            "minus the mean of the unlikes; leave some out, or ask for the best match"
        )
        raise InvalidQueryError(
            msg, parameter="strategy", limit=_LEAST_LENGTH, actual=length
        )
    direction = (difference / length).astype(np.float32)
    return Scorer(
        likes if len(likes) else unlikes,
        lambda x: x @ direction,
        # Away from all examples there is nothing that an index was made to find.
        direction=direction if len(likes) else None,
    )


def best_of(likes: Vectors, unlikes: Vectors) -> Scorer:
    """By cosine to the like that a source is most similar to.

    A source that is more similar to an unlike than to every like is left out: with as
    many likes and unlikes as one cares to give, each claims its part of the space (the
    rule of the nearest neighbour; Cover & Hart 1967, IEEE Trans. Inf. Theory 13, 21).
    With unlikes alone, by cosine to the nearest of them, the smallest first.
    """
    if not len(likes):
        return Scorer(
            unlikes, lambda x: -(x @ unlikes.T).max(axis=1), named=False, sign=-1
        )
    if len(likes) == 1 and not len(unlikes):
        return nearest_to(likes[0])

    def score(vectors: Vectors) -> Vectors:
        nearest: Vectors = (vectors @ likes.T).max(axis=1)
        if len(unlikes):
            nearest[(vectors @ unlikes.T).max(axis=1) > nearest] = -np.inf
        return nearest

    return Scorer(likes, score, named=False)


def ranker_of(likes: Vectors, unlikes: Vectors) -> Scorer:
    """By the distance from a fitted boundary between likes and unlikes.

    The score is positive on the side of the likes; its unit is that of the embedding,
    whose vectors have the length 1.

    Raises
    ------
    InvalidQueryError
        There are fewer than `LEAST_FOR_RANKER` of either, or nothing tells them apart.

    Notes
    -----
    Logistic regression on the embedding with a ridge (le Cessie & van Houwelingen 1992,
    Applied Statistics 41, 191), both kinds weighted alike. The values of its sigmoid
    are of no use here: examples are chosen, not drawn.
    """
    for name, given in (("like", likes), ("unlike", unlikes)):
        if len(given) < LEAST_FOR_RANKER:
            msg = (
                f"a ranker needs at least {LEAST_FOR_RANKER} likes and "
                f"{LEAST_FOR_RANKER} unlikes; there were {len(likes)} and "
                f"{len(unlikes)}: give more, or take the strategy mean or best"
            )
            raise InvalidQueryError(
                msg, parameter=name, limit=LEAST_FOR_RANKER, actual=len(given)
            )
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - two seconds, for what few commands do

    model = LogisticRegression(C=_RANKER_C, class_weight="balanced", max_iter=1000)
    kinds = np.repeat([1, 0], [len(likes), len(unlikes)])
    model.fit(np.concatenate([likes, unlikes]).astype(np.float64), kinds)
    weights: NDArray[np.float64] = model.coef_[0]
    length = float(np.linalg.norm(weights))
    if length < _LEAST_LENGTH:
        msg = "nothing tells the likes from the unlikes: their embeddings are the same"
        raise InvalidQueryError(msg, parameter="strategy", actual=length)
    normal = (weights / length).astype(np.float32)
    shift = np.float32(model.intercept_[0] / length)
    return Scorer(likes, lambda x: x @ normal + shift)


def context_of(positives: Vectors, negatives: Vectors) -> Scorer:
    """By pairs of a positive and a negative example: (m, D) each.

    The score is the cosine to the nearest positive, less whatever a pair is violated
    by: ``max_i cos(x, p_i) + sum_i min(0, cos(x, p_i) - cos(x, n_i))``. A source that
    is nearer to the positive in every pair keeps its cosine.

    Notes
    -----
    The second term is the triplet loss (Schroff et al. 2015, arXiv:1503.03832, eq. 1)
    without margin, the source being its anchor.
    """

    def score(vectors: Vectors) -> Vectors:
        near, far = vectors @ positives.T, vectors @ negatives.T
        scored: Vectors = near.max(axis=1) + np.minimum(near - far, 0).sum(axis=1)
        return scored

    return Scorer(positives, score)


def shifted_by(likes: Vectors, positives: Vectors, negatives: Vectors) -> Scorer:
    """Like these, but as the positives differ from the negatives: (m, D) each.

    By cosine to the mean of the likes moved by the mean difference of the pairs.

    Raises
    ------
    InvalidQueryError
        Nothing is left of the sum.

    Notes
    -----
    The vector offset of Mikolov, Yih & Zweig 2013 (NAACL-HLT, 746):
    ``q = mean(likes) + mean(positives - negatives)``, brought to unit norm. It finds
    something where a difference means the same all over the embedding, which is for
    the caller to try and not for us to promise.

    Examples
    --------
    >>> a, b, c = np.eye(3, dtype=np.float32)
    >>> shifted_by(a[None], b[None], c[None]).direction.round(3)
    array([ 0.577,  0.577, -0.577], dtype=float32)
    """
    moved = _mean(likes) + _mean(positives) - _mean(negatives)
    length = float(np.linalg.norm(moved))
    if length < _LEAST_LENGTH:
        msg = "likes and pairs cancel each other: nothing is left of their sum"
        raise InvalidQueryError(
            msg, parameter="pairs", limit=_LEAST_LENGTH, actual=length
        )
    direction = (moved / length).astype(np.float32)
    return Scorer(likes, lambda x: x @ direction, direction=direction)


def _mean(vectors: Vectors) -> NDArray[np.float64]:
    """Mean of (n, D), zero for none."""
    total = vectors.sum(axis=0, dtype=np.float64)
    return np.asarray(total / max(1, len(vectors)))
