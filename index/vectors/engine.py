"""What a server that searches vectors must be able to do, generation by generation.

The files of a generation stay the truth. A server is loaded from them, looked at
through its index before anything is published, and may lose all it has: it is loaded
again.
"""

from typing import Literal, Protocol

import sqlalchemy as sa

from twinjet.index.errors import IndexUnavailableError, LostVectorsError, StoreError
from twinjet.index.vectors.port import VectorIndex, Vectors

Choice = Literal["auto", "faiss", "pgvector", "milvus"]


class VectorEngine(Protocol):
    """A server that keeps the vectors of several generations, each under a name.

    Every method raises `IndexUnavailableError` where the server does not answer.
    """

    def load(self, name: str, vectors: Vectors) -> None:
        """Have all vectors under a name; one that is there already is left alone.

        Interrupted at any moment, nothing is to be seen under the name.

        Parameters
        ----------
        name
            Of the generation and its contents: lower-case letters, digits and _.
        vectors
            Shape (N, D), float32, unit norm; row numbers are from 0.
        """

    def open(
        self, name: str, count: int, vectors: Vectors | None
    ) -> VectorIndex | None:
        """The index of what was loaded; None where it is left to FAISS and the files.

        Parameters
        ----------
        name
            As it was loaded.
        count
            How many vectors there must be.
        vectors
            The same rows on this machine, memory-mapped: candidates are compared by
            them. Where it is None, by what the server keeps, which is float32 too.

        Raises
        ------
        LostVectorsError
            Nothing was loaded under this name, or not so many.
        """

    def check(self, name: str, count: int) -> None:
        """See whether what was opened is still all there: quick, asked all the time.

        Raises
        ------
        LostVectorsError
            It is gone, or not so many rows are left.
        """

    def publish(self, name: str) -> None:
        """Have other programs see this one as the current one, where they look.

        Twinjet itself goes by the metadata store alone.
        """

    def loaded(self) -> list[str]:
        """Every name that there is, and of what was interrupted."""

    def drop(self, name: str) -> None:
        """Remove what is under a name; nothing is no error."""


def check_held(held: int, count: int, *, name: str, engine: str) -> None:
    """Refuse an engine that has not as many vectors as there must be."""
    if held != count:
        msg = (
            f"{name} has {held} vectors in {engine}, not {count}: `twinjet rollback` "
            "to this generation loads it"
        )
        raise LostVectorsError(msg, limit=count, actual=held)


def open_engine(
    choice: Choice,
    database: sa.Engine,
    milvus_uri: str | None,
    *,
    memory_bytes: int | None = None,
) -> VectorEngine | None:
    """The engine of a choice; None is FAISS in this process.

    Parameters
    ----------
    choice
        ``faiss``, ``pgvector``, ``milvus``; or ``auto``, by which a generation is
        FAISS's where it fits into memory, else the server's that there is.
    database
        Of the metadata, which for pgvector must be PostgreSQL.
    milvus_uri
        Of the Milvus server.
    memory_bytes
        That ``auto`` may fill; half of the machine's when None.

    Raises
    ------
    StoreError
        The choice does not fit the database, or lacks an address.
    IndexUnavailableError
        What the engine needs is not installed.
    """
    # Each is imported where it was chosen: pymilvus is an extra.
    if choice == "faiss":
        return None
    if choice == "pgvector":
        return _pgvector(database)
    if choice == "milvus":
        if milvus_uri is None:
            msg = "Milvus has no address: set TWINJET_MILVUS_URI"
            raise StoreError(msg)
        return _milvus(milvus_uri)
    from twinjet.index.vectors.automatic import (  # noqa: PLC0415 - it imports this
        AutomaticEngine,
        offers_pgvector,
    )

    if milvus_uri is not None:
        return AutomaticEngine(_milvus(milvus_uri), memory_bytes=memory_bytes)
    if offers_pgvector(database):
        return AutomaticEngine(_pgvector(database), memory_bytes=memory_bytes)
    return None


def _pgvector(database: sa.Engine) -> VectorEngine:
    if database.dialect.name != "postgresql":
        msg = (
            "pgvector needs the metadata in PostgreSQL, not "
            f"{database.dialect.name}: set TWINJET_DATABASE_URL"
        )
        raise StoreError(msg, limit="postgresql", actual=database.dialect.name)
    from twinjet.index.vectors.pgvector import PgvectorEngine  # noqa: PLC0415

    return PgvectorEngine(database)


def _milvus(uri: str) -> VectorEngine:
    try:
        from twinjet.index.vectors.milvus import MilvusEngine  # noqa: PLC0415
    except ImportError as exc:
        msg = "the client of Milvus is not installed: pip install 'twinjet[milvus]'"
        raise IndexUnavailableError(msg) from exc
    return MilvusEngine(uri)
