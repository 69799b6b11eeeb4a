"""What the service holds open: store, encoder, the generation that is served."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from dbos import DBOSClient
from sqlalchemy.exc import SQLAlchemyError

from twinjet.index.cutouts.open import open_provider
from twinjet.index.database import (
    OpenFile,
    create_engine,
    file_of,
    refuse_damaged_file,
)
from twinjet.index.errors import (
    DatabaseDamagedError,
    DatabaseReplacedError,
    EncoderMismatchError,
    GenerationDamagedError,
    LaterFormatError,
    LostVectorsError,
    NoGenerationError,
    RowsDamagedError,
    StoreError,
    TwinjetIndexError,
    UnknownGenerationError,
)
from twinjet.index.generation import (
    Stamp,
    check_engine,
    stamps_of,
)
from twinjet.index.heartbeat import Heartbeat
from twinjet.index.jobs.engine import connect, make_tables
from twinjet.index.jobs.jobs import Jobs
from twinjet.index.jobs.progress import ProgressBoard
from twinjet.index.locks import lease_of
from twinjet.index.opening import open_store
from twinjet.index.published import open_published
from twinjet.index.quarantine import damage_of, mark_damaged
from twinjet.index.search import Searcher
from twinjet.index.store import READY, Generation, SourceStore
from twinjet.index.vectors.engine import VectorEngine, open_engine
from twinjet.model.card import EncoderCard
from twinjet.model.decode import read_cutout
from twinjet.model.encoder import (
    read_card,
    shipped_cards,
)
from twinjet.model.render import Stretch, render_png
from twinjet.service.config import Config
from twinjet.service.decoding.pool import Decoders
from twinjet.service.decoding.trades import IMAGES
from twinjet.service.encoders import encoder_of
from twinjet.service.inference import Inference
from twinjet.service.served import Served
from twinjet.service.table_reader import TableReader

_log = logging.getLogger(__name__)

# Generations that are held open though another is in force, and for how long after
# somebody last turned a page of one.
_EARLIER = 2
_EARLIER_S = 600.0

# A request that writes waits so long for another writer, and has a place meanwhile.
_BUSY_S = 5.0


class Resources:
    """Everything that lives as long as the service.

    Parameters
    ----------
    config
        Settings.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._served: Served | None = None
        self.trouble: str | None = None
        self._unusable: DatabaseDamagedError | None = None
        self._store: SourceStore | None = None
        self._heartbeat: Heartbeat | None = None
        self.vector_engine: VectorEngine | None = None
        try:
            self._store = self._opened()
        except DatabaseDamagedError as exc:
            self.condemn(exc)
        else:
            self.vector_engine = open_engine(
                config.vectors,
                self._store.engine,
                config.milvus_uri,
                memory_bytes=config.vectors_memory_bytes,
            )
        self.inference = Inference(
            encoder_of(config),
            queue=config.upload_queue,
            wait_s=config.upload_wait_s,
            decoders=Decoders(config.decoders, IMAGES),
            deadline_s=config.deadline_s,
        )
        self.tables = TableReader(deadline_s=config.deadline_s)
        self._file = OpenFile(config.metadata_url)
        self._earlier: dict[int, tuple[Served, float]] = {}
        self._engine: DBOSClient | None = None
        self._jobs: tuple[Jobs, OpenFile] | None = None
        self._opening_jobs = threading.Lock()
        self._tables_of_jobs: Future[None] | None = None
        # Generations that were found damaged, as their files were then.
        self._damaged: dict[int, tuple[tuple[Stamp, ...], str]] = {}
        self._refreshing = threading.Lock()
        self._closed = False
        self.picture = lru_cache(maxsize=config.picture_cache)(self._draw)

    def _opened(self) -> SourceStore:
        url = self.config.metadata_url
        engine = create_engine(url, busy_s=_BUSY_S)
        if engine.dialect.name == "postgresql":
            self._heartbeat = Heartbeat(engine, self.config.database_stall_s)
            self._heartbeat.start()
        try:
            return open_store(self.config.files, url, look=True, engine=engine)
        except BaseException:
            if self._heartbeat is not None:
                self._heartbeat.stop()
            raise

    @property
    def store(self) -> SourceStore:
        """The metadata.

        Raises
        ------
        DatabaseDamagedError
            It is damaged.
        """
        self._refuse_unusable()
        assert self._store is not None  # noqa: S101 - for the type checker
        return self._store

    def _refuse_unusable(self) -> None:
        """Raise for metadata that is damaged, or whose file is another now."""
        if self._unusable is None:
            try:
                self._file.refuse_replaced()
            except DatabaseReplacedError as exc:
                self.condemn(exc)
        if self._unusable is not None:
            raise self._unusable

    def condemn(self, exc: DatabaseDamagedError) -> None:
        """Answer nothing from the metadata any more, for it is damaged."""
        if self._unusable is None:
            _log.error("%s", exc)
        self._unusable = exc
        self.trouble = str(exc)
        self._withdraw()

    def found_damaged(self, exc: DatabaseDamagedError) -> None:
        """A request met damage: of the metadata it ends all answers from there."""
        if self._store is not None and exc.actual == self._store.engine.url.database:
            self.condemn(exc)

    def damage(self, generation: Generation) -> str | None:
        """What was found to be wrong with a generation that is kept."""
        folder = self.config.files.generations / generation.folder
        stamps, reason = self._damaged.get(generation.number, (None, None))
        return reason if stamps == stamps_of(folder) else damage_of(folder)

    @property
    def jobs(self) -> Jobs:
        """All jobs; the engine is connected to when it is first asked for.

        Raises
        ------
        DatabaseDamagedError
            Their database, or the metadata, is damaged.
        StoreError
            Their database is locked, or does not answer.
        """
        jobs, opened = self._jobs or self._open_jobs()
        opened.refuse_replaced()
        opened.refuse_locked()  # the engine of jobs would try again without end
        return jobs

    def _open_jobs(self) -> tuple[Jobs, OpenFile]:
        if not self._opening_jobs.acquire(timeout=_BUSY_S):
            msg = f"the database of jobs is being opened, for more than {_BUSY_S:g} s"
            raise StoreError(msg, limit=_BUSY_S)
        try:
            if self._jobs is None:
                file = file_of(self.config.jobs_url)
                if file is not None:
                    refuse_damaged_file(file)
                self._engine = self._engine_of_jobs()
                jobs = Jobs(self._engine, ProgressBoard(self.store.engine))
                self._jobs = jobs, OpenFile(self.config.jobs_url)
            return self._jobs
        finally:
            self._opening_jobs.release()

    def _engine_of_jobs(self) -> DBOSClient:
        url = self.config.jobs_url
        if self._heartbeat is None:
            return connect(url)
        shared = self.store.engine
        shared.connect().close()  # an error where it is away: others would wait
        if self._tables_of_jobs is None:
            self._tables_of_jobs = make_tables(url)
        if not wait([self._tables_of_jobs], timeout=_BUSY_S).done:
            # Another one would wait beside it, with a connection of its own.
            msg = f"the database of jobs has not answered for {_BUSY_S:g} s"
            raise StoreError(msg, limit=_BUSY_S)
        made, self._tables_of_jobs = self._tables_of_jobs, None
        made.result()
        return connect(url, shared)

    def close(self) -> None:
        """Give everything back."""
        with self._refreshing:  # whose thread goes on when its task is cancelled
            self._closed = True
            for number in list(self._earlier):
                self._let_go(number)
            if self._served is not None and self._served.lease is not None:
                self._served.lease.release()
        if self._heartbeat is not None:
            self._heartbeat.stop()
        if self._engine is not None:
            self._engine.destroy()
        self.inference.close()
        if self._store is not None:
            self._store.close()

    @property
    def served(self) -> Served:
        """The generation in force; a request takes it once and keeps to it.

        Raises
        ------
        NoGenerationError
            Nothing has been published yet, or what was is damaged.
        DatabaseDamagedError
            So is the metadata.
        """
        self._refuse_unusable()
        served = self._served
        # Looked at for each request: the files are not read again, only asked for.
        if served is not None and not served.searcher.generation.is_as_checked():
            self.refresh()
        if self._served is None:
            msg = "no index has been published yet: run `twinjet index FOLDER`"
            raise NoGenerationError(self.trouble or msg)
        return self._served

    @property
    def field_arcsec(self) -> float:
        """Side on the sky of what the encoder sees."""
        recipe = self.inference.encoder.card.preprocess
        return recipe.size_px * recipe.pixel_scale_arcsec

    @property
    def encoder_id(self) -> str:
        """Of the encoder in force, which uploads go through."""
        return self.inference.encoder.card.id

    def cards(self) -> list[EncoderCard]:
        """Of the encoder in force, then of the shipped ones."""
        cards = [self.inference.encoder.card, *map(read_card, shipped_cards())]
        return list({card.id: card for card in cards}.values())

    def mismatch(self) -> str | None:
        """Why uploads cannot be answered, if they cannot."""
        try:
            self.embedding_searcher(self.served)
        except EncoderMismatchError as exc:
            return str(exc)
        return None

    def embedding_searcher(self, served: Served) -> Searcher:
        """The searcher, if its vectors are of the encoder in force.

        Raises
        ------
        EncoderMismatchError
            They are of another encoder: similarities would mean nothing.
        """
        searcher = served.searcher
        theirs = searcher.generation.manifest.encoder_id
        ours = self.inference.encoder.card.id
        if theirs != ours:
            raise EncoderMismatchError(ours, theirs)
        return searcher

    def refresh(self) -> None:
        """Serve the published generation, if it is another and its files are whole.

        What is wrong is kept in `trouble`, and the earlier generation goes on.
        """
        with self._refreshing:
            if not self._closed and self._unusable is None:
                try:
                    self._refresh()
                except Exception as exc:  # noqa: BLE001 - see below
                    # Nobody has foreseen it, and the next look may be fine.
                    trouble = f"the published generation cannot be looked for: {exc}"
                    if trouble != self.trouble:
                        _log.exception("the published generation cannot be looked for")
                    self.trouble = trouble

    def earlier(self, number: int) -> Served:
        """A generation that is kept though another is in force, for pages of it.

        It is open for some minutes after it was last asked for.

        Raises
        ------
        UnknownGenerationError, GenerationGoneError
            It never was, or is no longer kept.
        GenerationDamagedError
            Its files are not what was published.
        """
        generation = self.store.generation(number)
        if generation.state != READY:
            msg = f"generation {number} has not been published"
            raise UnknownGenerationError(msg, parameter="generation", actual=number)
        with self._refreshing:
            held = self._earlier.get(number)
            try:
                whole = held and held[0].searcher.generation.is_as_checked()
                served = held[0] if held and whole else self._open(generation)
            except GenerationDamagedError:
                self.store.generation(number)  # it may just have been removed
                raise
            self._keep(served)
            return served

    def _keep(self, served: Served) -> None:
        """Hold a generation open that is not in force, instead of the oldest."""
        number = served.generation.number
        self._earlier.pop(number, None)
        self._earlier[number] = served, time.monotonic()
        while len(self._earlier) > _EARLIER:
            self._let_go(next(iter(self._earlier)))

    def _let_go(self, number: int) -> None:
        """Hold a generation no longer open: it may be removed from every disk."""
        served, _ = self._earlier.pop(number)
        self.picture.cache_clear()  # whose pictures each hold their generation
        if served.lease is not None:
            served.lease.release()

    def _refresh(self) -> None:
        self._let_idle_go()
        try:
            current = self.store.current()
            if current is None:
                return
            self._stay()
            before = self._served
            if before is not None and not before.searcher.generation.is_as_checked():
                before = None
            if before is not None and current.number == before.generation.number:
                check_engine(before.searcher.generation, self.vector_engine)
                self.trouble = None
                return
            try:
                self._swap(self._open(current))
            except GenerationDamagedError as exc:
                if before is None and _is_damage(exc):
                    self._fall_back(current)
                raise
            self.trouble = None
            _log.info("serving generation %d", current.number)
        except (TwinjetIndexError, SQLAlchemyError, OSError) as exc:
            if isinstance(exc, DatabaseDamagedError):
                self.condemn(exc)
                return
            if str(exc) != self.trouble:
                _log.warning("the published generation is not served: %s", exc)
            self.trouble = str(exc)
            served = self._served
            changed = served and not served.searcher.generation.is_as_checked()
            if changed or isinstance(exc, LostVectorsError):
                self._withdraw()

    def _swap(self, served: Served) -> None:
        """Serve another generation; of the one before some still turn the pages."""
        before, self._served = self._served, served
        if before is None:
            return
        if before.searcher.generation.is_as_checked():
            self._keep(before)
        elif before.lease is not None:
            before.lease.release()

    def _fall_back(self, current: Generation) -> None:
        """Serve the last generation that is whole, rather than a damaged one."""
        ready = [g for g in self.store.generations() if g.state == READY]
        for generation in sorted(ready, key=_published, reverse=True):
            if generation.number != current.number:
                with suppress(TwinjetIndexError, OSError):
                    self._swap(self._open(generation))
                    _log.warning("serving generation %d instead", generation.number)
                    return
        self._withdraw()

    def _let_idle_go(self) -> None:
        """What is held open is not removed from the disk."""
        idle_since = time.monotonic() - _EARLIER_S
        for number, (_, asked) in list(self._earlier.items()):
            if asked < idle_since:
                self._let_go(number)

    def _stay(self) -> None:
        """Go on to hold what is open."""
        held = [served for served, _ in self._earlier.values()]
        for served in [*held, *filter(None, [self._served])]:
            if served.lease is not None:
                served.lease.stay()

    def _withdraw(self) -> None:
        """Serve nothing, rather than answers without what has been lost."""
        if self._served is not None and self._served.lease is not None:
            self._served.lease.release()
        self._served = None

    def _open(self, generation: Generation) -> Served:
        lease = lease_of(self.store.engine, generation.number)
        # Not to be had: it is just being removed, and then its files are gone, too.
        if lease is not None and not lease.take():
            lease = None
        try:
            folder = self.config.files.generation(generation.folder)
            self._refuse_damaged(generation.number, folder)
            opened = open_published(
                generation, self.config.files, self.store, self.vector_engine
            )
            return Served(
                generation=generation,
                searcher=Searcher(opened, self.store),
                provider=open_provider(opened.manifest.cutouts, fetch=False),
                field_arcsec=self.field_arcsec,
                lease=lease,
            )
        except BaseException as exc:
            if lease is not None:
                lease.release()
            if _is_damage(exc) and _is_lasting(exc):
                folder = self.config.files.generations / generation.folder
                if not isinstance(exc, RowsDamagedError):
                    mark_damaged(folder, str(exc))
                self._damaged[generation.number] = stamps_of(folder), str(exc)
            raise

    def _refuse_damaged(self, number: int, folder: Path) -> None:
        """Raise for files that were read before, and are still the same."""
        stamps, reason = self._damaged.get(number, (None, ""))
        if stamps == stamps_of(folder):
            raise GenerationDamagedError(reason)

    async def refresh_for_ever(self, then: Callable[[], None]) -> None:
        """Look for a new generation again and again; do something after each look."""
        while True:
            await asyncio.to_thread(self.refresh)
            try:
                await asyncio.to_thread(then)
            except Exception:  # noqa: BLE001 - the next look may be fine
                _log.exception("what is served cannot be measured")
            await asyncio.sleep(self.config.refresh_s)

    def _draw(
        self,
        served: Served,
        source_id: str,
        size_px: int,
        stretch: Stretch,
        field_arcsec: float | None,
    ) -> bytes:
        scale = served.manifest.pixel_scale_arcsec
        source = self.store.row_of(served.generation.number, source_id)[1]
        cutout = read_cutout(served.provider.read(source), pixel_scale_arcsec=scale)
        return render_png(
            cutout, size_px=size_px, stretch=stretch, field_arcsec=field_arcsec
        )


def _is_damage(exc: BaseException) -> bool:
    """Whether files are not what was published; an engine may be loaded again."""
    return isinstance(exc, GenerationDamagedError) and not isinstance(
        exc, LostVectorsError
    )


def _is_lasting(exc: BaseException) -> bool:
    """Whether the same files are damaged the next time, too.

    What the machine refused for the moment, files to open say, may be whole; and a
    later version may know what this one does not.
    """
    cause = exc.__cause__
    if isinstance(exc, LaterFormatError):
        return False
    return not isinstance(cause, OSError) or isinstance(cause, FileNotFoundError)


def _published(generation: Generation) -> datetime:
    return generation.published_at or generation.created_at
