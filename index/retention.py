"""Which generations stay, and what a build that died has left."""

import logging
import shutil
import time
import uuid
from pathlib import Path

from twinjet.index.errors import IndexUnavailableError, StoreError
from twinjet.index.generation import folder_name, unused
from twinjet.index.home import Home
from twinjet.index.locks import if_unleased
from twinjet.index.quarantine import damage_of
from twinjet.index.store import READY, SourceStore
from twinjet.index.vectors.engine import VectorEngine

_log = logging.getLogger(__name__)

# Generations that stay for rollback, the current one among them.
KEEP_GENERATIONS = 3

JOB_DAYS = 30
"""For how long plans of jobs stay; a job that goes on writes anew, and is younger."""


def clear_leftovers(
    home: Home,
    store: SourceStore,
    *,
    job_id: str | None,
    engine: VectorEngine | None = None,
) -> None:
    """Remove what builds that died have left, but for this job's own.

    The caller is the only one that builds. A folder that the database never heard of is
    somebody's, and stays.
    """
    kept = set()
    gone = {folder_name(number) for number in store.gone()}
    for generation in store.generations():
        if generation.state != READY and (
            job_id is None or generation.job_id != job_id
        ):
            remove_folder(home, folder_name(generation.number))
            store.drop_generation(generation.number)
        else:
            kept.add(folder_name(generation.number))
    for path in home.generations.glob("*"):
        if path.name.startswith("tmp-"):
            if path.name.removeprefix("tmp-") not in kept:
                shutil.rmtree(path, ignore_errors=True)
        elif path.name in gone:
            # Its row went, and then the process that was about to remove it.
            with unused(path) as free:
                if free:
                    remove_folder(home, path.name)
    for half_done in home.shards.glob("*/*.tmp"):
        half_done.unlink(missing_ok=True)
    _sweep(store, engine)


def retire(
    home: Home,
    store: SourceStore,
    *,
    keep: int = KEEP_GENERATIONS,
    engine: VectorEngine | None = None,
) -> None:
    """Remove all but the latest generations; the current and those in use stay.

    So do those that were found damaged, for whoever wants to know how: they are not
    among the latest, and nobody could go back to one.
    """
    ready = sorted(
        (
            generation.number
            for generation in store.generations()
            if generation.state == READY
            and damage_of(home.generations / generation.folder) is None
        ),
        reverse=True,
    )
    current = store.current()
    for number in ready[max(1, keep) :]:
        if current is not None and number == current.number:
            continue
        with (
            unused(home.generations / folder_name(number)) as free,
            if_unleased(store.engine, number) as free_elsewhere,
        ):
            if free and free_elsewhere:
                try:
                    store.drop_generation(number)
                except StoreError:  # it has just been published again
                    continue
                remove_folder(home, folder_name(number))
    _sweep(store, engine)


def _sweep(store: SourceStore, engine: VectorEngine | None) -> None:
    """Drop what an engine has of generations that are gone.

    Where it does not answer it keeps them, until the next build.
    """
    if engine is None:
        return
    kept = {folder_name(generation.number) for generation in store.generations()}
    try:
        for name in engine.loaded():
            if name.partition("_")[0] not in kept:
                engine.drop(name)
    except IndexUnavailableError as exc:
        _log.warning("generations that are gone stay in the engine: %s", exc)


def forget_jobs(home: Home, *, days: float = JOB_DAYS) -> None:
    """Remove plans and catalogues of jobs that nobody asks about any more."""
    before = time.time() - days * 86_400
    for path in [*home.jobs.glob("*"), *home.jobs.glob("catalogues/*")]:
        if path.name != "catalogues" and path.stat().st_mtime < before:
            home.forget(path)
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def remove_folder(home: Home, folder: str) -> None:
    """Remove a generation's folder, under another name first: never half a one."""
    path: Path = home.generations / folder
    home.forget(path)
    if path.exists():
        half_gone = path.with_name(f"tmp-{folder}-{uuid.uuid4().hex[:8]}-old")
        path.rename(half_gone)
        shutil.rmtree(half_gone)
