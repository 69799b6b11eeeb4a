"""The steps of a job, as plain functions of plain data.

Each may be done twice, by different workers, and gives the same.
"""

import json
import logging
import threading
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from twinjet.index.catalogue_file import load_catalogue, write_catalogue
from twinjet.index.checks import Limits
from twinjet.index.errors import (
    BuildInProgressError,
    JobConflictError,
    JobError,
    ShardDamagedError,
    TwinjetIndexError,
)
from twinjet.index.home import Home
from twinjet.index.jobs.jobs import Jobs
from twinjet.index.jobs.progress import JOB, BoardWatcher, ProgressBoard
from twinjet.index.jobs.request import ReindexRequest
from twinjet.index.locks import only_builder
from twinjet.index.plan import Plan, read_task
from twinjet.index.reindex import (
    Built,
    Workshop,
    already_there,
    assemble,
    check_build,
    embed_shard,
    plan_build,
    problems_of,
    publish_build,
)
from twinjet.index.retention import clear_leftovers, forget_jobs, retire
from twinjet.index.store import SourceStore
from twinjet.index.vectors.engine import VectorEngine

_log = logging.getLogger(__name__)

# Of a plan's folder, for the workers of other machines.
_PLAN = ("catalogue.parquet", "sources.parquet", "tasks.parquet")

# Another build is waited for so long.
_LOCK_WAIT_S = 6 * 3600

# Problems that a job's report names; all are in problems.jsonl of its folder.
_NAMED = 100


class Bench(Protocol):
    """What a worker gives to the steps of a job."""

    name: str
    home: Home
    store: SourceStore
    board: ProgressBoard
    jobs: Jobs
    engine: VectorEngine | None

    def workshop(self, request: ReindexRequest) -> Workshop:
        """What a build needs."""


class _Place:
    """Where the worker of this process puts its bench."""

    bench: Bench | None = None
    encoding = threading.Lock()
    """Of the shards that a worker has, one is embedded at a time."""


def set_bench(bench: Bench | None) -> None:
    """Say what the steps of this process work with."""
    _Place.bench = bench


def _bench() -> Bench:
    if _Place.bench is None:
        msg = "this process is no worker"
        raise JobError(msg)
    return _Place.bench


def _folder(bench: Bench, plan: dict[str, Any]) -> Path:
    """Of a plan; what is in it never changes, whichever machine made it."""
    folder: Path = bench.home.jobs / plan["folder"]
    for name in _PLAN:
        bench.home.fetched(folder / name)
    return folder


def _shop(bench: Bench, data: dict[str, Any], plan: dict[str, Any]) -> Workshop:
    """What a build needs, if it is what the plan was made with.

    Raises
    ------
    JobError
        This worker has another encoder in force.
    """
    shop = bench.workshop(ReindexRequest.from_dict(data))
    if shop.encoder.card.id != plan["encoder"]:
        msg = (
            f"this worker has encoder {shop.encoder.card.id}, the job is of "
            f"{plan['encoder']}: start all workers with one TWINJET_ENCODER"
        )
        raise JobError(msg, limit=plan["encoder"], actual=shop.encoder.card.id)
    return shop


@contextmanager
def _building(bench: Bench) -> Iterator[None]:
    """The right to build, when whoever has it is done."""
    until = time.monotonic() + _LOCK_WAIT_S
    while True:
        with ExitStack() as stack:
            try:
                stack.enter_context(bench.home.building())
                stack.enter_context(only_builder(bench.store.engine))
            except BuildInProgressError:
                if time.monotonic() > until:
                    raise
            else:
                yield
                return
        time.sleep(1.0)


def _watcher(
    bench: Bench,
    job: str,
    part: int = JOB,
    *,
    stage: str = "",
    total: int | None = None,
) -> BoardWatcher:
    return BoardWatcher(
        bench.board,
        job,
        part,
        is_cancelled=bench.jobs.is_cancelled,
        stage=stage,
        total=total,
    )


def plan(job: str, data: dict[str, Any]) -> dict[str, Any]:
    """What there is to do, and where it is written down."""
    bench = _bench()
    request = ReindexRequest.from_dict(data)
    shop = bench.workshop(request)
    watcher = _watcher(bench, job)
    watcher.stage("catalogue", None)
    catalogue = request.read(bench.home)
    with _building(bench):
        clear_leftovers(bench.home, bench.store, job_id=job, engine=bench.engine)
    # A name of its own: machines keep what they have fetched under the one before.
    folder = bench.home.jobs / job / uuid.uuid4().hex[:12]
    made = plan_build(
        folder,
        catalogue,
        shop,
        watcher=watcher,
        shard_sources=request.shard_sources,
    )
    write_catalogue(folder / "catalogue.parquet", catalogue)
    for name in _PLAN:
        bench.home.share(folder / name)
    there = already_there(
        catalogue, made, shop, max_failed_fraction=request.max_failed_fraction
    )
    watcher.stage("embed", made.to_embed)
    return asdict(made) | {
        "there": None if there is None else there.to_dict(),
        "folder": folder.relative_to(bench.home.jobs).as_posix(),
        "encoder": shop.encoder.card.id,
    }


def clear(job: str) -> None:
    """As far as it goes: the job has ended, and why is what people must hear."""
    try:
        bench = _bench()
        with _building(bench):
            clear_leftovers(bench.home, bench.store, job_id=None, engine=bench.engine)
        bench.board.forget_parts(job)
    except Exception:  # noqa: BLE001 - it is logged, and the job's own end is raised
        _log.exception("what job %s has written could not be removed", job)


def worker_name() -> str:
    """Of this process."""
    return _bench().name


def others_at_work(tried: Collection[str]) -> bool:
    """Whether somebody has work now who has not tried it."""
    return bool(_bench().jobs.at_work().difference(tried))


def embed_one(
    job: str,
    data: dict[str, Any],
    plan: dict[str, Any],
    number: int,
    tried: Collection[str],
) -> int | None:
    """Make one shard; returns how many of its cutouts could not be embedded.

    None where this worker has tried it and could not.
    """
    bench = _bench()
    if bench.name in tried:
        return None
    folder, shop = _folder(bench, plan), _shop(bench, data, plan)
    with _Place.encoding:
        total = len(read_task(folder, number, plan["shards"]))
        watcher = _watcher(bench, job, number, stage="embed", total=total)
        return embed_shard(folder, number, plan["shards"], shop, watcher=watcher)


def write(
    job: str, data: dict[str, Any], plan: dict[str, Any], failed: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """The generation; None where a shard was damaged, which the next plan sees."""
    bench = _bench()
    folder, shop = _folder(bench, plan), _shop(bench, data, plan)
    with _building(bench):
        try:
            built = assemble(
                folder,
                load_catalogue(folder / "catalogue.parquet"),
                _plan_of(plan),
                shop,
                watcher=_watcher(bench, job),
                max_failed_fraction=ReindexRequest.from_dict(data).max_failed_fraction,
                job_id=job,
                lost=failed[0]["reason"] if failed else None,
            )
        except ShardDamagedError:
            return None
    return asdict(built)


def look(job: str, data: dict[str, Any], built: dict[str, Any]) -> dict[str, Any]:
    """Verify the generation; returns what is passed over by force."""
    bench = _bench()
    request = ReindexRequest.from_dict(data)
    limits = Limits()
    if request.max_removed_fraction is not None:
        limits = Limits(max_removed=request.max_removed_fraction)
    watcher = _watcher(bench, job)
    shop = bench.workshop(request)
    found = check_build(Built(**built), shop, limits, watcher=watcher)
    return {"forced": found.passed_over(force=request.force)}


def publish(
    job: str, data: dict[str, Any], built: dict[str, Any], found: dict[str, Any]
) -> None:
    """Make it the current one."""
    bench = _bench()
    shop = bench.workshop(ReindexRequest.from_dict(data))
    _watcher(bench, job).stage("publish", None)
    with _building(bench):
        publish_build(Built(**built), shop, forced=found["forced"])


def finish(
    job: str,
    data: dict[str, Any],
    plan: dict[str, Any],
    built: dict[str, Any] | None,
    failed: list[dict[str, Any]],
) -> dict[str, Any]:
    """What the job did; from here on nothing can make it a failure."""
    bench = _bench()
    shop = bench.workshop(ReindexRequest.from_dict(data))
    _watcher(bench, job).stage("done", None)
    bench.board.forget_parts(job)
    folder = _folder(bench, plan)
    problems = 0
    named: list[dict[str, Any]] = []
    file = folder / "problems.jsonl"
    try:
        with file.open("w", encoding="utf-8") as lines:
            catalogue = load_catalogue(folder / "catalogue.parquet")
            for problem in problems_of(folder, catalogue, shop):
                problems += 1
                if len(named) < _NAMED:
                    named.append(asdict(problem))
                lines.write(json.dumps(asdict(problem)) + "\n")
        bench.home.share(file)
        if built is not None:
            with _building(bench):
                retire(bench.home, bench.store, engine=bench.engine)
        forget_jobs(bench.home)
    except (OSError, TwinjetIndexError):
        _log.exception("job %s is done; its report lacks something", job)
    of = plan["there"] if built is None else built
    return {
        "number": of["number"],
        "published": built is not None,
        "count": of["count"],
        "reused": plan.get("reused", plan["sources"] - plan["to_embed"]),
        "embedded": plan["to_embed"],
        "shards": plan["shards"],
        "failed_shards": failed[:_NAMED],
        "problems": problems,
        "named_problems": named,
        "problems_file": file.relative_to(bench.home.path).as_posix(),
        "recall_at_10": of["recall_at_10"],
        "digest": None if built is None else built["digest"],
    }


def submit(data: dict[str, Any]) -> str:
    """Ask for a job; one that is under way is left alone."""
    try:
        _bench().jobs.submit(ReindexRequest.from_dict(data))
    except JobConflictError as exc:
        return str(exc)
    return "asked for"


def _plan_of(data: dict[str, Any]) -> Plan:
    return Plan(**{k: v for k, v in data.items() if k in Plan.__dataclass_fields__})
