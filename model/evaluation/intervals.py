"""Means with their 95 % intervals."""

from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike

_RESAMPLES = 2000


class Figure(TypedDict):
    """A mean over judged sources."""

    value: float
    low: float
    high: float
    """Of the 95 % interval."""
    sources: int
    """How many were judged."""


def mean_of(values: ArrayLike, *, seed: int = 0) -> Figure:
    """Mean of one value a source and its interval by bootstrap over the sources.

    Parameters
    ----------
    values
        Shape (N,), N > 0; NaN where a source has none.
    seed
        Of the resampling.

    Examples
    --------
    >>> mean_of([1.0, 1.0, 1.0])
    {'value': 1.0, 'low': 1.0, 'high': 1.0, 'sources': 3}
    """
    given = np.asarray(values, np.float64)
    given = given[~np.isnan(given)]
    rng = np.random.default_rng(seed)
    means = given[rng.integers(len(given), size=(_RESAMPLES, len(given)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Figure(
        value=round(float(given.mean()), 4),
        low=round(float(low), 4),
        high=round(float(high), 4),
        sources=len(given),
    )
