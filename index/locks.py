"""Locks of PostgreSQL, for what machines do to one another's files.

The server gives a lock back when its connection ends, whatever ended it: a killed
process, a machine without power, a cut cable. On one machine locks of files do the
same, and these are not needed.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from twinjet.index.errors import BuildInProgressError

# The server looks whether the other end of a lock's connection lives: after 5 s without
# a word, then each 5 s, and after three looks without an answer it is dead. Without
# this it is the system's two hours for a machine that lost its power.
_KEEPALIVES = {
    "tcp_keepalives_idle": 5,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 3,
}


class AdvisoryLock:
    """A lock that is held for as long as its connection lives.

    Parameters
    ----------
    engine
        Of the database; one connection is kept while the lock is held.
    name
        What is locked.
    shared
        Whether others may share it.
    """

    def __init__(self, engine: sa.Engine, name: str, *, shared: bool = False) -> None:
        self._engine = engine
        self._key = _key(name)
        self._take = (
            sa.func.pg_try_advisory_lock_shared
            if shared
            else sa.func.pg_try_advisory_lock
        )
        self._connection: sa.Connection | None = None

    def take(self) -> bool:
        """Take the lock, without waiting; whether it is held now."""
        # No transaction: it would be open for as long as the lock is held.
        connection = self._engine.connect().execution_options(
            isolation_level="AUTOCOMMIT"
        )
        if connection.scalar(sa.select(self._take(self._key))):
            for name, value in _KEEPALIVES.items():
                connection.exec_driver_sql(f"SET {name} = {value}")
            self._connection = connection
            return True
        connection.close()
        return False

    def stay(self) -> bool:
        """Take the lock again, if its connection was cut; whether it was.

        Where the database is away the next call tries again.
        """
        try:
            if self._connection is not None:
                self._connection.execute(sa.select(1))
                return False
        except SQLAlchemyError:
            self.release()
        with suppress(SQLAlchemyError):
            self.take()
        return True

    def release(self) -> None:
        """Give the lock back, with its connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):
                connection.invalidate()
                connection.close()


@contextmanager
def only_builder(engine: sa.Engine) -> Iterator[None]:
    """Hold the right to build among all machines of a database.

    Raises
    ------
    BuildInProgressError
        Another machine holds it.
    """
    if engine.dialect.name != "postgresql":  # the home's own lock is enough
        yield
        return
    lock = AdvisoryLock(engine, "build")
    if not lock.take():
        msg = "another build is at work on another machine of this database"
        raise BuildInProgressError(msg)
    try:
        yield
    finally:
        lock.release()


def lease_of(engine: sa.Engine, number: int) -> AdvisoryLock | None:
    """The lock by which other machines see that a generation is in use.

    None where there are no other machines.
    """
    if engine.dialect.name != "postgresql":
        return None
    return AdvisoryLock(engine, f"generation {number}", shared=True)


@contextmanager
def if_unleased(engine: sa.Engine, number: int) -> Iterator[bool]:
    """Whether no machine uses a generation; while this lasts, none can begin to."""
    if engine.dialect.name != "postgresql":
        yield True
        return
    with if_free(engine, f"generation {number}") as free:
        yield free


@contextmanager
def if_free(engine: sa.Engine, name: str) -> Iterator[bool]:
    """Whether nobody holds a lock; while this lasts, nobody can take it."""
    with engine.connect() as connection:
        free = sa.func.pg_try_advisory_xact_lock(_key(name))
        yield bool(connection.scalar(sa.select(free)))


def _key(name: str) -> int:
    """A signed 64-bit number, as advisory locks have."""
    digest = sha256(f"twinjet {name}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)
