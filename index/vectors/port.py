"""What a vector index must be able to do."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]


class VectorIndex(Protocol):
    """Vectors of one generation, known by row number.

    Vectors are float32 of unit norm, so that the inner product is the cosine.
    """

    @property
    def kind(self) -> str:
        """Name of the kind of index, for the answer's provenance."""

    def __len__(self) -> int:
        """How many vectors there are."""

    def vectors(self, rows: Rows) -> Vectors:
        """Vectors of rows: (n,) int64 to (n, D) float32."""

    def search(
        self, query: Vectors, k: int, *, among: Rows | None = None, exact: bool = False
    ) -> tuple[Vectors, Rows]:
        """The most similar rows.

        Parameters
        ----------
        query
            Shape (D,), float32, unit norm.
        k
            At most so many.
        among
            Only these rows, ascending; all when None.
        exact
            Compare with every vector, whatever it costs.

        Returns
        -------
        similarities
            Shape (m,), float32, descending, m <= k.
        rows
            Shape (m,), int64; equal similarities in ascending order of row.
        """

    def is_exact(self, among: Rows | None) -> bool:
        """Whether a search among these rows compares every one of them."""


def best(similarities: Vectors, rows: Rows | None, k: int) -> tuple[Vectors, Rows]:
    """The k largest, descending, and their rows; ties in ascending order of row.

    Parameters
    ----------
    similarities
        Shape (n,).
    rows
        Shape (n,), ascending; 0 to n - 1 when None.
    k
        At most so many.

    Examples
    --------
    >>> best(np.array([1.0, 3.0, 3.0, 2.0]), np.array([4, 7, 8, 9]), 2)[1].tolist()
    [7, 8]
    """
    count = len(similarities)
    if 0 < k < count:
        # All that tie with the k-th, so that the cut does not choose among them.
        least = np.partition(similarities, count - k)[count - k]
        chosen = np.flatnonzero(similarities >= least)
    else:
        chosen = np.arange(count)
    order = np.argsort(-similarities[chosen], kind="stable")[:k]
    chosen = chosen[order].astype(np.int64, copy=False)
    return similarities[chosen], chosen if rows is None else rows[chosen]
