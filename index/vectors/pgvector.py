"""pgvector in the PostgreSQL that holds the metadata, from its version 0.8.

A generation is one table of float32 rows; large ones have an HNSW graph.
"""

from typing import Any

import numpy as np
import sqlalchemy as sa

from twinjet.index.errors import IndexUnavailableError
from twinjet.index.vectors.engine import check_held
from twinjet.index.vectors.pgvector_index import PgvectorIndex
from twinjet.index.vectors.pgvector_sql import (
    PREFIX,
    Numbers,
    answering,
    exists,
    set_all,
    table_of,
)
from twinjet.index.vectors.policy import SCAN_FROM
from twinjet.index.vectors.port import Vectors
from twinjet.index.waiting import take_time

# The first version that goes on where a filter leaves too few.
_LEAST_VERSION = (0, 8)

# A row of at most so many numbers fits into a page of the table; longer ones go
# beside it.
_INLINE_DIMENSIONS = 2000

# What a graph is built in, in MB, if PostgreSQL's own setting is less: a build that
# outgrows it slows down tenfold.
_MOST_ROOM_MB = 2048

# Any number, the same for every Twinjet: the key of PostgreSQL's advisory lock.
_LOAD_LOCK = 0x7714_1EA

# A generation is never changed: whoever tries, by mistake, is refused.
_FINAL = """
CREATE OR REPLACE FUNCTION twinjet_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE 'vectors of a generation are not changed'; END $$;
CREATE TRIGGER final BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}
EXECUTE FUNCTION twinjet_final()
"""

# How COPY (FORMAT BINARY) begins and ends, and how many rows go at a time.
_COPY_HEAD = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_COPY_END = b"\xff\xff"
_COPY_ROWS = 4096


class PgvectorEngine:
    """Tables of vectors; see `twinjet.index.vectors.engine.VectorEngine`.

    Parameters
    ----------
    database
        PostgreSQL with the extension, or with the right to create it.
    scan_from
        Number of rows from which there is a graph.
    """

    def __init__(self, database: sa.Engine, *, scan_from: int = SCAN_FROM) -> None:
        self._database = database
        self._scan_from = scan_from

    def load(self, name: str, vectors: Vectors) -> None:
        """Have all vectors, in one transaction: a table that is there is whole."""
        count, dimension = vectors.shape
        with answering(loud=True), self._database.begin() as connection:
            take_time(connection)
            lock = sa.func.pg_advisory_xact_lock(_LOAD_LOCK)
            connection.execute(sa.select(lock))
            if exists(connection, name):
                return
            connection.execute(sa.text("CREATE EXTENSION IF NOT EXISTS vector"))
            _check_version(connection)
            table = table_of(name, dimension)
            table.create(connection)
            storage = "PLAIN" if dimension <= _INLINE_DIMENSIONS else "EXTERNAL"
            alter = f"ALTER TABLE {table.name}"
            connection.execute(sa.text(f"{alter} ALTER v SET STORAGE {storage}"))
            _copy(connection, table, vectors)
            connection.execute(sa.text(f"{alter} ADD PRIMARY KEY (row)"))
            if count >= self._scan_from:
                # Half precision, and some 300 bytes of links.
                _give_room(connection, count * (2 * dimension + 300) >> 20)
                half = sa.cast(table.c.v, Numbers("halfvec", dimension))
                sa.Index(
                    f"{table.name}_near",
                    half.label("v"),
                    postgresql_using="hnsw",
                    postgresql_ops={"v": "halfvec_ip_ops"},
                ).create(connection)
            connection.exec_driver_sql(_FINAL.format(table=table.name))
            connection.execute(sa.text(f"ANALYZE {table.name}"))

    def open(self, name: str, count: int, vectors: Vectors | None) -> PgvectorIndex:
        """The index of what was loaded; counts its rows."""
        held = dimension = 0
        with answering(), self._database.connect() as connection:
            if exists(connection, name):
                _check_version(connection)
                # The dimension is what the type of the column says.
                table = table_of(name, 1)
                counted = sa.select(sa.func.count()).select_from(table)
                held = connection.scalar(counted) or 0
                first = sa.select(sa.func.vector_dims(table.c.v)).limit(1)
                dimension = connection.scalar(first) or 0
        check_held(held, count, name=name, engine="pgvector")
        return PgvectorIndex(
            self._database,
            table_of(name, dimension),
            (count, dimension),
            vectors,
            scan_from=self._scan_from,
        )

    def check(self, name: str, count: int) -> None:
        """See whether the table is there; what is in it cannot be changed."""
        with answering(), self._database.connect() as connection:
            held = count if exists(connection, name) else 0
        check_held(held, count, name=name, engine="pgvector")

    def publish(self, name: str) -> None:
        """Nothing: the publication in the same database is the switch."""

    def loaded(self) -> list[str]:
        """Every name that there is."""
        with answering():
            tables = sa.inspect(self._database).get_table_names()
        return [t.removeprefix(PREFIX) for t in tables if t.startswith(PREFIX)]

    def drop(self, name: str) -> None:
        """Remove a table."""
        with answering(), self._database.begin() as connection:
            table_of(name, 1).drop(connection, checkfirst=True)


def _give_room(connection: sa.Connection, wanted_mb: int) -> None:
    """Memory for building a graph, if it is more than there would be."""
    query = sa.text(
        "SELECT pg_size_bytes(current_setting('maintenance_work_mem')) >> 20"
    )
    has_mb = connection.scalar(query) or 0
    room_mb = min(wanted_mb + 64, _MOST_ROOM_MB)
    if room_mb > has_mb:
        set_all(connection, {"maintenance_work_mem": f"{room_mb}MB"})


def _copy(connection: sa.Connection, table: sa.Table, vectors: Vectors) -> None:
    """Rows in PostgreSQL's own binary form: twice as quick as text."""
    dimension = vectors.shape[1]
    form = np.dtype(
        [
            *(("fields", ">i2"), ("row_bytes", ">i4"), ("row", ">i8")),
            *(("v_bytes", ">i4"), ("dimension", ">i2"), ("spare", ">i2")),
            ("v", ">f4", (dimension,)),
        ]
    )
    cursor: Any = connection.connection.cursor()
    with cursor.copy(f"COPY {table.name} (row, v) FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(_COPY_HEAD)
        for start in range(0, len(vectors), _COPY_ROWS):
            part = vectors[start : start + _COPY_ROWS]
            block = np.zeros(len(part), form)
            block["fields"], block["row_bytes"] = 2, 8
            block["v_bytes"], block["dimension"] = 4 + 4 * dimension, dimension
            block["row"] = np.arange(start, start + len(part))
            block["v"] = part
            copy.write(block.tobytes())
        copy.write(_COPY_END)


def _check_version(connection: sa.Connection) -> None:
    query = sa.text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
    version = str(connection.scalar(query))
    if tuple(int(part) for part in version.split(".")[:2]) < _LEAST_VERSION:
        least = ".".join(map(str, _LEAST_VERSION))
        msg = f"pgvector is {version} here, it must be {least} or later"
        raise IndexUnavailableError(msg, limit=least, actual=version)
