"""A linear head that draws sources of one kind together.

In closed form: Fisher's discriminant directions of the backbone's features, and beside
them the features themselves, which go on telling apart what no kind does. The kinds are
those of simulated sources, which need no person, or what people said of real ones.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from threadpoolctl import threadpool_limits

from twinjet.model.errors import DatasetError

LEAST_OF_A_KIND = 30
"""Of a kind of fewer sources no direction is learned."""


@dataclass(frozen=True)
class MetricHead:
    """How to fit a head; both values were chosen on the development folds.

    `benchmarks/recipes/heads.py` prints what there was to choose from.
    """

    shrinkage: float
    """Of the covariances, that within kinds and that of all, towards their mean
    variance in every direction, 0 to 1: the less the kinds resemble what is asked
    about, the more. Without it the directions are Fisher's."""
    rest: float
    """Length of the features beside that of the directions."""

    def fit(
        self,
        features: NDArray[np.float32],
        kinds: NDArray[np.str_],
        *,
        real: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """The linear map under which cosines follow kinds.

        Parameters
        ----------
        features
            Shape (N, F), of the backbone.
        kinds
            Shape (N,): kind of each; those of a kind of fewer than 30 are not used.
        real
            Shape (M, F): centred features of real sources, along which lengths are
            measured.

        Returns
        -------
        ndarray
            Shape (F, C - 1 + F), float32, for C kinds: multiply features by it from
            the right. The first C - 1 columns are the discriminant directions (Fisher
            1936, Annals of Eugenics 7, 179), together of length 1 in the mean square.

        Raises
        ------
        DatasetError
            Fewer than two kinds are left.

        Examples
        --------
        >>> rng = np.random.default_rng(0)
        >>> kinds = np.repeat(["one", "two"], 50)
        >>> features = rng.normal(size=(100, 3)).astype("f4")
        >>> features[:, 0] += 4 * (kinds == "two") - 2
        >>> head = MetricHead(shrinkage=0.1, rest=0.5)
        >>> head.fit(features, kinds, real=features).shape
        (3, 4)
        """
        large = large_kinds(kinds)
        used = np.isin(kinds, large)
        known, asked = features[used].astype(np.float64), real.astype(np.float64)
        spread = known.std(axis=0) + 1e-9
        analysis = LinearDiscriminantAnalysis(solver="eigen", shrinkage=self.shrinkage)
        with threadpool_limits(1, user_api="blas"):
            analysis.fit(known / spread, kinds[used])
            directions = analysis.scalings_[:, : len(large) - 1] / spread[:, None]
            directions /= _length(asked @ directions)
        rest = self.rest / _length(asked) * np.eye(known.shape[1])
        return np.hstack([directions, rest]).astype(np.float32)


def large_kinds(kinds: NDArray[np.str_]) -> NDArray[np.str_]:
    """Kinds of 30 sources or more.

    Raises
    ------
    DatasetError
        Fewer than two.
    """
    names, sizes = np.unique(kinds, return_counts=True)
    large: NDArray[np.str_] = names[sizes >= LEAST_OF_A_KIND]
    if len(large) < 2:  # noqa: PLR2004 - to tell apart
        found = dict(zip(names.tolist(), sizes.tolist(), strict=True))
        msg = (
            f"a metric head takes two kinds of {LEAST_OF_A_KIND} sources or more; "
            f"there are {found}"
        )
        raise DatasetError(msg, limit=LEAST_OF_A_KIND, actual=len(large))
    return large


def _length(values: NDArray[np.float64]) -> float:
    """Root of the mean square norm of rows."""
    return float(np.sqrt((values**2).sum(axis=1).mean())) or 1.0
