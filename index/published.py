"""What was published: opened as it was when it was built, and published again."""

from pathlib import Path

from twinjet.index.durable import file_digest
from twinjet.index.errors import (
    GenerationDamagedError,
    RowsDamagedError,
    UnknownGenerationError,
)
from twinjet.index.generation import (
    Manifest,
    OpenGeneration,
    index_name,
    load_generation,
    open_generation,
)
from twinjet.index.home import Home
from twinjet.index.locks import lease_of
from twinjet.index.quarantine import clear_mark, refuse_marked
from twinjet.index.row_digest import digest_of_rows
from twinjet.index.store import READY, Generation, SourceStore
from twinjet.index.vectors.engine import VectorEngine


def open_published(
    generation: Generation,
    home: Home,
    store: SourceStore,
    engine: VectorEngine | None = None,
) -> OpenGeneration:
    """Open a generation, with every file and every row of it checked.

    Raises
    ------
    GenerationDamagedError
        A file is absent or not what was published, or the engine lacks vectors.
    RowsDamagedError
        Rows of the metadata are not those that it was built with.
    IndexUnavailableError
        The engine does not answer.
    """
    folder = home.generation(generation.folder)
    refuse_marked(folder)
    check_manifest(generation, folder)
    opened = open_generation(folder, engine)
    clear_mark(folder)
    check_rows(generation, store, opened.manifest)
    return opened


def check_manifest(generation: Generation, folder: Path) -> None:
    """See whether a manifest is the one that was written for this generation.

    Raises
    ------
    GenerationDamagedError
        It is absent, has changed, or is another generation's.
    """
    path = folder / "manifest.json"
    sealed = generation.manifest_sha256
    if sealed is not None and path.exists() and file_digest(path) != sealed:
        msg = f"{path} is not the file that was published: its checksum differs"
        raise GenerationDamagedError(msg)
    manifest = Manifest.read(folder)
    said = (
        *(manifest.number, manifest.encoder_id, manifest.catalogue_name),
        *(manifest.catalogue_digest, manifest.count),
    )
    known = (
        *(generation.number, generation.encoder_id, generation.catalogue_name),
        *(generation.catalogue_digest, generation.source_count),
    )
    if said != known:
        msg = f"{path} is of generation {said}, the database says {known}"
        raise GenerationDamagedError(msg)


def check_rows(generation: Generation, store: SourceStore, manifest: Manifest) -> None:
    """See whether the rows of a generation are those that it was built with.

    Raises
    ------
    RowsDamagedError
        There are more or fewer, or one has changed or moved.
    """
    number = generation.number
    count = store.count(number)
    if count != manifest.count:
        msg = f"generation {number} has {count} rows for {manifest.count} vectors"
        raise RowsDamagedError(msg, limit=manifest.count, actual=count)
    sealed = generation.rows_sha256
    if sealed is not None and digest_of_rows(store.engine, number) != sealed:
        msg = (
            f"rows of generation {number} in the database are not those that it was "
            "built with: their checksum differs; restore the last backup with "
            "`twinjet db restore`, or index again"
        )
        raise RowsDamagedError(msg)


def publish_again(
    number: int, home: Home, store: SourceStore, engine: VectorEngine | None
) -> None:
    """Make an earlier generation the current one, if it is whole.

    An engine that does not have it, or never had, is loaded.

    Raises
    ------
    UnknownGenerationError
        There is none of this number, or it is not ready.
    GenerationDamagedError
        Its files are not what was published.
    IndexUnavailableError
        The engine does not answer.
    """
    generation = store.generation(number)
    # From the look at its files to the publication nobody may remove them.
    lease = lease_of(store.engine, number)
    if generation.state != READY or (lease is not None and not lease.take()):
        msg = f"generation {number} is not ready to be published, or just being removed"
        raise UnknownGenerationError(msg, actual=number)
    try:
        folder = home.generation(generation.folder)
        if engine is not None:
            load_generation(folder, engine)
        opened = open_published(generation, home, store, engine)
        store.publish(number)
        if engine is not None:
            engine.publish(index_name(number, opened.manifest.digest))
    finally:
        if lease is not None:
            lease.release()
