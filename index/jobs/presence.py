"""Which workers are alive: each holds a lock that its end gives back.

Of a file on one machine, of PostgreSQL beyond. A killed process, a machine without
power, a cut connection: the system that keeps the lock notices, so that there is no
heartbeat to be late.
"""

import fcntl
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import IO, Protocol

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError


class Presence(Protocol):
    """Who is there."""

    patience_s: float
    """For how long a worker that has died may still look alive, or one that lives
    dead: after a restart of the database all locks are gone until they are taken
    again."""

    def enter(self, worker: str) -> None:
        """Be there until `leave` or the end of this process."""

    def stay(self) -> bool:
        """Come back, if the connection was cut; whether it was."""

    def leave(self) -> None:
        """Be there no longer."""

    def is_there(self, worker: str) -> bool:
        """Whether a worker lives."""


class FilePresence:
    """By locks of files, for workers of one machine.

    Parameters
    ----------
    folder
        Of the files.
    """

    patience_s = 0.0

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None

    def enter(self, worker: str) -> None:
        """Take the lock."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = self._path(worker).open("ab")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def stay(self) -> bool:
        """A file's lock is not lost."""
        return False

    def leave(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            Path(self._file.name).unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def is_there(self, worker: str) -> bool:
        """Whether the lock is held."""
        try:
            with self._path(worker).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        self._path(worker).unlink(missing_ok=True)
        return False

    def _path(self, worker: str) -> Path:
        return self._folder / f"{worker}.lock"


class PostgresPresence:
    """By advisory locks of PostgreSQL, for workers of any machine.

    Parameters
    ----------
    engine
        Of the database; one connection is kept for as long as the worker is there.
    """

    patience_s = 10.0

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._worker: str | None = None
        self._connection: sa.Connection | None = None

    def enter(self, worker: str) -> None:
        """Take the lock."""
        self._worker = worker
        connection = self._engine.connect().execution_options(
            isolation_level="AUTOCOMMIT"
        )
        # Not waited for: an old connection of ours may hold it, half cut.
        taken = connection.scalar(sa.select(sa.func.pg_try_advisory_lock(_key(worker))))
        if taken:
            self._connection = connection
        else:
            connection.close()

    def stay(self) -> bool:
        """Take the lock again, if the connection was cut."""
        if self._worker is None:
            return False
        try:
            if self._connection is not None:
                self._connection.execute(sa.select(1))
                return False
        except SQLAlchemyError:
            self._drop()
        # The next round tries again where the database is away.
        with suppress(SQLAlchemyError):
            self.enter(self._worker)
        return True

    def leave(self) -> None:
        """Give the lock back."""
        self._worker = None
        self._drop()

    def is_there(self, worker: str) -> bool:
        """Whether the lock is held."""
        key = _key(worker)
        with self._engine.connect() as connection:
            free = connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(key)))
        return not free

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):
                connection.invalidate()
                connection.close()


def presence_of(engine: sa.Engine, folder: Path) -> Presence:
    """The kind of presence that goes with a metadata store."""
    if engine.dialect.name == "postgresql":
        return PostgresPresence(engine)
    return FilePresence(folder)


def _key(worker: str) -> int:
    """A signed 64-bit number, as advisory locks have."""
    digest = sha256(f"twinjet worker {worker}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)
