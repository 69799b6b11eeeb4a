"""The engine of the metadata store and its migrations."""

import json
import sqlite3
import time
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import event
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from twinjet.index.errors import DatabaseDamagedError, DatabaseReplacedError, StoreError
from twinjet.index.waiting import take_time

# A writer waits so long for another before it gives up.
_BUSY_S = 30.0
_RETRY_S = 0.02

# Who looks whether a file is whole waits so long for who has it alone.
_LOOK_S = 5.0

# Any number, the same for every Twinjet: the key of PostgreSQL's advisory lock.
_MIGRATION_LOCK = 0x7714_1E7


def create_engine(url: str, *, busy_s: float = _BUSY_S) -> sa.Engine:
    """Make the engine for a SQLAlchemy URL.

    On SQLite: write-ahead log, so that readers and the writer do not wait for one
    another; transactions with the option ``twinjet_write`` take the write lock at
    their start, since one that turns from reading to writing can fail however long
    it waits.

    Parameters
    ----------
    url
        Of the database.
    busy_s
        How long a writer of SQLite waits for another.

    Raises
    ------
    StoreError
        The URL cannot be understood, its driver is not installed, or it is a database
        in memory, of which each connection would have its own.
    """
    try:
        if url.startswith("sqlite") and file_of(url) is None:
            msg = "the database URL cannot be used: it names no file"
            raise StoreError(msg)
        engine = sa.create_engine(
            url,
            pool_pre_ping=not url.startswith("sqlite"),
            # Who asks at the same time is bounded by who has a place, on a machine of
            # many cores by more than a pool has room for by default.
            max_overflow=-1,
            # Of people's files and questions, which errors would carry into logs.
            hide_parameters=True,
        )
    except (SQLAlchemyError, ImportError) as exc:
        msg = f"the database URL cannot be used: {exc}"
        raise StoreError(msg) from exc
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", partial(_configure, busy_s))
        event.listen(engine, "begin", _begin)
        event.listen(engine, "handle_error", _tell_damage)
    else:
        event.listen(engine, "handle_error", _tell_broken)
    return engine


def file_of(url: str) -> Path | None:
    """The file of a SQLite database; None of another, or of one in memory."""
    parsed = sa.make_url(url)
    name = parsed.database or ""
    if parsed.get_backend_name() != "sqlite" or not name:
        return None
    in_memory = ":memory:" in name or parsed.query.get("mode") == "memory"
    return None if in_memory else Path(name)


def refuse_damaged(engine: sa.Engine) -> None:
    """Look at every page, row and index of a SQLite database.

    An index that has lost a row finds less than there is, and nobody would notice.

    Raises
    ------
    DatabaseDamagedError
        Something of it is damaged.
    """
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
        if found != "ok":
            raise DatabaseDamagedError(str(engine.url.database), str(found))


def lacks_page_checksums(engine: sa.Engine) -> bool:
    """Whether it is a PostgreSQL that may not notice damage of its pages."""
    if engine.dialect.name != "postgresql":
        return False
    with engine.connect() as connection:
        kept = connection.exec_driver_sql("SHOW data_checksums").scalar()
    return kept == "off"


def refuse_damaged_file(path: Path) -> None:
    """As `refuse_damaged`, of a SQLite database that is not ours; none is whole.

    Raises
    ------
    DatabaseDamagedError
        Something of it is damaged.
    """
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(path, timeout=_LOOK_S)) as connection:
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as exc:
        if _is_busy(exc):
            raise _locked(path) from exc
        raise DatabaseDamagedError(str(path), str(exc)) from exc
    if found != "ok":
        raise DatabaseDamagedError(str(path), str(found))


def _is_busy(exc: sqlite3.Error) -> bool:
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _locked(path: Path) -> StoreError:
    msg = f"the database {path} is locked by another program"
    return StoreError(msg, actual=str(path))


class OpenFile:
    """The file of a SQLite database that is open; nothing of another engine's.

    It can be removed, and another put in its place: who has it open reads and writes
    on what nobody will find again.

    Parameters
    ----------
    url
        Of the database.
    """

    def __init__(self, url: str) -> None:
        self._path = file_of(url)
        self._identity = self._look()

    def refuse_replaced(self) -> None:
        """Look whether it is where it was.

        Raises
        ------
        DatabaseReplacedError
            It is not.
        """
        with suppress(OSError):  # of a disk that does not answer now
            if self._look() != self._identity:
                raise DatabaseReplacedError(str(self._path))

    def refuse_locked(self) -> None:
        """Look whether it can be written, for who would wait without end.

        Raises
        ------
        StoreError
            Another program has it for itself.
        DatabaseDamagedError
            It is damaged.
        """
        if self._path is None:
            return
        try:
            with closing(
                sqlite3.connect(self._path, timeout=_LOOK_S, isolation_level=None)
            ) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
        except sqlite3.DatabaseError as exc:
            if _is_busy(exc):
                raise _locked(self._path) from exc
            if not isinstance(exc, sqlite3.OperationalError):
                raise DatabaseDamagedError(str(self._path), str(exc)) from exc
            # All else is told by who writes.

    def _look(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino


def revision_of(engine: sa.Engine) -> str | None:
    """Version of the tables that are there; None where there are none."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def newest_revision() -> str:
    """Version of the tables of this Twinjet."""
    head = ScriptDirectory.from_config(_migrations()).get_current_head()
    assert head is not None  # noqa: S101 - there are migrations
    return head


def known_revisions() -> set[str]:
    """Versions of tables that this Twinjet can bring to its own."""
    scripts = ScriptDirectory.from_config(_migrations()).walk_revisions()
    return {script.revision for script in scripts}


def _migrations() -> AlembicConfig:
    config = AlembicConfig()
    config.set_main_option("script_location", "twinjet.index:migrations")
    config.set_main_option("path_separator", "os")
    return config


def upgrade(engine: sa.Engine) -> None:
    """Bring the tables to this version; safe when several processes start at once.

    Raises
    ------
    StoreError
        The database cannot be reached or changed, or is of a later version.
    """
    config = _migrations()
    try:
        if _is_of_this_version(engine):
            return
        with engine.execution_options(twinjet_write=True).begin() as connection:
            if connection.dialect.name == "postgresql":
                take_time(connection)
                lock = sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)
                connection.execute(sa.select(lock))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except (SQLAlchemyError, CommandError) as exc:
        msg = f"the metadata store cannot be brought to this version: {cause_of(exc)}"
        raise StoreError(msg) from exc


def cause_of(exc: SQLAlchemyError | CommandError) -> str:
    """What a database said, in one line, and without the statement."""
    return " ".join(str(getattr(exc, "orig", None) or exc).split())


def _is_of_this_version(engine: sa.Engine) -> bool:
    """Of a PostgreSQL, whose lock is waited for as long as another migrates."""
    postgres = engine.dialect.name == "postgresql"
    return postgres and revision_of(engine) == newest_revision()


def _tell_damage(context: ExceptionContext) -> None:
    """A page, a header or a text that cannot be read is our error everywhere."""
    cause = context.original_exception
    if not isinstance(cause, sqlite3.Error):
        return
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    unreadable = str(cause).startswith("Could not decode")
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB} or unreadable:
        place = "" if context.engine is None else str(context.engine.url.database)
        raise DatabaseDamagedError(place, str(cause)) from cause


def _tell_broken(context: ExceptionContext) -> None:
    """What makes no sense of what came is no answer, and its connection of no use.

    libpq says so without a state of SQL, which every error of the server has.
    """
    cause = context.original_exception
    if (
        isinstance(cause, psycopg.DatabaseError)
        and type(cause) in {psycopg.DatabaseError, psycopg.InternalError}
        and cause.sqlstate is None
    ):
        context.is_disconnect = True
        raise OperationalError(None, None, cause) from cause


def _configure(busy_s: float, connection: sqlite3.Connection, _record: object) -> None:
    # The driver would begin transactions by itself, and never at once for writing.
    connection.isolation_level = None
    # PostgreSQL compares what JSON says, SQLite how it is written.
    connection.create_function("same_json", 2, _same_json, deterministic=True)
    connection.execute(f"PRAGMA busy_timeout = {round(1000 * busy_s)}")
    _write_ahead(connection, busy_s)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _write_ahead(connection: sqlite3.Connection, busy_s: float) -> None:
    """Turn the write-ahead log on.

    A database that has none yet is changed for good by the first connection, and
    SQLite does not wait for others that read it just then, whatever its timeout.
    """
    give_up = time.monotonic() + busy_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as exc:
            if (
                exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY
                or time.monotonic() > give_up
            ):
                raise
            time.sleep(_RETRY_S)
        else:
            return


def _same_json(one: str, other: str) -> bool:
    same: bool = json.loads(one) == json.loads(other)
    return same


def _begin(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get("twinjet_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
