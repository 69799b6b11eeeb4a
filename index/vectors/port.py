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
