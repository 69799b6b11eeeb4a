"""Copies of databases that are whole though others write."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event

from twinjet.index.database import create_engine, refuse_damaged_file
from twinjet.index.errors import BackupError, DatabaseDamagedError

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

# Another process may just be changing the whole file.
_BUSY_S = 30.0


def copy_sqlite(source: Path, place: Path) -> None:
    """Copy a SQLite database as it is at one moment; others go on writing.

    A copy of the file and its log, as any program makes it, would be of two moments.

    Raises
    ------
    DatabaseDamagedError
        The copy is damaged, as then the database is.
    BackupError
        There is no room for the copy, or the database stays locked.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            closing(sqlite3.connect(source, timeout=_BUSY_S)) as there,
            closing(sqlite3.connect(place)) as here,
        ):
            there.backup(here)
    except sqlite3.DatabaseError as exc:
        if exc.sqlite_errorcode & 0xFF in _DAMAGE:
            raise DatabaseDamagedError(str(source), str(exc)) from exc
        msg = f"{source} cannot be copied to {place}: {exc}"
        raise BackupError(msg, actual=str(source)) from exc
    refuse_damaged_file(place)


@contextmanager
def dumped(engine: sa.Engine, place: Path) -> Iterator[sa.Engine]:
    """Dump a PostgreSQL; gives an engine that sees just what the dump has.

    Raises
    ------
    BackupError
        There is no `pg_dump`, or it fails.
    """
    url = engine.url.render_as_string(hide_password=False)
    same = create_engine(url).execution_options(isolation_level="REPEATABLE READ")
    with same.connect() as connection:
        # It lasts as long as this transaction.
        snapshot = connection.scalar(sa.select(sa.func.pg_export_snapshot()))
        command = ["pg_dump", "--format=custom", "--no-owner", f"--snapshot={snapshot}"]
        command.append("--exclude-table-data=rate")  # worth nothing in a minute
        _run(engine.url, command, ["--file", str(place)])
        event.listen(
            same,
            "begin",
            lambda other: other.exec_driver_sql(
                f"SET TRANSACTION SNAPSHOT '{snapshot}'"
            ),
        )
        try:
            yield same
        finally:
            connection.close()
            same.dispose()


def load_dump(url: sa.URL, dump: Path) -> None:
    """Fill an empty PostgreSQL from a dump: all of it or nothing.

    Raises
    ------
    BackupError
        There is no `pg_restore`, or it fails.
    """
    _run(
        url,
        ["pg_restore", "--single-transaction", "--exit-on-error", "--no-owner"],
        [str(dump)],
    )


def _run(url: sa.URL, command: list[str], rest: list[str]) -> None:
    program = shutil.which(command[0])
    if program is None:
        msg = (
            f"{command[0]} is not on PATH, and the metadata is in PostgreSQL: install "
            "the client programs of the server's version, or have the database backed "
            "up by who runs it and copy the home beside it"
        )
        raise BackupError(msg, actual=command[0])
    # The password is passed where no list of processes shows it.
    secret = {} if url.password is None else {"PGPASSWORD": str(url.password)}
    plain = url.set(drivername="postgresql", password=None)
    name = plain.render_as_string(hide_password=False)
    done = subprocess.run(  # noqa: S603 - a program of PostgreSQL, and no shell
        [program, *command[1:], f"--dbname={name}", *rest],
        env=os.environ | secret,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        msg = f"{command[0]}: {said[0] if said else 'it failed'}"
        raise BackupError(msg, actual=done.returncode)
