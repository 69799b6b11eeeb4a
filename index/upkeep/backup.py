"""A backup of an installation, while it is being used."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from twinjet.index.database import create_engine, file_of, revision_of
from twinjet.index.durable import fsync_path, fsync_tree, half_done
from twinjet.index.errors import BackupError, GenerationDamagedError
from twinjet.index.generation import Lease, Manifest
from twinjet.index.home import Home
from twinjet.index.locks import AdvisoryLock, lease_of
from twinjet.index.published import check_manifest, check_rows
from twinjet.index.quarantine import refuse_marked
from twinjet.index.schema import EmbeddingRow, InstallationRow
from twinjet.index.store import READY, Generation, SourceStore
from twinjet.index.upkeep.databases import copy_sqlite, dumped
from twinjet.index.upkeep.manifest import (
    DUMP,
    JOBS,
    SQLITE,
    Backup,
    copy_file,
    listed,
)

_log = logging.getLogger(__name__)

# Snapshots of the database until all generations in it can be held; the next one is
# of a moment at which what was just removed is gone.
_TRIES = 10


class _Holds:
    """Keeps generations from being removed while they are copied."""

    def __init__(self, home: Home, engine: sa.Engine) -> None:
        self._home = home
        # One connection for all of them: there may be more than a pool has.
        self._engine = engine
        if engine.dialect.name == "postgresql":
            self._engine = sa.create_engine(engine.url, poolclass=StaticPool)
        self._held: dict[int, tuple[Lease, AdvisoryLock | None]] = {}

    def take(self, generation: Generation) -> None:
        """Hold one.

        Raises
        ------
        GenerationDamagedError
            Its files are gone.
        """
        if generation.number not in self._held:
            elsewhere = lease_of(self._engine, generation.number)
            if elsewhere is not None and not elsewhere.take():
                msg = f"generation {generation.number} is just being removed"
                raise GenerationDamagedError(msg)
            lease = Lease(self._home.generation(generation.folder))
            self._held[generation.number] = lease, elsewhere

    def release(self) -> None:
        """Let all go."""
        for _, elsewhere in self._held.values():
            if elsewhere is not None:
                elsewhere.release()
        self._held.clear()
        if self._engine.dialect.name == "postgresql":
            self._engine.dispose()


def back_up(
    home: Home,
    store: SourceStore,
    jobs_url: str,
    place: Path,
    *,
    with_shards: bool = False,
) -> Backup:
    """Write a backup: database, generations and identity; whole, or not at all.

    Servers and jobs go on meanwhile. What is in it is what was published when the
    database was copied. Without shards embeddings are computed again by the next build.

    Parameters
    ----------
    home, store
        Of the installation.
    jobs_url
        Of the database of the jobs.
    place
        Of the backup; must not be there yet.
    with_shards
        Whether embeddings are in it.

    Raises
    ------
    BackupError
        The place is taken, or in the home, or has no room; a program is missing; or
        nothing of what is published is whole.
    DatabaseDamagedError
        The database is damaged.
    """
    if place.resolve().is_relative_to(home.path.resolve()):
        msg = f"{place} lies in the home itself: name a folder elsewhere"
        raise BackupError(msg, actual=str(place))
    if place.exists():
        msg = f"{place} is there already: name a new folder for each backup"
        raise BackupError(msg, actual=str(place))
    place.parent.mkdir(parents=True, exist_ok=True)
    written = half_done(place)
    written.mkdir()
    holds = _Holds(home, store.engine)
    try:
        backup = _write(home, store, jobs_url, written, holds, with_shards=with_shards)
        backup.write(written)
        fsync_tree(written)
        written.rename(place)
        fsync_path(place.parent)
    finally:
        holds.release()
        shutil.rmtree(written, ignore_errors=True)
    return backup


def _write(
    home: Home,
    store: SourceStore,
    jobs_url: str,
    folder: Path,
    holds: _Holds,
    *,
    with_shards: bool,
) -> Backup:
    files: dict[str, dict[str, Any]] = {}
    generations: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}
    # Jobs first: what the metadata says then is not older than what jobs believe.
    jobs = file_of(jobs_url)
    if jobs is not None and jobs.exists():
        copy_sqlite(jobs, folder / JOBS)
        files[JOBS] = listed(folder / JOBS)
    with _held_copy(store, folder, holds) as there:
        for generation in _ready(there):
            try:
                files |= _copy_generation(generation, there, home, folder)
            except (GenerationDamagedError, OSError) as exc:
                _remove_copy(generation, folder, exc)
                left_out[generation.folder] = str(exc)
            else:
                generations[generation.folder] = {
                    "number": generation.number,
                    "encoder": generation.encoder_id,
                    "catalogue": generation.catalogue_name,
                    "sources": generation.source_count,
                }
        if left_out and not generations:
            msg = f"no generation is whole: {next(iter(left_out.values()))}"
            raise BackupError(msg)
        if with_shards:
            for path in _shards(home, there):
                files |= _copy_if_there(home, path, folder)
        current = there.current()
        revision, home_id = revision_of(there.engine), _home_id(there)
    database = folder / (SQLITE if file_of(_url(store)) is not None else DUMP)
    files[database.name] = listed(database)
    for path in home.jobs.rglob("*"):
        if path.is_file() and path.suffix != ".tmp":
            files |= _copy_if_there(home, path, folder)
    (folder / "home.id").write_text(f"{home_id}\n", encoding="ascii")
    files["home.id"] = listed(folder / "home.id")
    return Backup(
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        version=version("twinjet"),
        revision=revision or "",
        home_id=home_id,
        current=None if current is None else current.number,
        generations=generations,
        left_out=left_out,
        with_shards=with_shards,
        files=files,
    )


@contextmanager
def _held_copy(
    store: SourceStore, folder: Path, holds: _Holds
) -> Iterator[SourceStore]:
    """A copy of the database, all of whose generations stay as long as it is open."""
    for again in range(_TRIES):
        # What is gone for good was so before the copy.
        lost = _hold_all(store, holds)
        with _copied(store, folder) as there:
            if _hold_all(there, holds) <= lost or again == _TRIES - 1:
                yield there
                return


def _hold_all(store: SourceStore, holds: _Holds) -> set[int]:
    """Hold every generation whose files are there; numbers of the others."""
    lost = set()
    for generation in _ready(store):
        try:
            holds.take(generation)
        except GenerationDamagedError:
            lost.add(generation.number)
    return lost


@contextmanager
def _copied(store: SourceStore, folder: Path) -> Iterator[SourceStore]:
    """The database as it is in the backup."""
    file = file_of(_url(store))
    if file is None:
        with dumped(store.engine, folder / DUMP) as engine:
            yield SourceStore(engine)
        return
    place = folder / SQLITE
    place.unlink(missing_ok=True)
    copy_sqlite(file, place)
    there = SourceStore(create_engine(f"sqlite:///{place}"))
    try:
        yield there
    finally:
        there.close()


def _copy_generation(
    generation: Generation, there: SourceStore, home: Home, folder: Path
) -> dict[str, dict[str, Any]]:
    """Copy the files of a generation, if they and its rows are whole."""
    source = home.generation(generation.folder)
    refuse_marked(source)
    check_manifest(generation, source)
    manifest = Manifest.read(source)
    check_rows(generation, there, manifest)
    copied = {}
    for name in (*manifest.files, "manifest.json"):
        path = Path("generations", generation.folder, name)
        copied[path.as_posix()] = found = copy_file(source / name, folder / path)
        if name in manifest.files and found != manifest.files[name]:
            msg = f"{source / name} is not the file that was published"
            raise GenerationDamagedError(msg)
    return copied


def _remove_copy(generation: Generation, folder: Path, exc: Exception) -> None:
    _log.warning("generation %d is not in the backup: %s", generation.number, exc)
    shutil.rmtree(folder / "generations" / generation.folder, ignore_errors=True)


def _copy_if_there(home: Home, path: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Copy a file of the home that others may just have removed."""
    name = path.relative_to(home.path)
    try:
        return {name.as_posix(): copy_file(path, folder / name)}
    except FileNotFoundError:
        (folder / name).unlink(missing_ok=True)
        return {}


def _shards(home: Home, store: SourceStore) -> list[Path]:
    """Files of the embeddings that the database knows."""
    query = sa.select(EmbeddingRow.encoder_id, EmbeddingRow.shard).distinct()
    with store.engine.connect() as connection:
        rows = connection.execute(query).all()
    return [home.shards / encoder / shard for encoder, shard in rows]


def _ready(store: SourceStore) -> list[Generation]:
    return [g for g in store.generations() if g.state == READY]


def _home_id(store: SourceStore) -> str:
    with store.engine.connect() as connection:
        return connection.scalar(sa.select(InstallationRow.home_id)) or ""


def _url(store: SourceStore) -> str:
    return store.engine.url.render_as_string(hide_password=False)
