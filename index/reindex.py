"""From a catalogue and its cutouts to a published generation.

::

    catalogue -> shards of embeddings -> vectors -> files -> metadata -> publish

Killed at any moment, the next run goes on: shards that are done are not made
again, half-made generations are cleared away, and what is served changes only with
the last step, one row in one transaction.
"""

import shutil
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from twinjet.index.catalogue import Catalogue, RowProblem
from twinjet.index.cutouts.port import CutoutProvider
from twinjet.index.cutouts.prefetch import Prefetching
from twinjet.index.embed import embed_shards
from twinjet.index.errors import (
    CutoutUnavailableError,
    GenerationDamagedError,
    TooManyFailuresError,
)
from twinjet.index.generation import (
    Manifest,
    folder_name,
    open_generation,
    write_generation,
)
from twinjet.index.home import Home
from twinjet.index.shards import Item
from twinjet.index.sky import unit_vectors
from twinjet.index.source import Source
from twinjet.index.store import SourceStore
from twinjet.model.encoder import Encoder

# More failures than this say that something is wrong with the whole, such as a
# folder that is not mounted.
MAX_FAILED_FRACTION = 0.2

# Generations that stay for rollback, the current one among them.
KEEP_GENERATIONS = 3


class Watcher(Protocol):
    """Is told how a build goes on."""

    def stage(self, name: str, total: int | None) -> None:
        """A stage begins, of so many sources where that is known."""

    def advance(self, count: int) -> None:
        """So many more sources of this stage are done."""


@dataclass(frozen=True)
class Report:
    """What a build did."""

    number: int
    """Of the generation that is now current."""
    published: bool
    """False when the current one already had all this."""
    count: int
    """Sources in it."""
    reused: int
    """Embeddings that were there from an earlier build."""
    problems: tuple[RowProblem, ...]
    """Rows and cutouts that could not be used, and why."""
    recall_at_10: float
    """Of its index against exact search."""


def build(
    catalogue: Catalogue,
    provider: CutoutProvider,
    *,
    home: Home,
    store: SourceStore,
    encoder: Encoder,
    watcher: Watcher,
    pixel_scale_arcsec: float | None = None,
    max_failed_fraction: float = MAX_FAILED_FRACTION,
) -> Report:
    """Build and publish a generation of a catalogue.

    Nothing is done when the current generation has the same sources, cutouts, place
    of them and encoder, and its files are whole.

    Raises
    ------
    BuildInProgressError
        Another build is at work in this home.
    TooManyFailuresError
        More cutouts than `max_failed_fraction` could not be embedded.
    GenerationDamagedError
        What was written could not be read back.
    CutoutLocationError
        The folder of fetched cutouts cannot be used.
    """
    with home.building():
        _clear_leftovers(home, store)
        items, problems = _items(catalogue, provider, watcher)
        digest = _digest(catalogue, items, pixel_scale_arcsec)
        current = store.current()
        if current is not None and current.encoder_id == encoder.card.id:
            manifest = _whole(home, current.folder)
            if (
                manifest is not None
                and manifest.catalogue_digest == digest
                # Cutouts that have moved are served from where they are now.
                and manifest.cutouts == provider.location
            ):
                return Report(
                    number=current.number,
                    published=False,
                    count=manifest.count,
                    reused=manifest.count,
                    problems=tuple(problems),
                    recall_at_10=manifest.recall_at_10,
                )
        sources, vectors, failed, reused = _embed(
            items,
            provider=provider,
            home=home,
            encoder=encoder,
            watcher=watcher,
            pixel_scale_arcsec=pixel_scale_arcsec,
        )
        problems += failed
        lost = len(catalogue.sources) - len(sources)
        if lost > max_failed_fraction * len(catalogue.sources) or not sources:
            raise TooManyFailuresError(
                lost, len(catalogue.sources), max_failed_fraction, problems[-1].reason
            )
        watcher.stage("index", None)
        number = store.begin_generation(
            encoder_id=encoder.card.id,
            catalogue_name=catalogue.name,
            catalogue_digest=digest,
            columns=catalogue.columns,
        )
        manifest = write_generation(
            home.generations / folder_name(number),
            Manifest(
                number=number,
                encoder_id=encoder.card.id,
                encoder_name=encoder.card.name,
                catalogue_name=catalogue.name,
                catalogue_digest=digest,
                cutouts=provider.location,
                count=len(sources),
                dimension=encoder.card.dimension,
                recall_at_10=0.0,
                failed=lost,
                pixel_scale_arcsec=pixel_scale_arcsec,
            ),
            vectors=vectors,
            positions=unit_vectors(
                np.array([s.ra for s in sources]), np.array([s.dec for s in sources])
            ),
        )
        watcher.stage("metadata", len(sources))
        for start in range(0, len(sources), 10_000):
            part = sources[start : start + 10_000]
            store.add_sources(number, start, part)
            watcher.advance(len(part))
        watcher.stage("publish", None)
        open_generation(home.generations / folder_name(number))
        store.finish_generation(
            number, source_count=len(sources), folder=folder_name(number)
        )
        store.publish(number)
        _retire(home, store)
        return Report(
            number=number,
            published=True,
            count=len(sources),
            reused=reused,
            problems=tuple(problems),
            recall_at_10=manifest.recall_at_10,
        )


def _items(
    catalogue: Catalogue, provider: CutoutProvider, watcher: Watcher
) -> tuple[list[Item], list[RowProblem]]:
    """What there is to embed, with the digest of every cutout."""
    watcher.stage("checksums", len(catalogue.sources))
    items, problems = [], list(catalogue.problems)
    with closing(_digests(catalogue.sources, provider)) as outcomes:
        for source, outcome in zip(catalogue.sources, outcomes, strict=True):
            watcher.advance(1)
            if isinstance(outcome, str):
                items.append(Item(source, outcome))
            else:
                problems.append(_problem(source, str(outcome)))
    return items, problems


def _digests(
    sources: Iterable[Source], provider: CutoutProvider
) -> Generator[str | CutoutUnavailableError]:
    """Digest of each cutout in turn, fetched ahead where that is faster, or why not."""
    if isinstance(provider, Prefetching):
        yield from provider.prefetch(sources)
        return
    for source in sources:
        try:
            yield provider.digest(source)
        except CutoutUnavailableError as exc:
            yield exc


def _embed(
    items: list[Item],
    *,
    provider: CutoutProvider,
    home: Home,
    encoder: Encoder,
    watcher: Watcher,
    pixel_scale_arcsec: float | None,
) -> tuple[list[Source], NDArray[np.float32], list[RowProblem], int]:
    """Sources that have an embedding, these in the same order, and the others."""
    watcher.stage("embed", len(items))
    reused = 0

    def progress(count: int, there_already: bool) -> None:  # noqa: FBT001
        nonlocal reused
        reused += count * there_already
        watcher.advance(count)

    by_id = {item.source.source_id: item.source for item in items}
    sources: list[Source] = []
    parts = [np.empty((0, encoder.card.dimension), np.float32)]
    problems = []
    shards = embed_shards(
        items,
        provider=provider,
        encoder=encoder,
        folder=home.shards / encoder.card.id,
        pixel_scale_arcsec=pixel_scale_arcsec,
        progress=progress,
    )
    for shard in shards:
        good = [reason is None for reason in shard.reasons]
        parts.append(shard.embeddings[good])
        for source_id, reason in zip(shard.source_ids, shard.reasons, strict=True):
            if reason is None:
                sources.append(by_id[source_id])
            else:
                problems.append(_problem(by_id[source_id], reason))
    return sources, np.concatenate(parts), problems, reused


def _problem(source: Source, reason: str) -> RowProblem:
    return RowProblem(line=None, source_id=source.source_id, reason=reason)


def _digest(
    catalogue: Catalogue, items: list[Item], pixel_scale_arcsec: float | None
) -> str:
    """Of the catalogue, every cutout and how they are read."""
    digest = sha256(f"{catalogue.digest} {pixel_scale_arcsec}".encode())
    for item in items:
        digest.update(f"{item.source.source_id}\0{item.digest}\n".encode())
    return digest.hexdigest()


def _whole(home: Home, folder: str) -> Manifest | None:
    """Manifest of a generation whose files are as they were published."""
    try:
        return open_generation(home.generations / folder).manifest
    except GenerationDamagedError:
        return None


def _clear_leftovers(home: Home, store: SourceStore) -> None:
    """Remove what a build that died has left; the caller holds the lock."""
    for generation in store.generations():
        if generation.state != "ready":
            _remove(home, folder_name(generation.number))
            store.drop_generation(generation.number)
    for half_done in home.generations.glob("tmp-*"):
        shutil.rmtree(half_done)
    for half_done in home.shards.glob("*/*.tmp"):
        half_done.unlink()


def _retire(home: Home, store: SourceStore) -> None:
    """Remove all but the latest generations."""
    ready = sorted((g.number for g in store.generations()), reverse=True)
    current = store.current()
    for number in ready[KEEP_GENERATIONS:]:
        if current is None or number != current.number:
            store.drop_generation(number)
            _remove(home, folder_name(number))


def _remove(home: Home, folder: str) -> None:
    """Remove a generation's folder, under another name first: never half a one."""
    path: Path = home.generations / folder
    if path.exists():
        half_gone = path.with_name(f"tmp-{folder}-old")
        path.rename(half_gone)
        shutil.rmtree(half_gone)
