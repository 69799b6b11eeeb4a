"""A server for the generations that do not fit into memory, FAISS for the others.

The files of a generation are the truth, and answers are the same numbers whatever
searches them: every process may decide for itself, by its own memory.
"""

import logging

import sqlalchemy as sa

from twinjet.index.errors import IndexUnavailableError
from twinjet.index.vectors.engine import VectorEngine
from twinjet.index.vectors.policy import fits, half_of_memory
from twinjet.index.vectors.port import VectorIndex, Vectors

_log = logging.getLogger(__name__)


class AutomaticEngine:
    """One server, or FAISS; see `twinjet.index.vectors.engine.VectorEngine`.

    Parameters
    ----------
    server
        That takes what does not fit.
    memory_bytes
        That rows and codes may fill here; half of the machine's when None.
    """

    def __init__(
        self, server: VectorEngine, *, memory_bytes: int | None = None
    ) -> None:
        self._server = server
        self._memory_bytes = memory_bytes or half_of_memory()

    def load(self, name: str, vectors: Vectors) -> None:
        """Have the server hold what does not fit here."""
        if not fits(*vectors.shape, memory_bytes=self._memory_bytes):
            self._server.load(name, vectors)

    def open(
        self, name: str, count: int, vectors: Vectors | None
    ) -> VectorIndex | None:
        """The server's index, or None where FAISS is to search the files."""
        fit = vectors is not None and fits(
            *vectors.shape, memory_bytes=self._memory_bytes
        )
        if fit:
            return None
        if vectors is not None and name not in self._server.loaded():
            # A machine with more memory built it, or it is from before the server.
            _log.warning("%s is not in the server, and is searched here", name)
            return None
        return self._server.open(name, count, vectors)

    def check(self, name: str, count: int) -> None:
        """See whether what the server holds is all there."""
        self._server.check(name, count)

    def publish(self, name: str) -> None:
        """Have other programs see it, if the server holds it.

        A server that is away does not undo what is published.
        """
        try:
            if name in self._server.loaded():
                self._server.publish(name)
        except IndexUnavailableError as exc:
            _log.warning("other programs do not see %s: %s", name, exc)

    def loaded(self) -> list[str]:
        """What the server holds."""
        return self._server.loaded()

    def drop(self, name: str) -> None:
        """Remove it from the server."""
        self._server.drop(name)


def offers_pgvector(database: sa.Engine) -> bool:
    """Whether a database is a PostgreSQL that has the extension, or could have it."""
    if database.dialect.name != "postgresql":
        return False
    available = sa.text("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'")
    with database.connect() as connection:
        return connection.scalar(available) is not None
