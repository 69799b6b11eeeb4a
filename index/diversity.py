"""Neighbours that are not all alike: maximal marginal relevance."""

import numpy as np
from numpy.typing import NDArray

from twinjet.index.vectors.port import Vectors

# Neighbours that are put into another order; what comes after them stays in its own.
# A fixed number: were it that of a page, pages would not join.
POOL = 1000


def diversified(
    relevance: Vectors, vectors: Vectors, diversity: float, count: int
) -> NDArray[np.int64]:
    """The order in which each next one is relevant and unlike those before it.

    Parameters
    ----------
    relevance
        Shape (n,), descending, as a cosine or a distance along one.
    vectors
        Shape (n, D), unit norm.
    diversity
        0 keeps the order, 1 looks at nothing but unlikeness.
    count
        Of the order, so many from its start; at most n.

    Returns
    -------
    ndarray
        Shape (count,), places in what was given; a longer one begins with a shorter.

    Notes
    -----
    Carbonell & Goldstein 1998, SIGIR '98, 335, doi:10.1145/290941.291025: the largest
    ``(1 - diversity) * relevance - diversity * max cos(x, chosen)`` comes next, the
    most relevant first. The cosines are those of the embeddings.

    Examples
    --------
    >>> twins = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    >>> relevance = np.array([0.9, 0.9, 0.4], np.float32)
    >>> diversified(relevance, twins, 0.5, 3).tolist()
    [0, 2, 1]
    """
    order = np.arange(min(count, len(relevance)))
    if diversity == 0 or len(order) == 0:
        return order
    left = np.ones(len(relevance), dtype=bool)
    left[0] = False
    nearest = vectors @ vectors[0]
    for place in range(1, len(order)):
        gain = (1 - diversity) * relevance - diversity * nearest
        gain[~left] = -np.inf
        chosen = int(gain.argmax())  # of equals, the more relevant
        order[place] = chosen
        left[chosen] = False
        np.maximum(nearest, vectors @ vectors[chosen], out=nearest)
    return order
