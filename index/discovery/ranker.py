"""What a session ranks by: a boundary between what is liked and everything else."""

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from twinjet.index.scorers import Scorer, mean_of
from twinjet.index.vectors.port import Rows, Vectors

# Unlabelled sources that stand for "anything else".
BACKGROUND = 1000

# What the mean losses of likes and of the rest weigh against the ridge, and what part
# of the rest the background is where there are dislikes, too. Chosen on tails of the
# development sky, never on hybrids: benchmarks/results/hunt.md.
LOSS_WEIGHT = 3000.0
BACKGROUND_SHARE = 0.8

# Shorter weights tell nothing from nothing.
_LEAST_LENGTH = 1e-9


def fit_ranker(
    likes: Vectors,
    dislikes: Vectors,
    background: Vectors,
    *,
    loss_weight: float = LOSS_WEIGHT,
    background_share: float = BACKGROUND_SHARE,
) -> Scorer:
    """Fit a boundary; the score is the distance from it, positive towards the likes.

    Parameters
    ----------
    likes, dislikes
        Shapes (m, D), m > 0, and (n, D), float32, unit norm.
    background
        Shape (b, D): unlabelled sources, of which few are of the kind that is sought.
    loss_weight, background_share
        See `LOSS_WEIGHT`, `BACKGROUND_SHARE`.

    Returns
    -------
    Scorer
        Its similarity is that to the nearest like. With nothing but likes it ranks by
        the cosine to their mean.

    Notes
    -----
    Logistic regression with a ridge, likes and the rest weighted alike. A rare kind
    is hardly ever in a random sample, so that unlabelled sources may stand for what
    it is not (Elkan & Noto 2008, KDD '08, 213, doi:10.1145/1401890.1401920); they keep
    a few dislikes, all of which are near the likes, from turning the boundary to where
    nobody looked. The values of its sigmoid say nothing here: labels are chosen.

    Examples
    --------
    >>> like, other = np.eye(2, dtype=np.float32)[:, None]
    >>> scorer = fit_ranker(like, other[:0], other)
    >>> bool(scorer.score(like)[0] > 0 > scorer.score(other)[0])
    True
    """
    if len(dislikes) + len(background) == 0:
        return mean_of(likes, dislikes)
    share = background_share if len(background) else 0.0
    if len(dislikes) == 0:
        share = 1.0
    weights = np.concatenate(
        [
            np.full(len(likes), 1 / len(likes)),
            np.full(len(dislikes), (1 - share) / max(1, len(dislikes))),
            np.full(len(background), share / max(1, len(background))),
        ]
    )
    kinds = np.repeat([1, 0], [len(likes), len(dislikes) + len(background)])
    vectors = np.concatenate([likes, dislikes, background]).astype(np.float64)
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - two seconds, for what few commands do

    # Newton's steps end within 1e-5 of the minimum, where other ways of the library
    # stop at 1e-1: the same labels rank alike on every machine.
    model = LogisticRegression(
        C=loss_weight, solver="newton-cg", tol=1e-8, max_iter=1000
    )
    # One thread: sums of several depend on their number.
    with threadpool_limits(1, user_api="blas"):
        model.fit(vectors, kinds, sample_weight=weights)
    normal: NDArray[np.float64] = model.coef_[0]
    length = float(np.linalg.norm(normal))
    if length < _LEAST_LENGTH:  # all vectors are the same
        return mean_of(likes, dislikes[:0])
    direction = (normal / length).astype(np.float32)
    shift = np.float32(model.intercept_[0] / length)
    return Scorer(likes, lambda x: x @ direction + shift)


def uncertainty(scorer: Scorer) -> Scorer:
    """By nearness to a boundary (Lewis & Gale 1994, SIGIR '94, 3)."""
    return Scorer(scorer.references, lambda x: -np.abs(scorer.score(x)))


def background_rows(count: int, allowed: NDArray[np.bool_]) -> Rows:
    """Some rows at random, ascending, the same for as long as they are allowed.

    Parameters
    ----------
    count
        Rows of the generation.
    allowed
        Shape (count,): not labelled, not known.

    Examples
    --------
    >>> background_rows(4, np.array([True, False, True, True])).tolist()
    [0, 2, 3]
    """
    # Some more than wanted, so that a label takes out one row and shifts no other.
    drawn = np.random.default_rng(0).choice(
        count, min(count, 4 * BACKGROUND), replace=False
    )
    return np.sort(drawn[allowed[drawn]][:BACKGROUND]).astype(np.int64)
