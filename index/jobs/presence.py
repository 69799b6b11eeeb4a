"""Which workers are alive: each holds a lock that its end gives back.

Of a file on one machine, of PostgreSQL beyond. A killed process, a machine without
power, a cut connection: the system that keeps the lock notices, so that there is no
heartbeat to be late.
"""

import fcntl
from pathlib import Path
from typing import IO, Protocol

import sqlalchemy as sa

from twinjet.index.locks import AdvisoryLock, if_free


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

    def is_anybody_there(self) -> bool:
        """Whether any worker lives."""


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

    def is_anybody_there(self) -> bool:
        """Whether any lock is held."""
        return any(self.is_there(file.stem) for file in self._folder.glob("*.lock"))

    def _path(self, worker: str) -> Path:
        return self._folder / f"{worker}.lock"


# What every worker holds a share of.
_ALL = "workers"


class PostgresPresence:
    """By advisory locks of PostgreSQL, for workers of any machine.

    Parameters
    ----------
    engine
        Of the database; two connections are kept for as long as the worker is there.
    """

    patience_s = 10.0

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._lock: AdvisoryLock | None = None
        self._among = AdvisoryLock(engine, _ALL, shared=True)

    def enter(self, worker: str) -> None:
        """Take the lock."""
        self._lock = AdvisoryLock(self._engine, f"worker {worker}")
        # Not waited for: an old connection of ours may hold it, half cut.
        self._lock.take()
        self._among.take()

    def stay(self) -> bool:
        """Take the lock again, if the connection was cut."""
        if self._lock is None:
            return False
        self._among.stay()
        return self._lock.stay()

    def leave(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.release()
            self._among.release()
            self._lock = None

    def is_there(self, worker: str) -> bool:
        """Whether the lock is held."""
        with if_free(self._engine, f"worker {worker}") as free:
            return not free

    def is_anybody_there(self) -> bool:
        """Whether the lock that all workers share is held."""
        with if_free(self._engine, _ALL) as free:
            return not free


def presence_of(engine: sa.Engine, folder: Path) -> Presence:
    """The kind of presence that goes with a metadata store."""
    if engine.dialect.name == "postgresql":
        return PostgresPresence(engine)
    return FilePresence(folder)
