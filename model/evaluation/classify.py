"""How much a linear classifier can read off the embedding, from how many labels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegressionCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from twinjet.model.evaluation.sample import Split

# Neighbours that vote; users look at ten.
NEIGHBOURS = 10

# Strengths of regularisation, chosen by cross-validation within the labels given.
_STRENGTHS = tuple(np.logspace(-4, 0, 5).tolist())
_PARTS = 5


def linear_probe(labels: NDArray[np.str_]) -> Pipeline:
    """An untrained logistic regression on standardised embeddings, fit for `labels`.

    The regularisation is chosen by stratified cross-validation in up to five parts,
    as many as the rarest class has sources; with one source of a class it cannot
    be, and is the middle one.
    """
    rarest = int(np.unique(labels, return_counts=True)[1].min())
    parts = min(_PARTS, rarest)
    strengths = _STRENGTHS if parts > 1 else _STRENGTHS[2:3]
    return make_pipeline(
        StandardScaler(),
        LogisticRegressionCV(
            Cs=list(strengths),
            cv=parts if parts > 1 else [(np.arange(len(labels)),) * 2],
            scoring="neg_log_loss",
            max_iter=2000,
            l1_ratios=(0.0,),
            use_legacy_attributes=False,
        ),
    )


def linear_correct(
    vectors: NDArray[np.float32], labels: NDArray[np.str_], split: Split
) -> NDArray[np.bool_]:
    """For each judged source, whether the linear probe is right."""
    known = labels[split.train]
    probe = linear_probe(known).fit(vectors[split.train], known)
    correct: NDArray[np.bool_] = (
        probe.predict(vectors[split.judge]) == labels[split.judge]
    )
    return correct


def nearest_correct(
    vectors: NDArray[np.float32], labels: NDArray[np.str_], split: Split
) -> NDArray[np.bool_]:
    """For each judged source, whether the vote of its neighbours is right."""
    known = labels[split.train]
    nearest = KNeighborsClassifier(min(NEIGHBOURS, len(known)), metric="cosine")
    nearest.fit(vectors[split.train], known)
    correct: NDArray[np.bool_] = (
        nearest.predict(vectors[split.judge]) == labels[split.judge]
    )
    return correct


def draw(
    labels: NDArray[np.str_], pool: NDArray[np.bool_], count: int, *, seed: int
) -> NDArray[np.bool_]:
    """Choose so many labelled sources of a pool, classes in its proportions.

    Parameters
    ----------
    labels, pool
        Shape (N,).
    count
        At least one of each class is drawn; all when it passes the pool.
    seed
        Of the draw.

    Examples
    --------
    >>> labels = np.array(["a", "b"] * 10)
    >>> int(draw(labels, np.ones(20, bool), 6, seed=0).sum())
    6
    """
    chosen = np.zeros(len(labels), np.bool_)
    rows = np.flatnonzero(pool)
    if count >= len(rows):
        chosen[rows] = True
        return chosen
    rng = np.random.default_rng([seed, count])
    classes, sizes = np.unique(labels[rows], return_counts=True)
    # Largest remainders, one of each class first.
    wanted = (count - len(classes)) * sizes / sizes.sum()
    shares = 1 + np.floor(wanted).astype(np.int64)
    for late in np.argsort(np.floor(wanted) - wanted)[: count - shares.sum()]:
        shares[late] += 1
    for name, share in zip(classes, shares, strict=True):
        members = rows[labels[rows] == name]
        chosen[rng.choice(members, min(share, len(members)), replace=False)] = True
    return chosen


def label_efficiency(
    vectors: NDArray[np.float32],
    labels: NDArray[np.str_],
    split: Split,
    *,
    counts: Sequence[int],
    seeds: int,
) -> dict[int, NDArray[np.float64]]:
    """Of each judged source, how often the linear probe errs over draws of labels.

    Parameters
    ----------
    counts
        Labels to train with; what passes the pool is all of it, drawn once.
    seeds
        Draws of each count.

    Returns
    -------
    dict
        Count of labels to shape (judged,), 0 to 1.
    """
    pool = int(split.train.sum())
    errors = {}
    for count in sorted({min(count, pool) for count in counts}):
        draws = 1 if count == pool else seeds
        wrong = [
            ~linear_correct(
                vectors,
                labels,
                Split(draw(labels, split.train, count, seed=seed), split.judge),
            )
            for seed in range(draws)
        ]
        errors[count] = np.mean(wrong, axis=0)
    return errors
