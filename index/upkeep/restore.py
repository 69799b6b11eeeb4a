"""An installation from a backup: every byte checked, then all of it or nothing."""

import shutil
import uuid
from pathlib import Path

import sqlalchemy as sa

from twinjet.index.database import (
    create_engine,
    file_of,
    known_revisions,
    refuse_damaged,
    upgrade,
)
from twinjet.index.durable import READ_ONLY, fsync_path, fsync_tree
from twinjet.index.errors import BackupError
from twinjet.index.filesystem import refuse_network
from twinjet.index.home import Home
from twinjet.index.ownership import join
from twinjet.index.schema import InstallationRow
from twinjet.index.upkeep.databases import load_dump
from twinjet.index.upkeep.manifest import DUMP, SQLITE, Backup, copy_file

# Of what a restore has not finished.
_STAGED = "tmp-restore-"

# What an empty filesystem has.
_NOTHING = {"lost+found"}


def restore(source: Path, home: Home, url: str) -> Backup:
    """Put a backup in place of nothing.

    Its files are copied into a corner of the home and checked on the way. Only when all
    are right they get their names; a home in which this was interrupted is refused by
    everything but another restore.

    Parameters
    ----------
    source
        Folder of the backup.
    home
        Must be empty, or not be there yet.
    url
        Of the database: a file that is not there yet, or a PostgreSQL without tables.

    Raises
    ------
    BackupError
        The backup is damaged, incomplete, of another kind of database or of a later
        version, or there is something already.
    """
    backup = Backup.read(source)
    if backup.revision not in known_revisions():
        msg = (
            f"{source} was made by Twinjet {backup.version}, whose tables (version "
            f"{backup.revision}) this one does not know: install that one, or a later"
        )
        raise BackupError(msg, actual=backup.revision)
    database = file_of(url)
    _check_kind(backup, database, source)
    if database is not None:
        refuse_network(database)
    _make_room(home, database, backup, url)
    staged = home.path / f"{_STAGED}{uuid.uuid4().hex[:8]}"
    try:
        staged.mkdir(parents=True)
        _copy(backup, source, staged)
        if database is not None:
            _check_database(staged / SQLITE)
        fsync_tree(staged)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    home.unfinished.write_text(_name_of(database), encoding="utf-8")
    fsync_path(home.unfinished)
    fsync_path(home.path)
    _put_in_place(staged, home, database, url)
    engine = create_engine(url)
    try:
        upgrade(engine)
        join(home, engine)
    finally:
        engine.dispose()
    for folder in backup.generations:
        home.share(home.generations / folder)
    home.unfinished.unlink()
    fsync_path(home.path)
    return backup


def _check_kind(backup: Backup, database: Path | None, source: Path) -> None:
    wanted = DUMP if database is None else SQLITE
    if wanted not in backup.files:
        there, here = ("SQLite", "PostgreSQL")[:: 1 if database is None else -1]
        msg = f"{source} has a {there} database, and TWINJET_DATABASE_URL is a {here}"
        raise BackupError(msg, actual=there)


def _make_room(home: Home, database: Path | None, backup: Backup, url: str) -> None:
    """See that nothing is there, but for what a restore has not finished."""
    again = home.unfinished.exists()
    found = sorted(home.path.iterdir()) if home.path.exists() else []
    kept = [
        p for p in found if not p.name.startswith(_STAGED) and p.name not in _NOTHING
    ]
    if kept and not again:
        msg = (
            f"{home.path} is not empty: it has {kept[0].name}; restore into an empty "
            "folder, or move what is there away"
        )
        raise BackupError(msg, actual=kept[0].name)
    ours = again and home.unfinished.read_text(encoding="utf-8") == _name_of(database)
    if database is not None and database.exists() and not ours:
        msg = f"{database} is there already: move it away"
        raise BackupError(msg, actual=str(database))
    if database is None and _has_tables(url) and not (again and _is_of(url, backup)):
        msg = "the PostgreSQL has tables already: name an empty database"
        raise BackupError(msg)
    for path in found:
        if path.name in _NOTHING or path == home.unfinished:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    if database is not None and again:
        for beside in ("", "-wal", "-shm"):
            database.with_name(database.name + beside).unlink(missing_ok=True)


def _name_of(database: Path | None) -> str:
    """What a restore writes down, so that another one removes no other database."""
    return "" if database is None else str(database.resolve())


def _copy(backup: Backup, source: Path, staged: Path) -> None:
    for name, wanted in backup.files.items():
        try:
            found = copy_file(source / name, staged / name)
        except OSError as exc:
            msg = f"{source / name} cannot be copied: {exc}"
            raise BackupError(msg, actual=name) from exc
        if found != wanted:
            msg = f"{source / name} is not what was backed up: its checksum differs"
            raise BackupError(msg, actual=name)
        if name.startswith("generations/") and not name.endswith("/manifest.json"):
            (staged / name).chmod(READ_ONLY)


def _check_database(path: Path) -> None:
    """A database that is whole, of this version from here on."""
    engine = create_engine(f"sqlite:///{path}")
    try:
        refuse_damaged(engine)
        upgrade(engine)
    finally:
        engine.dispose()


def _put_in_place(staged: Path, home: Home, database: Path | None, url: str) -> None:
    """Give everything its name; what is between is refused by all who would open it."""
    if database is None:
        dump = staged / DUMP
        if not _has_tables(url):
            load_dump(sa.make_url(url), dump)
        dump.unlink()
    else:
        database.parent.mkdir(parents=True, exist_ok=True)
        # It may be on another disk than the home.
        shutil.move(staged / SQLITE, database)
        fsync_path(database)
        fsync_path(database.parent)
    for path in sorted(staged.iterdir()):
        path.rename(home.path / path.name)
    staged.rmdir()
    fsync_path(home.path)


def _has_tables(url: str) -> bool:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return bool(sa.inspect(connection).get_table_names())
    finally:
        engine.dispose()


def _is_of(url: str, backup: Backup) -> bool:
    """Whether a database was filled from this backup, or another of its home."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            found = connection.scalar(sa.select(InstallationRow.home_id))
    finally:
        engine.dispose()
    return found == backup.home_id
