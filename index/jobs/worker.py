"""A worker: takes jobs and shards from the queues until it is stopped."""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from functools import lru_cache
from types import TracebackType
from typing import Self

from dbos import DBOS, WorkflowStatus

from twinjet.index.cutouts.open import open_provider
from twinjet.index.home import Home
from twinjet.index.jobs import workflows
from twinjet.index.jobs.engine import JOBS, POLL_S, SHARDS, config, connect
from twinjet.index.jobs.jobs import Jobs
from twinjet.index.jobs.presence import presence_of
from twinjet.index.jobs.progress import ProgressBoard
from twinjet.index.jobs.request import ReindexRequest
from twinjet.index.jobs.steps import set_bench
from twinjet.index.ownership import join
from twinjet.index.reindex import Workshop
from twinjet.index.retention import KEEP_GENERATIONS
from twinjet.index.store import SourceStore
from twinjet.index.vectors.engine import VectorEngine
from twinjet.model.encoder import Encoder, card_path, load_encoder

_log = logging.getLogger(__name__)

# Between two looks for workers that have died.
_WATCH_S = 1.0


STALLED_S = 1800.0
"""Much longer than any wait for an archive of cutouts."""


class Worker:
    """One worker of this process; a context manager.

    Parameters
    ----------
    home
        Files of the installation, which all workers must see.
    store
        The metadata store.
    url
        Of the engine's database, from `twinjet.index.home.system_url`.
    encoder
        Gives the encoder where a job names none.
    named
        Gives the encoder that a job names; on torch when None.
    grace_s
        What is under way may end, so long, when the worker is stopped.
    patience_s
        For how long another worker is away before its work is taken up; what suits the
        database when None.
    stalled_s
        For how long no shard of another worker may get on before others take them.
    poll_s
        Between looks for work.
    keep_generations
        The latest that stay for rollback.
    engine
        What searches the vectors; FAISS in each process when None.

    Raises
    ------
    HomeMismatchError
        The store belongs to another home: shards would be made of files that are not
        there, and files removed that are in use.
    """

    def __init__(
        self,
        home: Home,
        store: SourceStore,
        url: str,
        *,
        encoder: Callable[[], Encoder],
        named: Callable[[str], Encoder] | None = None,
        grace_s: int = 0,
        patience_s: float | None = None,
        stalled_s: float = STALLED_S,
        poll_s: float = POLL_S,
        keep_generations: int = KEEP_GENERATIONS,
        engine: VectorEngine | None = None,
    ) -> None:
        join(home, store.engine)
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self.board = ProgressBoard(store.engine)
        self.home = home
        self.store = store
        self.engine = engine
        self._url = url
        self._grace_s = grace_s
        self._poll_s = poll_s
        self.keep_generations = keep_generations
        self._absent: dict[str, float] = {}
        self._stalled_s = stalled_s
        self._seen: dict[str, tuple[object, float]] = {}
        self._default = encoder
        self._named = named
        self._encoder = lru_cache(maxsize=2)(self._load)
        self._loading = threading.Lock()
        self._presence = presence_of(store.engine, home.path / "workers")
        self._patience_s = (
            self._presence.patience_s if patience_s is None else patience_s
        )
        self._stop = threading.Event()
        self._watch = threading.Thread(target=self._watch_others, daemon=True)
        self._client = connect(url)
        self.jobs = Jobs(self._client, self.board)

    def __enter__(self) -> Self:
        """Begin to work."""
        self._presence.enter(self.name)
        set_bench(self)
        DBOS(config=config(self._url, self.name))
        DBOS.listen_queues(workflows.QUEUES)
        DBOS.launch()
        DBOS.register_queue(
            JOBS,
            global_concurrency=1,
            polling_interval_sec=self._poll_s,
            on_conflict="always_update",
        )
        DBOS.register_queue(
            SHARDS,
            # One at work and one that waits for it to end, so that it goes on at once.
            worker_concurrency=2,
            polling_interval_sec=self._poll_s,
            on_conflict="always_update",
        )
        self._watch.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop; what is under way is gone on with by another, or by the next one."""
        self._stop.set()
        self._watch.join()
        DBOS.destroy(workflow_completion_timeout_sec=0 if kind else self._grace_s)
        set_bench(None)
        self._presence.leave()
        self._client.destroy()

    def workshop(self, request: ReindexRequest) -> Workshop:
        """What a build needs."""
        with self._loading:  # once, though several shards begin together
            encoder = self._encoder(request.encoder)
        return Workshop(
            home=self.home,
            store=self.store,
            encoder=encoder,
            provider=open_provider(request.cutouts),
            pixel_scale_arcsec=request.pixel_scale_arcsec,
            engine=self.engine,
        )

    def _load(self, name: str | None) -> Encoder:
        if name is None:
            return self._default()
        if self._named is None:
            return load_encoder(card_path(name))
        return self._named(name)

    def _watch_others(self) -> None:
        """Give the work of workers that have died to the queues again."""
        while True:
            try:
                if self._presence.stay():
                    self._absent.clear()
                self._recover()
            except Exception as exc:  # noqa: BLE001 - it must go on, whatever it was
                _log.warning("other workers cannot be looked at: %s", exc)
            if self._stop.wait(_WATCH_S):
                return

    def _recover(self) -> None:
        pending = self._client.list_workflows(
            status="PENDING", load_input=False, load_output=False
        )
        others = {w.executor_id for w in pending if w.executor_id != self.name}
        away = {o for o in others if o and not self._presence.is_there(o)}
        now = time.monotonic()
        self._absent = {other: self._absent.get(other, now) for other in away}
        for other, since in sorted(self._absent.items()):
            if now - since >= self._patience_s:
                _log.warning("worker %s has died; its work is taken up", other)
                # The public way is to start another worker under the name of the dead.
                DBOS._recover_pending_workflows([other])  # noqa: SLF001
        self._take_stalled([w for w in pending if w.executor_id in others - away], now)

    def _take_stalled(self, pending: list[WorkflowStatus], now: float) -> None:
        """Give shards to the queue again whose worker lives and does nothing.

        Its process is stopped, or what it reads from hangs. What it does afterwards
        is the same, and does no harm.
        """
        shards: dict[str, list[str]] = {}
        for one in pending:
            if one.name == "embed":
                shards.setdefault(one.executor_id or "", []).append(one.workflow_id)
        seen: dict[str, tuple[object, float]] = {}
        for worker, names in shards.items():
            parts = [name.split("-")[:3] for name in names]
            latest = self.board.latest([(job, int(part)) for job, _, part in parts])
            state = sorted(names), latest
            before, since = self._seen.get(worker, (None, now))
            seen[worker] = state, since if before == state else now
            if now - seen[worker][1] >= self._stalled_s:
                _log.warning("worker %s stands still; its shards go on", worker)
                for name in names:
                    self._client.resume_workflow(name, queue_name=SHARDS)
        self._seen = seen
