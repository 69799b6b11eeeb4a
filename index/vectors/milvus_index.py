"""One collection of vectors in Milvus.

The lists that are nearest to the query give candidates, which are compared again with
their float32 rows. What must be compared row by row is compared from the memory-mapped
rows where they are on this machine, else from what Milvus keeps, some thousand rows at
a time.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import numpy as np
from pymilvus import MilvusClient

from twinjet.index.errors import IndexUnavailableError
from twinjet.index.vectors.policy import is_few, probes_for
from twinjet.index.vectors.port import Rows, Vectors
from twinjet.index.vectors.ranking import best_of, blocks_of

# Candidates for each wanted neighbour, and at least: Milvus compares float32 too, so
# that they only make up for the order in which it adds.
_CANDIDATES_PER_NEIGHBOUR = 2
_LEAST_CANDIDATES = 100

# Lists that are looked into, at least. The figures that this gives are in
# benchmarks/results/engines.md.
_LEAST_PROBES = 64

# More than a filter would leave on average: what is alike is often filtered alike.
_FILTER_FACTOR = 1.5

_MOST_HITS = 16_384
"""What Milvus gives to one search."""

# Two rows of nearly equal similarity may come in another order.
_MARGIN = 16

# Rows that are asked for together: 17 MB of 515 numbers, of the 64 that it sends.
_FETCH_ROWS = 8192


class MilvusIndex:
    """One collection; see `twinjet.index.vectors.port.VectorIndex`.

    Parameters
    ----------
    client, collection, shape, vectors
        Of the server, of the collection; number of its rows and of their numbers; the
        same rows on this machine.
    answering
        Turns the server's errors into ours.
    lists
        How many there are; where it is None every row is compared over there.
    timeout_s
        How long an answer may take.
    """

    def __init__(
        self,
        client: MilvusClient,
        collection: str,
        shape: tuple[int, int],
        vectors: Vectors | None,
        *,
        answering: Callable[[], AbstractContextManager[None]],
        lists: int | None,
        timeout_s: float,
    ) -> None:
        self._client = client
        self._collection = collection
        self._count, self._dimension = shape
        self._vectors = vectors
        self._answering = answering
        self._lists = lists
        self._timeout_s = timeout_s

    @property
    def kind(self) -> str:
        """Engine and index."""
        return "Milvus" if self._lists is None else f"Milvus IVF{self._lists},Flat"

    def __len__(self) -> int:
        """How many vectors there are."""
        return self._count

    def vectors(self, rows: Rows) -> Vectors:
        """Vectors of rows: (n,) int64 to (n, D) float32."""
        if self._vectors is not None:
            return np.asarray(self._vectors[rows], dtype=np.float32)
        parts = [vectors for _, vectors in self._fetched(rows)]
        return np.concatenate([np.empty((0, self._dimension), np.float32), *parts])

    def search(
        self, query: Vectors, k: int, *, among: Rows | None = None, exact: bool = False
    ) -> tuple[Vectors, Rows]:
        """The most similar rows; see `twinjet.index.vectors.port.VectorIndex`."""
        rows = among
        wanted = max(k * _CANDIDATES_PER_NEIGHBOUR, _LEAST_CANDIDATES)
        if among is None and not (exact and self._lists):
            rows = self._near(query, wanted if self._lists else k + _MARGIN)
        elif among is not None and not (exact or self.is_exact(among)):
            reach = _FILTER_FACTOR * wanted * self._count / len(among)
            hits = self._near(query, int(min(reach + _LEAST_CANDIDATES, _MOST_HITS)))
            if hits is not None:
                hits = hits[np.isin(hits, among)]
                if len(hits) >= min(k + _MARGIN, len(among)):
                    rows = hits
        return best_of(query, k, self._blocks(rows))

    def is_exact(self, among: Rows | None) -> bool:
        """Whether a search among these rows compares every one of them."""
        few = among is not None and is_few(len(among), self._count)
        return few or self._lists is None

    def _near(self, query: Vectors, wanted: int) -> Rows | None:
        """Rows that Milvus finds nearest, ascending; None where it gives too few."""
        wanted = min(wanted, self._count)
        if wanted > _MOST_HITS:
            return None
        probes = {}
        if self._lists is not None:
            holding = probes_for(wanted, lists=self._lists, matching=self._count)
            probes = {"nprobe": min(max(holding, _LEAST_PROBES), self._lists)}
        with self._answering():
            found = self._client.search(
                self._collection,
                [query],
                limit=wanted,
                search_params={"params": probes},
                # Nothing was written since the generation was verified.
                consistency_level="Bounded",
                timeout=self._timeout_s,
            )
        rows = np.sort(np.array([hit.id for hit in found[0]], dtype=np.int64))
        return rows if len(rows) == wanted else None

    def _blocks(self, rows: Rows | None) -> Iterator[tuple[Rows, Vectors]]:
        """Rows, or all, with their vectors."""
        if self._vectors is not None:
            return blocks_of(self._vectors, rows)
        return self._fetched(np.arange(self._count) if rows is None else rows)

    def _fetched(self, rows: Rows) -> Iterator[tuple[Rows, Vectors]]:
        """Rows with the vectors that Milvus keeps, in their order."""
        for start in range(0, len(rows), _FETCH_ROWS):
            part = rows[start : start + _FETCH_ROWS]
            if part[-1] - part[0] == len(part) - 1 and (np.diff(part) == 1).all():
                which = f"row >= {part[0]} and row <= {part[-1]}"
            else:
                which = f"row in {part.tolist()}"
            with self._answering():
                found = self._client.query(
                    self._collection,
                    filter=which,
                    output_fields=["row", "v"],
                    consistency_level="Bounded",
                    timeout=self._timeout_s,
                )
            by_row = {hit["row"]: hit["v"] for hit in found}
            if len(by_row) != len(np.unique(part)):
                msg = f"Milvus has {len(by_row)} of {len(part)} rows"
                raise IndexUnavailableError(msg, limit=len(part), actual=len(by_row))
            vectors = np.array([by_row[row] for row in part.tolist()], np.float32)
            yield part, vectors
