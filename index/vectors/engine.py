"""What a server that searches vectors must be able to do, generation by generation.

The files of a generation stay the truth. A server is loaded from them, looked at
through its index before anything is published, and may lose all it has: it is loaded
again.
"""

from typing import Literal, Protocol

import sqlalchemy as sa

from twinjet.index.errors import IndexUnavailableError, StoreError
from twinjet.index.vectors.port import VectorIndex, Vectors

Choice = Literal["faiss", "pgvector", "milvus"]


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

    def open(self, name: str, count: int, vectors: Vectors | None) -> VectorIndex:
        """The index of what was loaded.

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
        GenerationDamagedError
            Nothing was loaded under this name, or not so many.
        """

    def publish(self, name: str) -> None:
        """Have other programs see this one as the current one, where they look.

        Twinjet itself goes by the metadata store alone.
        """

    def loaded(self) -> list[str]:
        """Every name that there is, and of what was interrupted."""

    def drop(self, name: str) -> None:
        """Remove what is under a name; nothing is no error."""


def open_engine(
    choice: Choice, database: sa.Engine, milvus_uri: str | None
) -> VectorEngine | None:
    """The engine of a choice; None is FAISS in this process.

    Parameters
    ----------
    choice
        ``faiss``, ``pgvector`` or ``milvus``.
    database
        Of the metadata, which for pgvector must be PostgreSQL.
    milvus_uri
        Of the Milvus server.

    Raises
    ------
    StoreError
        The choice does not fit the database, or lacks an address.
    IndexUnavailableError
        What the engine needs is not installed.
    """
    # Each is imported where it was chosen: pymilvus is an extra.
    if choice == "pgvector":
        if database.dialect.name != "postgresql":
            msg = (
                "pgvector needs the metadata in PostgreSQL, not "
                f"{database.dialect.name}: set TWINJET_DATABASE_URL"
            )
            raise StoreError(msg, limit="postgresql", actual=database.dialect.name)
        from twinjet.index.vectors.pgvector import PgvectorEngine  # noqa: PLC0415

        return PgvectorEngine(database)
    if choice == "milvus":
        if milvus_uri is None:
            msg = "Milvus has no address: set TWINJET_MILVUS_URI"
            raise StoreError(msg)
        try:
            from twinjet.index.vectors.milvus import MilvusEngine  # noqa: PLC0415
        except ImportError as exc:
            msg = "the client of Milvus is not installed: pip install 'twinjet[milvus]'"
            raise IndexUnavailableError(msg) from exc
        return MilvusEngine(milvus_uri)
    return None
