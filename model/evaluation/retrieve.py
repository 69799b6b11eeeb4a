"""How good neighbours are: precision, recall, average precision, gain."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ranks = NDArray[np.int64]
"""Shape (Q, N): rows of the database for each query, most similar first."""


def ranked(
    queries: NDArray[np.float32],
    database: NDArray[np.float32],
    *,
    without: NDArray[np.int64] | None = None,
) -> Ranks:
    """Rows of the database by cosine similarity.

    Parameters
    ----------
    queries, database
        Unit norm, shapes (Q, D) and (N, D).
    without
        Shape (Q,): row of the database that is the query itself, put last; none
        where it is negative.

    Examples
    --------
    >>> import numpy as np
    >>> ranked(np.eye(2, dtype="f4"), np.eye(2, dtype="f4"))
    array([[0, 1],
           [1, 0]])
    """
    similarity = np.einsum("qd,nd->qn", queries, database, optimize=True)
    if without is not None:
        known = without >= 0
        similarity[np.flatnonzero(known), without[known]] = -np.inf
    ranks: Ranks = np.argsort(-similarity, axis=1, kind="stable")
    return ranks


def retrieval(relevant: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    """Measures of each query.

    Parameters
    ----------
    relevant
        Shape (Q, N): whether the answer at each rank is of the query's class; an
        answer that is the query itself is not among them.

    Returns
    -------
    dict
        Shape (Q,) each: average precision ``ap``, precision at 8 (as the paper
        shows) and 10, recall at 100, normalised discounted cumulative gain at 10
        (Järvelin & Kekäläinen 2002, gains 0 and 1). NaN without a relevant answer.

    Examples
    --------
    >>> import numpy as np
    >>> retrieval(np.array([[True, False, True, False]]))["ap"].round(3)
    array([0.833])
    """
    count = relevant.sum(axis=1).astype(np.float64)
    count[count == 0] = np.nan
    rank = np.arange(1, relevant.shape[1] + 1)
    precision = np.cumsum(relevant, axis=1) / rank
    discount = 1 / np.log2(rank[:10] + 1)
    ideal = np.cumsum(discount)
    best = np.array(
        [np.nan if np.isnan(n) else ideal[min(int(n), len(ideal)) - 1] for n in count]
    )
    return {
        "ap": (precision * relevant).sum(axis=1) / count,
        "p8": relevant[:, :8].mean(axis=1) + 0 * count,
        "p10": relevant[:, :10].mean(axis=1) + 0 * count,
        "r100": relevant[:, :100].sum(axis=1) / count,
        "ndcg10": (relevant[:, :10] * discount[: relevant.shape[1]]).sum(axis=1) / best,
    }


def leave_one_out(
    vectors: NDArray[np.float32], members: NDArray[np.bool_]
) -> dict[str, NDArray[np.float64]]:
    """Measures of each member of a class as a query among all other sources.

    Parameters
    ----------
    vectors
        Shape (N, D), unit norm.
    members
        Shape (N,).
    """
    rows = np.flatnonzero(members)
    ranks = ranked(vectors[rows], vectors, without=rows)[:, :-1]
    return retrieval(members[ranks])


def several_examples(
    vectors: NDArray[np.float32],
    members: NDArray[np.bool_],
    *,
    depths: Sequence[int] = (10, 50, 100),
) -> dict[str, NDArray[np.float64]]:
    """Find each member of a rare class with the mean of the others as the query.

    Returns
    -------
    dict
        For each depth, shape (members,): 1 where the member left out is among so
        many answers, the examples themselves not counted. By chance this is
        `depth` over the number of the other sources.
    """
    rows = np.flatnonzero(members)
    total = vectors[rows].sum(axis=0)
    queries = total[None, :] - vectors[rows]
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    others = vectors[~members]
    own = np.einsum("qd,qd->q", queries, vectors[rows])
    ahead = (np.einsum("qd,nd->qn", queries, others) > own[:, None]).sum(axis=1)
    return {f"found_in_{depth}": (ahead < depth).astype(np.float64) for depth in depths}
