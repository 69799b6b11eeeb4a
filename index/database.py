"""The engine of the metadata store and its migrations."""

import json
import sqlite3
import time

import sqlalchemy as sa
from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from twinjet.index.errors import StoreError

# A writer waits so long for another before it gives up.
_BUSY_MS = 30_000
_RETRY_S = 0.02

# Any number, the same for every Twinjet: the key of PostgreSQL's advisory lock.
_MIGRATION_LOCK = 0x7714_1E7


def create_engine(url: str) -> sa.Engine:
    """Make the engine for a SQLAlchemy URL.

    On SQLite: write-ahead log, so that readers and the writer do not wait for one
    another; transactions with the option ``twinjet_write`` take the write lock at
    their start, since one that turns from reading to writing can fail however long
    it waits.

    Raises
    ------
    StoreError
        The URL cannot be understood, or its driver is not installed.
    """
    try:
        engine = sa.create_engine(
            url,
            pool_pre_ping=not url.startswith("sqlite"),
            # Of people's files and questions, which errors would carry into logs.
            hide_parameters=True,
        )
    except (SQLAlchemyError, ImportError) as exc:
        msg = f"the database URL cannot be used: {exc}"
        raise StoreError(msg) from exc
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure)
        event.listen(engine, "begin", _begin)
    return engine


def upgrade(engine: sa.Engine) -> None:
    """Bring the tables to this version; safe when several processes start at once.

    Raises
    ------
    StoreError
        The database cannot be reached or changed.
    """
    config = AlembicConfig()
    config.set_main_option("script_location", "twinjet.index:migrations")
    config.set_main_option("path_separator", "os")
    try:
        with engine.execution_options(twinjet_write=True).begin() as connection:
            if connection.dialect.name == "postgresql":
                lock = sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)
                connection.execute(sa.select(lock))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except SQLAlchemyError as exc:
        msg = f"the metadata store cannot be brought to this version: {exc}"
        raise StoreError(msg) from exc


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    # The driver would begin transactions by itself, and never at once for writing.
    connection.isolation_level = None
    # PostgreSQL compares what JSON says, SQLite how it is written.
    connection.create_function("same_json", 2, _same_json, deterministic=True)
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    _write_ahead(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Turn the write-ahead log on.

    A database that has none yet is changed for good by the first connection, and
    SQLite does not wait for others that read it just then, whatever its timeout.
    """
    give_up = time.monotonic() + _BUSY_MS / 1000
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
