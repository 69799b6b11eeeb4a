"""From a catalogue and its cutouts to a published generation.

::

    catalogue -> plan -> shards of embeddings -> generation -> verification -> publish

Each step may be done again after it was interrupted and gives the same. What is served
changes only with the last one, one row in one transaction. `build` does them in turn;
`twinjet.index.jobs` does them as a durable job, the shards by any number of workers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinjet.index.catalogue import Catalogue
from twinjet.index.checks import MAX_FAILED_FRACTION, Limits, Verification
from twinjet.index.cutouts.port import CutoutProvider
from twinjet.index.durable import file_digest
from twinjet.index.embed import Unread, embed_items
from twinjet.index.embeddings import Embeddings, Place
from twinjet.index.errors import (
    CutoutsUnreadError,
    GenerationDamagedError,
    TooManyFailuresError,
)
from twinjet.index.generation import (
    Manifest,
    folder_name,
    index_name,
    load_generation,
    write_generation,
)
from twinjet.index.home import Home
from twinjet.index.locks import only_builder
from twinjet.index.plan import (
    Plan,
    Planned,
    Watcher,
    make_plan,
    problem_of,
    read_sources,
    read_task,
)
from twinjet.index.published import open_published
from twinjet.index.retention import clear_leftovers, remove_folder, retire
from twinjet.index.shards import SHARD_SOURCES, Shard, shard_name
from twinjet.index.sky import unit_vectors
from twinjet.index.source import RowProblem, Source
from twinjet.index.store import Generation, SourceStore
from twinjet.index.vectors.engine import VectorEngine
from twinjet.index.vectors.faiss_index import index_kind
from twinjet.index.verify import verify
from twinjet.model.encoder import Encoder

# Shards that are kept in memory until they can be written: a worker has two at a time.
_UNWRITTEN = 2

# Of a source with a cutout and no embedding; the next build tries again.
_UNMADE = "its cutout could not be read, or was replaced, while the index was built"


@dataclass(frozen=True)
class Workshop:
    """What all steps of a build need."""

    home: Home
    store: SourceStore
    encoder: Encoder
    provider: CutoutProvider
    pixel_scale_arcsec: float | None = None
    """Of cutouts without WCS."""
    engine: VectorEngine | None = None
    """What searches the vectors; FAISS in each process when None."""

    @property
    def embeddings(self) -> Embeddings:
        """Of the encoder, ever made."""
        card = self.encoder.card
        folder = self.home.shards / card.id
        return Embeddings(self.store.engine, folder, card.id, home=self.home)


@dataclass(frozen=True)
class Built:
    """A generation that is written, and not yet published."""

    number: int
    count: int
    failed: int
    """Sources of the catalogue that it lacks."""
    recall_at_10: float
    digest: str
    """Of its files."""


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
    digest: str = ""
    """Of its files: the same where all vectors are."""
    verification: Verification | None = None
    """What was looked at before; None when nothing was built."""


def build(
    catalogue: Catalogue,
    workshop: Workshop,
    *,
    watcher: Watcher,
    max_failed_fraction: float = MAX_FAILED_FRACTION,
    limits: Limits | None = None,
    force: bool = False,
) -> Report:
    """Build and publish a generation of a catalogue, in this process.

    Nothing is done when the current generation has the same sources, cutouts, place
    of them, encoder and kind of index, no more failures than may be, and its files are
    whole.

    Raises
    ------
    BuildInProgressError
        Another build is at work in this home.
    TooManyFailuresError
        More cutouts than `max_failed_fraction` could not be embedded.
    GenerationDamagedError
        What was written could not be read back.
    VerificationError
        A check was not passed, and `force` is false.
    CutoutLocationError
        The folder of fetched cutouts cannot be used.
    IndexUnavailableError
        The engine of the vectors does not answer.
    """
    home, store = workshop.home, workshop.store
    folder = home.jobs / "direct"
    with home.building(), only_builder(store.engine):
        clear_leftovers(home, store, job_id=None, engine=workshop.engine)
        plan = plan_build(folder, catalogue, workshop, watcher=watcher)
        there = already_there(
            catalogue, plan, workshop, max_failed_fraction=max_failed_fraction
        )
        if there is not None:
            # A build that was killed after it had published has not done this.
            retire(home, store, engine=workshop.engine)
            return Report(
                number=there.number,
                published=False,
                count=there.count,
                reused=there.count,
                problems=tuple(problems_of(folder, catalogue, workshop)),
                recall_at_10=there.recall_at_10,
                digest=there.digest,
            )
        watcher.stage("embed", plan.to_embed)
        lost = None
        for shard in range(plan.shards):
            try:
                embed_shard(folder, shard, plan.shards, workshop, watcher=watcher)
            except CutoutsUnreadError as exc:
                lost = str(exc)
        built = assemble(
            folder,
            catalogue,
            plan,
            workshop,
            watcher=watcher,
            max_failed_fraction=max_failed_fraction,
            lost=lost,
        )
        verification = check_build(built, workshop, limits or Limits(), watcher=watcher)
        forced = verification.passed_over(force=force)
        publish_build(built, workshop, forced=forced)
        retire(home, store, engine=workshop.engine)
        return Report(
            number=built.number,
            published=True,
            count=built.count,
            reused=plan.reused,
            problems=tuple(problems_of(folder, catalogue, workshop)),
            recall_at_10=built.recall_at_10,
            digest=built.digest,
            verification=verification,
        )


def plan_build(
    folder: Path,
    catalogue: Catalogue,
    workshop: Workshop,
    *,
    watcher: Watcher,
    shard_sources: int = SHARD_SOURCES,
) -> Plan:
    """What there is to do; written into the job's folder."""
    return make_plan(
        folder,
        catalogue,
        workshop.provider,
        workshop.embeddings,
        pixel_scale_arcsec=workshop.pixel_scale_arcsec,
        watcher=watcher,
        shard_sources=shard_sources,
    )


def already_there(
    catalogue: Catalogue,
    plan: Plan,
    workshop: Workshop,
    *,
    max_failed_fraction: float,
) -> Manifest | None:
    """Manifest of the current generation, if it is what would be built."""
    current = workshop.store.current()
    if current is None or current.encoder_id != workshop.encoder.card.id:
        return None
    manifest = _whole(workshop, current)
    if (
        manifest is not None
        # What a lost shard had is still to be made.
        and plan.to_embed == 0
        and manifest.catalogue_name == catalogue.name
        and manifest.catalogue_digest == plan.digest
        and manifest.index_kind == index_kind(manifest.count)
        # More may have been allowed to fail than now.
        and manifest.failed <= max_failed_fraction * len(catalogue.sources)
        # Cutouts that have moved are served from where they are now.
        and manifest.cutouts == workshop.provider.location
    ):
        return manifest
    return None


def embed_shard(
    folder: Path,
    number: int,
    shards: int,
    workshop: Workshop,
    *,
    watcher: Watcher,
    unwritten: dict[str, tuple[Shard, Unread | None]] | None = None,
) -> int:
    """Make what is missing of one of a plan's shards; returns how many could not be.

    `unwritten` keeps what was made and could not be written, for the next try: a disk
    that is full for a while costs no second embedding.

    Raises
    ------
    CutoutsUnreadError
        Some cutouts cannot be read, for the moment; the others are done.
    """
    items = read_task(folder, number, shards)
    embeddings = workshop.embeddings
    keys = [item.key(workshop.pixel_scale_arcsec) for item in items]
    if not embeddings.has_shard(keys):
        there = embeddings.find_whole(keys)
        missing = [i for i, key in zip(items, keys, strict=True) if key not in there]
        watcher.advance(len(items) - len(missing))
        held = {} if unwritten is None else unwritten
        wanted = [item.key(workshop.pixel_scale_arcsec) for item in missing]
        name = shard_name(workshop.encoder.card.id, wanted)
        if name not in held:
            while len(held) >= _UNWRITTEN:  # of shards that were given up
                del held[next(iter(held))]
            held[name] = embed_items(
                missing,
                provider=workshop.provider,
                encoder=workshop.encoder,
                pixel_scale_arcsec=workshop.pixel_scale_arcsec,
                progress=watcher.advance,
            )
        shard, unread = held[name]
        if shard.keys:
            embeddings.add(shard)
        del held[name]
        if unread is not None:
            raise CutoutsUnreadError(unread.count, unread.reason)
    else:
        watcher.advance(len(items))
    places = embeddings.find(keys).values()
    return sum(place.reason is not None for place in places)


def assemble(
    folder: Path,
    catalogue: Catalogue,
    plan: Plan,
    workshop: Workshop,
    *,
    watcher: Watcher,
    max_failed_fraction: float,
    job_id: str | None = None,
    lost: str | None = None,
) -> Built:
    """Write vectors, index and metadata of a generation.

    `lost` is why a shard could not be made, where one could not.

    Raises
    ------
    TooManyFailuresError
        Too many sources have no embedding.
    ShardDamagedError
        A shard that was whole a moment ago is not.
    """
    total = len(catalogue.sources)
    count, last = 0, lost or "there is no source"
    for kept, left_out in _kept(folder, workshop.embeddings):
        count += len(kept)
        last = left_out[-1].reason if left_out and lost is None else last
    if total - count > max_failed_fraction * total or not count:
        raise TooManyFailuresError(total - count, total, max_failed_fraction, last)
    watcher.stage("index", count)
    store, card = workshop.store, workshop.encoder.card
    number = store.begin_generation(
        encoder_id=card.id,
        catalogue_name=catalogue.name,
        catalogue_digest=plan.digest,
        columns=catalogue.columns,
        job_id=job_id,
    )
    place = workshop.home.generations / folder_name(number)
    remove_folder(workshop.home, place.name)  # of this job, before it was interrupted
    manifest = write_generation(
        place,
        Manifest(
            number=number,
            encoder_id=card.id,
            encoder_name=card.name,
            catalogue_name=catalogue.name,
            catalogue_digest=plan.digest,
            cutouts=workshop.provider.location,
            count=count,
            dimension=card.dimension,
            recall_at_10=0.0,
            failed=total - count,
            pixel_scale_arcsec=workshop.pixel_scale_arcsec,
        ),
        _blocks(folder, number, workshop, watcher),
    )
    store.seal(number, file_digest(place / "manifest.json"))
    workshop.home.share(place)
    return Built(
        number=number,
        count=count,
        failed=total - count,
        recall_at_10=manifest.recall_at_10,
        digest=manifest.digest,
    )


def check_build(
    built: Built, workshop: Workshop, limits: Limits, *, watcher: Watcher
) -> Verification:
    """Look at a generation before it is published; the store keeps what was found.

    An engine is loaded first, unless it was before this was interrupted.
    """
    folder = folder_name(built.number)
    if workshop.engine is not None:
        watcher.stage("load", None)
        load_generation(workshop.home.generation(folder), workshop.engine)
    watcher.stage("verify", None)
    verification = verify(
        built.number,
        folder,
        home=workshop.home,
        store=workshop.store,
        encoder=workshop.encoder,
        provider=workshop.provider,
        limits=limits,
        engine=workshop.engine,
    )
    workshop.store.set_report(built.number, verification.to_dict())
    return verification


def publish_build(built: Built, workshop: Workshop, *, forced: Sequence[str]) -> None:
    """Make a generation the current one.

    `forced` names the checks that it does not pass and that somebody passed over.
    """
    workshop.store.publish_build(
        built.number,
        source_count=built.count,
        folder=folder_name(built.number),
        forced="; ".join(forced) or None,
    )
    if workshop.engine is not None:
        workshop.engine.publish(index_name(built.number, built.digest))


def problems_of(
    folder: Path, catalogue: Catalogue, workshop: Workshop
) -> Iterator[RowProblem]:
    """Rows and cutouts of a plan that could not be used, and why."""
    yield from catalogue.problems
    for _, lost in _kept(folder, workshop.embeddings):
        yield from lost


def _kept(
    folder: Path, embeddings: Embeddings
) -> Iterator[tuple[list[tuple[Planned, Place]], list[RowProblem]]]:
    """Sources of a plan that have an embedding, with its place, and the others."""
    for planned in read_sources(folder):
        places = embeddings.find([p.key for p in planned if p.key is not None])
        kept, lost = [], []
        for one in planned:
            place = None if one.key is None else places.get(one.key)
            if place is None:
                reason = one.reason or _UNMADE
                lost.append(problem_of(one.source, reason))
            elif place.reason is not None:
                lost.append(problem_of(one.source, place.reason))
            else:
                kept.append((one, place))
        yield kept, lost


def _blocks(
    folder: Path, number: int, workshop: Workshop, watcher: Watcher
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float64]]]:
    """Vectors and positions in order; the metadata is written on the way."""
    embeddings = workshop.embeddings
    done = 0
    for kept, _ in _kept(folder, embeddings):
        if not kept:
            continue
        sources: list[Source] = [planned.source for planned, _ in kept]
        wanted = [(planned.key or "", place) for planned, place in kept]
        vectors = embeddings.gather(wanted)
        digests = [planned.digest or "" for planned, _ in kept]
        workshop.store.add_sources(number, done, sources, digests)
        done += len(kept)
        watcher.advance(len(kept))
        yield vectors, unit_vectors([s.ra for s in sources], [s.dec for s in sources])


def _whole(workshop: Workshop, generation: Generation) -> Manifest | None:
    """Manifest of a generation that is as it was published, in its engine too."""
    home, store, engine = workshop.home, workshop.store, workshop.engine
    try:
        return open_published(generation, home, store, engine).manifest
    except GenerationDamagedError:
        return None
