"""What is wrong with an installation, and what lies about in it; nothing is changed."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from twinjet.index.database import (
    create_engine,
    file_of,
    known_revisions,
    lacks_page_checksums,
    newest_revision,
    refuse_damaged,
    refuse_damaged_file,
    revision_of,
)
from twinjet.index.errors import DatabaseDamagedError, TwinjetIndexError
from twinjet.index.generation import MARK, WATCHED, folder_name
from twinjet.index.home import Home
from twinjet.index.published import open_published
from twinjet.index.schema import EmbeddingRow
from twinjet.index.shards import read_shard
from twinjet.index.store import READY, SourceStore

State = Literal["ok", "note", "damaged"]

# Of a home's own; databases have logs beside them.
_OWN = {
    *("home.id", "build.lock", "generations", "shards", "jobs", "workers"),
    # Cutouts and tables that commands made or fetched, and index from there.
    *("simulated", "cutouts", "catalogues"),
    *("twinjet.sqlite", "twinjet.sqlite-wal", "twinjet.sqlite-shm"),
    *("jobs.sqlite", "jobs.sqlite-wal", "jobs.sqlite-shm"),
    *("rates.sqlite", "rates.sqlite-wal", "rates.sqlite-shm"),
}

# Of a generation.
_FILES = {*WATCHED, MARK}

# Shards and stray files that are named one by one.
_NAMED = 20


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    part: str
    """What it is: ``database``, ``generation 7`` and so on."""
    state: State
    """``note`` is nothing that answers could be wrong by."""
    detail: str


def inspect(home: Home, url: str, jobs_url: str) -> Iterator[Finding]:
    """Look at everything: databases, generations, shards, and what else is there.

    Parameters
    ----------
    home, url, jobs_url
        Of the installation, its metadata and its jobs. What a vector engine was
        loaded with is looked at by those who open it.
    """
    if home.unfinished.exists():
        yield Finding("home", "damaged", "a restore was interrupted: run it once more")
    jobs = file_of(jobs_url)
    if jobs is not None:
        yield _jobs(jobs)
    file = file_of(url)
    if file is not None and not file.exists():
        yield Finding("database", "damaged", f"{file} is not there")
        return
    database = create_engine(url)
    try:
        found = _database(database)
        yield found
        if found.state == "ok":
            yield from _pages(database)
            store = SourceStore(database)
            yield from _generations(home, store)
            yield from _shards(home, database)
            yield from _strays(home, store)
    finally:
        database.dispose()


def _jobs(path: Path) -> Finding:
    if not path.exists():
        return Finding("jobs", "note", f"{path} is not there: no job was ever given")
    try:
        refuse_damaged_file(path)
    except DatabaseDamagedError as exc:
        return Finding("jobs", "damaged", str(exc))
    return Finding("jobs", "ok", f"{path} is whole")


def _database(database: sa.Engine) -> Finding:
    place = database.url.render_as_string(hide_password=True)
    try:
        refuse_damaged(database)
        revision = revision_of(database)
    except (TwinjetIndexError, SQLAlchemyError) as exc:
        return Finding("database", "damaged", str(exc))
    if revision == newest_revision():
        return Finding("database", "ok", f"{place}, version {revision}")
    if revision is None or revision in known_revisions():
        detail = f"{place} is of version {revision}: run `twinjet db upgrade` first"
    else:
        detail = f"{place} is of a later version of Twinjet ({revision})"
    return Finding("database", "note", detail)


def _pages(database: sa.Engine) -> Iterator[Finding]:
    if lacks_page_checksums(database):
        detail = "the server keeps no checksums of its pages (data_checksums is off)"
        yield Finding("database", "note", f"{detail}: it may not notice damage")


def _generations(home: Home, store: SourceStore) -> Iterator[Finding]:
    current = store.current()
    for generation in store.generations():
        part = f"generation {generation.number}"
        if generation.state != READY:
            yield Finding(part, "note", "is being built, or was when its builder died")
            continue
        try:
            opened = open_published(generation, home, store)
        except (TwinjetIndexError, OSError) as exc:
            yield Finding(part, "damaged", str(exc))
            continue
        detail = f"{opened.manifest.count} sources, files and rows as they were built"
        if generation.rows_sha256 is None or generation.manifest_sha256 is None:
            detail = (
                f"{opened.manifest.count} sources; made by an earlier version, which "
                "kept no checksums of rows: index again with --force"
            )
        if current is not None and current.number == generation.number:
            detail += "; in force"
        yield Finding(part, "ok", detail)


def _shards(home: Home, database: sa.Engine) -> Iterator[Finding]:
    query = sa.select(EmbeddingRow.encoder_id, EmbeddingRow.shard).distinct()
    with database.connect() as connection:
        rows = connection.execute(query).all()
    missing, damaged = 0, []
    for encoder, name in rows:
        path = home.shards / encoder / name
        if not path.exists():
            missing += 1
        elif read_shard(path) is None:
            damaged.append(path)
    for path in damaged[:_NAMED]:
        detail = f"{path} cannot be read: the next build makes its embeddings again"
        yield Finding("shard", "damaged", detail)
    whole = len(rows) - missing - len(damaged)
    if whole or not rows:
        yield Finding("shards", "ok", f"{whole} are whole")
    if missing or len(damaged) > _NAMED:
        detail = f"{missing} are not here, {len(damaged)} are damaged: the next build "
        yield Finding("shards", "note", detail + "makes their embeddings again")


def _strays(home: Home, store: SourceStore) -> Iterator[Finding]:
    """What nobody uses; a build may be at work on some of it."""
    known = {folder_name(generation.number) for generation in store.generations()}
    strays = [p for p in _inside(home.path) if p.name not in _OWN]
    for path in _inside(home.generations):
        if path.name not in known or not re.fullmatch(r"g\d{6,}", path.name):
            strays.append(path)
        elif path.is_dir():
            strays += [p for p in _inside(path) if p.name not in _FILES]
    strays += home.shards.glob("*/*.tmp")
    for path in strays[:_NAMED]:
        yield Finding("stray", "note", f"{path} is used by nobody")
    if len(strays) > _NAMED:
        yield Finding("stray", "note", f"{len(strays) - _NAMED} more")


def _inside(folder: Path) -> list[Path]:
    with suppress(FileNotFoundError):
        return sorted(folder.iterdir())
    return []
