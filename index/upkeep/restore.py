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
from twinjet.index.durable import READ_ONLY, file_digest, fsync_path, fsync_tree
from twinjet.index.errors import BackupError
from twinjet.index.home import Home
from twinjet.index.opening import refuse_network_disks
from twinjet.index.ownership import join
from twinjet.index.upkeep.databases import load_dump
from twinjet.index.upkeep.manifest import DUMP, NAME, SQLITE, Backup, copy_file

# Of what a restore has not finished.
_STAGED = "tmp-restore-"

# What an empty filesystem has.
_NOTHING = {"lost+found"}


def restore(source: Path, home: Home, url: str) -> Backup:
    """Put a backup in place of nothing.

    Its files are copied into a corner of the home and checked on the way. Only when all
    are right they get their names. From the beginning the home is refused by everything
    but a restore; one that was interrupted is finished by the same once more.

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
        version; there is something already, or a restore of another was interrupted.
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
    refuse_network_disks(home, url)
    if source.resolve().is_relative_to(home.path.resolve()):
        msg = f"{source} lies in the home itself: move it elsewhere"
        raise BackupError(msg, actual=str(source))
    task = _task(source, url)
    again = _make_room(home, database, url, task)
    staged = home.path / f"{_STAGED}{uuid.uuid4().hex[:8]}"
    try:
        staged.mkdir(parents=True)
        # Who starts from here on is refused, and makes no database of its own.
        _write_down(home, task)
        _copy(backup, source, staged)
        if database is not None:
            _check_database(staged / SQLITE)
            _refuse_there(database)
        fsync_tree(staged)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        if not again:
            home.unfinished.unlink(missing_ok=True)
        raise
    _put_in_place(staged, home, database, url, loaded=again and _has_tables(url))
    engine = create_engine(url)
    try:
        refuse_damaged(engine)
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


def _make_room(home: Home, database: Path | None, url: str, task: str) -> bool:
    """See that nothing is there, but for what the same restore has not finished.

    Whether there is something of it.
    """
    again = _is_again(home, task)
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
    if not again:
        if database is not None:
            _refuse_there(database)
        elif _has_tables(url):
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
        for part in _parts(database):
            part.unlink(missing_ok=True)
    return again


def _is_again(home: Home, task: str) -> bool:
    if not home.unfinished.exists():
        return False
    before = home.unfinished.read_text(encoding="utf-8")
    if before != task:
        msg = (
            f"a restore into {home.path} was interrupted: repeat that one, of the "
            f"backup with\n{before}or empty the home and its database first"
        )
        raise BackupError(msg, actual=str(home.path))
    return True


def _parts(database: Path) -> list[Path]:
    """Files of a database; a log without its database would be played over another."""
    return [database.with_name(database.name + end) for end in ("", "-wal", "-shm")]


def _refuse_there(database: Path) -> None:
    for part in _parts(database):
        if part.exists():
            msg = f"{part} is there already: move it away, with what is beside it"
            raise BackupError(msg, actual=str(part))


def _task(source: Path, url: str) -> str:
    """What a restore writes down, so that another one neither ends it nor removes any.

    Its backup by the checksum of the list, and its database.
    """
    database = file_of(url)
    # Without the password.
    place = sa.make_url(url).render_as_string() if database is None else database
    there = place if database is None else database.resolve()
    return f"{NAME} {file_digest(source / NAME)}\ninto {there}\n"


def _write_down(home: Home, task: str) -> None:
    home.unfinished.write_text(task, encoding="utf-8")
    fsync_path(home.unfinished)
    fsync_path(home.path)


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


def _put_in_place(
    staged: Path, home: Home, database: Path | None, url: str, *, loaded: bool
) -> None:
    """Give everything its name; what is between is refused by all who would open it."""
    if database is None:
        dump = staged / DUMP
        if not loaded:  # all of it, in one transaction
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
