"""One table of vectors in PostgreSQL, searched by pgvector.

An HNSW graph over half precision (Malkov & Yashunin 2020, IEEE TPAMI 42, 824) gives
candidates, which are compared again with their float32 rows. Small tables, and few
matching rows, are compared one by one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import sqlalchemy as sa

from twinjet.index.errors import IndexUnavailableError
from twinjet.index.vectors.pgvector_sql import (
    Numbers,
    answering,
    query_of,
    rows_of,
    set_all,
)
from twinjet.index.vectors.policy import is_few
from twinjet.index.vectors.port import Rows, Vectors
from twinjet.index.vectors.ranking import best_of, blocks_of

# Candidates to compare with their float32 rows, for each wanted neighbour and at
# least; as broad is the search. The figures that these give are in
# benchmarks/results/engines.md.
_CANDIDATES_PER_NEIGHBOUR = 4
_LEAST_CANDIDATES = 200

# Beyond so many candidates a full comparison is the shorter way.
_MOST_CANDIDATES = 20_000

# What pgvector may be asked for: the breadth of a search, and rows that it looks at
# behind a filter before it gives up (where it does, all that match are compared).
_MOST_BREADTH = 1000
_MOST_WALKED = 50_000

# Two rows of nearly equal similarity may come from PostgreSQL in another order.
_MARGIN = 16

# A search that takes longer is as good as none.
_SEARCH_MS = 30_000


class PgvectorIndex:
    """One table; see `twinjet.index.vectors.port.VectorIndex`."""

    def __init__(
        self,
        database: sa.Engine,
        table: sa.Table,
        shape: tuple[int, int],
        vectors: Vectors | None,
        *,
        scan_from: int,
    ) -> None:
        self._database = database
        self._table = table
        self._count, self._dimension = shape
        self._vectors = vectors
        self._scan_from = scan_from

    @property
    def kind(self) -> str:
        """Engine and index."""
        return "pgvector" if self._count < self._scan_from else "pgvector HNSW halfvec"

    def __len__(self) -> int:
        """How many vectors there are."""
        return self._count

    def vectors(self, rows: Rows) -> Vectors:
        """Vectors of rows: (n,) int64 to (n, D) float32."""
        if self._vectors is not None:
            return np.asarray(self._vectors[rows], dtype=np.float32)
        with self._session() as connection:
            return self._fetched(connection, rows)

    def search(
        self, query: Vectors, k: int, *, among: Rows | None = None, exact: bool = False
    ) -> tuple[Vectors, Rows]:
        """The most similar rows; see `twinjet.index.vectors.port.VectorIndex`."""
        available = self._count if among is None else len(among)
        wanted = max(k * _CANDIDATES_PER_NEIGHBOUR, _LEAST_CANDIDATES)
        exact = exact or self.is_exact(among) or wanted > _MOST_CANDIDATES
        with self._session() as connection:
            rows = np.empty(0, np.int64)
            if not exact:
                rows = self._near(connection, query, wanted, among)
            if len(rows) < min(wanted, available):
                rows = self._compared(connection, query, k + _MARGIN, among)
            rows = np.sort(rows)
            if self._vectors is not None:
                return best_of(query, k, blocks_of(self._vectors, rows))
            return best_of(query, k, [(rows, self._fetched(connection, rows))])

    def is_exact(self, among: Rows | None) -> bool:
        """Whether a search among these rows compares every one of them."""
        few = among is not None and is_few(len(among), self._count)
        return few or self._count < self._scan_from

    @contextmanager
    def _session(self) -> Iterator[sa.Connection]:
        with answering(), self._database.connect() as connection:
            set_all(connection, {"statement_timeout": _SEARCH_MS, "jit": "off"})
            yield connection

    def _near(
        self, connection: sa.Connection, query: Vectors, wanted: int, among: Rows | None
    ) -> Rows:
        """Rows that the graph gives; fewer than wanted where it gave up."""
        set_all(
            connection,
            {
                "hnsw.ef_search": min(wanted, _MOST_BREADTH),
                "hnsw.iterative_scan": "relaxed_order",
                "hnsw.max_scan_tuples": _MOST_WALKED,
                "hnsw.scan_mem_multiplier": 16,
                # Nothing but the graph: it need not be the cheapest by the planner.
                "enable_seqscan": "off",
                "enable_sort": "off",
            },
        )
        half = Numbers("halfvec", self._dimension)
        distance = sa.cast(self._table.c.v, half).op("<#>")(query_of(query, half))
        return self._ordered(connection, [distance], wanted, among)

    def _compared(
        self, connection: sa.Connection, query: Vectors, most: int, among: Rows | None
    ) -> Rows:
        """The most similar rows of all that there are."""
        set_all(connection, {"enable_seqscan": "on", "enable_sort": "on"})
        whole = Numbers("vector", self._dimension)
        distance = self._table.c.v.op("<#>")(query_of(query, whole))
        return self._ordered(connection, [distance, self._table.c.row], most, among)

    def _ordered(
        self,
        connection: sa.Connection,
        order: list[sa.ColumnElement[Any]],
        most: int,
        among: Rows | None,
    ) -> Rows:
        row = self._table.c.row
        statement = sa.select(row).order_by(*order).limit(most)
        if among is not None and is_few(len(among), self._count):
            statement = statement.where(row == sa.any_(rows_of(among)))
        elif among is not None:
            bits = np.zeros(self._count, dtype=bool)
            bits[among] = True
            packed = np.packbits(bits, bitorder="little").tobytes()
            matches = sa.cast(sa.literal(packed), sa.LargeBinary)
            statement = statement.where(sa.func.get_bit(matches, row) == 1)
        found = connection.scalars(statement).all()
        return np.array(found, dtype=np.int64)

    def _fetched(self, connection: sa.Connection, rows: Rows) -> Vectors:
        """Vectors that the table keeps, in the order of the rows."""
        table = self._table
        sent = sa.func.vector_send(table.c.v, type_=sa.LargeBinary)
        query = sa.select(table.c.row, sent).where(
            table.c.row == sa.any_(rows_of(rows))
        )
        found = {row: bytes(data) for row, data in connection.execute(query)}
        if len(found) != len(np.unique(rows)):
            msg = f"pgvector has {len(found)} of {len(rows)} rows of {table.name}"
            raise IndexUnavailableError(msg, limit=len(rows), actual=len(found))
        # Their number and two spare bytes, then float32 in network order.
        data = b"".join(found[row][4:] for row in rows.tolist())
        return (
            np.frombuffer(data, ">f4")
            .astype(np.float32)
            .reshape(len(rows), self._dimension)
        )
