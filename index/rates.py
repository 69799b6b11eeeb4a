"""How much each caller has asked for of late, known to all processes of a service.

Of a caller one number is kept: when all that was asked for would be paid off at the
rate that is allowed (the generic cell rate algorithm, ITU-T I.371). One statement looks
and counts, so that processes need no lock of ours. The numbers are worth nothing after
a minute: nothing waits for the disk, in a file of its own beside SQLite, or in an
unlogged table of the PostgreSQL of the metadata, which machines share.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event

from twinjet.index.database import create_engine, refuse_damaged
from twinjet.index.errors import DatabaseDamagedError
from twinjet.index.home import Home
from twinjet.index.waiting import bound_waiting

_MINUTE_US = 60_000_000

# Others hold SQLite's lock for a fraction of a millisecond.
_BUSY_MS = 250

# Longest that PostgreSQL looks and counts, before it gives up itself.
_STATEMENT_S = 1.0

# Callers of the last minute are what there is to look through, once a minute.
_SWEEP_US = _MINUTE_US

# Any number, the same for every Twinjet: the key of PostgreSQL's advisory lock.
_LOCK = 0x7714_1E9

_CREATE = """
CREATE {kind} TABLE IF NOT EXISTS rate (
    caller VARCHAR(100) PRIMARY KEY, due BIGINT NOT NULL
)"""

# What lies farther ahead than all that is allowed at once was written by another clock.
_OWED = "CASE WHEN rate.due BETWEEN :now AND :now + :most THEN rate.due ELSE :now END"

_TAKE = sa.text(f"""
INSERT INTO rate (caller, due) VALUES (:caller, :now + :step)
ON CONFLICT (caller) DO UPDATE SET due = {_OWED} + :step
WHERE {_OWED} + :step <= :now + :most
RETURNING due""")  # noqa: S608  # nosec B608 - of constants
_LOOK = sa.text("SELECT due FROM rate WHERE caller = :caller")
_SWEEP = sa.text("DELETE FROM rate WHERE due < :now OR due > :now + :most")


@dataclass(frozen=True)
class Refusal:
    """More was asked for than is allowed."""

    limit: int
    """A minute."""
    actual: int
    """What it would have been."""
    retry_after_s: float
    """Until there is room for one."""


class Rates:
    """Counts what callers ask for; of one thread.

    Parameters
    ----------
    metadata_url
        Of the metadata store: a PostgreSQL counts in itself.
    home
        Has the file of SQLite.
    now_us
        Microseconds of a clock that all processes share.

    Raises
    ------
    SQLAlchemyError
        The store cannot be used.
    """

    def __init__(
        self,
        metadata_url: str,
        home: Home,
        *,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._now_us = now_us
        self._swept_us = now_us()
        if sa.make_url(metadata_url).get_backend_name() == "postgresql":
            self._engine = _in_postgresql(metadata_url)
        else:
            self._engine = _in_file(home.path / "rates.sqlite")

    def take(self, caller: str, per_minute: int) -> Refusal | None:
        """Count one of a caller; None when it is allowed, else nothing is counted.

        All of a minute may be asked for at once; after that there is room for one as
        often as the rate says.

        Parameters
        ----------
        caller
            Any name of up to 100 characters.
        per_minute
            How many are allowed, at least 1.

        Raises
        ------
        DatabaseDamagedError
            The file is damaged; opened once more it is begun anew.
        SQLAlchemyError
            The store does not answer.
        """
        now, step = self._now_us(), -(-_MINUTE_US // per_minute)
        most = step * per_minute
        asked = {"caller": caller, "now": now, "step": step, "most": most}
        with self._engine.begin() as connection:
            if now - self._swept_us > _SWEEP_US:
                self._swept_us = now
                connection.execute(_SWEEP, {"now": now, "most": 2 * _MINUTE_US})
            if connection.execute(_TAKE, asked).first() is not None:
                return None
            due = connection.execute(_LOOK, {"caller": caller}).scalar() or now
        return Refusal(
            limit=per_minute,
            actual=-(-(due - now) // step) + 1,
            retry_after_s=max(0, due + step - now - most) / 1e6,
        )

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()


def _in_postgresql(url: str) -> sa.Engine:
    engine = sa.create_engine(
        url,
        pool_size=1,
        max_overflow=0,
        # One statement, one journey; it is all or nothing by itself.
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
        connect_args={
            "options": f"-c statement_timeout={round(1000 * _STATEMENT_S)}",
        },
    )
    bound_waiting(engine, 2 * _STATEMENT_S)
    with engine.connect() as connection:
        own = connection.execution_options(isolation_level="READ COMMITTED")
        with own.begin():
            own.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            own.execute(sa.text(_CREATE.format(kind="UNLOGGED")))
    return engine


def _in_file(path: Path) -> sa.Engine:
    try:
        return _open(path)
    except DatabaseDamagedError:
        # After a power cut: it was never synced, and is worth nothing.
        for ending in ("", "-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        return _open(path)


def _open(path: Path) -> sa.Engine:
    engine = create_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", _careless)
    writer = engine.execution_options(twinjet_write=True)
    try:
        refuse_damaged(engine)
        with writer.begin() as connection:
            connection.execute(sa.text(_CREATE.format(kind="")))
    except BaseException:
        engine.dispose()
        raise
    return writer


def _careless(connection: sa.engine.interfaces.DBAPIConnection, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = OFF")
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    cursor.close()
