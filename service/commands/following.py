"""Jobs of the command line: begun, helped with and followed in the terminal."""

import json
import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any, Self

import torch
from rich.progress import Progress, TaskID

from twinjet.index.catalogue import Catalogue
from twinjet.index.catalogue_file import snapshot_name, write_catalogue
from twinjet.index.errors import JobConflictError, JobFailedError
from twinjet.index.home import Home
from twinjet.index.jobs.engine import connected
from twinjet.index.jobs.jobs import Job, Jobs
from twinjet.index.jobs.presence import presence_of
from twinjet.index.jobs.progress import ProgressBoard
from twinjet.index.jobs.request import ReindexRequest
from twinjet.index.jobs.worker import Worker
from twinjet.index.store import SourceStore
from twinjet.service.commands.options import (
    bars,
    engine_of,
    errors,
    store_of,
)
from twinjet.service.commands.text import print_json, say
from twinjet.service.config import Config
from twinjet.service.encoders import encoder_of
from twinjet.service.workers import Workers

# Problems that are shown; all of them go to the JSON.
_SHOWN = 5

# Cutouts to embed that take longer than another worker's start.
_WORTH_HELP = 400


def index_catalogue(
    config: Config, catalogue: Catalogue, request: ReindexRequest
) -> dict[str, Any]:
    """Index a catalogue that was read already; returns the job's report.

    The job is done by this process and by every other worker of the installation.
    Interrupted at the keyboard it is cancelled; killed, the same command goes on with
    it, and embeddings are never made twice.

    Raises
    ------
    JobConflictError
        Another job of this catalogue is at work elsewhere.
    JobFailedError
        What it ended with.
    """
    home = config.files
    with closing(store_of(config)) as store:
        snapshot = home.jobs / "catalogues" / snapshot_name(catalogue)
        # Also where it is there: it may be damaged, and is removed by its age.
        write_catalogue(snapshot, catalogue)
        home.share(snapshot)
        request = replace(
            request,
            catalogue=None,
            mapping={},
            name=catalogue.name,
            snapshot=snapshot.relative_to(home.path).as_posix(),
            # Another process may have another one in force.
            encoder=None if config.encoder is None else str(config.encoder),
        )
        job, is_ours = _begin(config, store, request)
        worker = Worker(
            config.files,
            store,
            config.jobs_url,
            encoder=partial(encoder_of, config),
            named=partial(encoder_of, config),
            engine=engine_of(config, store),
            keep_generations=config.keep_generations,
        )
        with worker, _Helpers(config) as helpers:
            try:
                ended = follow(worker.jobs, job.id, also=helpers.see)
            except KeyboardInterrupt:
                if is_ours:
                    worker.jobs.cancel(job.id)
                raise
    return _report(home, ended)


class _Helpers:
    """A worker for each of the other cores, when there is enough to embed.

    Threads of one process would wait for each other, for half of what is done to a
    cutout is done by Python.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._workers: Workers | None = None
        self._threads = config.threads or torch.get_num_threads()

    def see(self, job: Job) -> None:
        """Look at what there is to do."""
        seen = job.progress
        if (
            self._workers is None
            and self._threads > 1
            and seen is not None
            and seen.stage == "embed"
            and (seen.total or 0) - seen.done >= _WORTH_HELP
        ):
            torch.set_num_threads(1)
            environment = os.environ | {"OMP_NUM_THREADS": "1", "TWINJET_THREADS": "1"}
            count = self._threads - 1
            self._workers = Workers(count, self._config.home, environment)
            self._workers.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._workers is not None:
            self._workers.stop()
            torch.set_num_threads(self._threads)


def report_job(run: Callable[[], dict[str, Any]], *, as_json: bool) -> None:
    """Run a job and print what it did."""
    started = time.monotonic()
    report = run()
    problems = report["problems"]
    if as_json:
        print_json(report)
    else:
        state = "published" if report["published"] else "was current already"
        say(
            f"generation {report['number']} {state}: {report['count']} sources in "
            f"{time.monotonic() - started:.1f} s ({report['reused']} embeddings were "
            f"there), recall@10 {report['recall_at_10']:.3f}"
        )
    if problems:
        errors.print(f"{report['problem_count']} rows or cutouts were left out:")
        for problem in problems[:_SHOWN]:
            line = f"  {problem['source_id']}: {problem['reason']}"
            errors.print(line)
        if len(problems) > _SHOWN:
            errors.print(f"  and {len(problems) - _SHOWN} more (--json has all)")


def follow(
    jobs: Jobs, job_id: str, *, also: Callable[[Job], None] = lambda _job: None
) -> Job:
    """Show a job as bars on stderr, to its end, and to who else wants to see it."""
    with bars() as progress:
        shown = _Bars(progress)
        for job in jobs.follow(job_id):
            shown.show(job)
            also(job)
        shown.finish()
    return jobs.get(job_id)


def _begin(
    config: Config, store: SourceStore, request: ReindexRequest
) -> tuple[Job, bool]:
    """The job of a request, and whether nobody else follows it.

    A new one, or the one that a killed process has left.
    """
    presence = presence_of(store.engine, config.files.path / "workers")
    with connected(config.jobs_url) as client:
        jobs = Jobs(client, ProgressBoard(store.engine))
        try:
            return jobs.submit(request), True
        except JobConflictError:
            other = jobs.under_way(request.catalogue_name)
            if other is None:  # it has just ended
                return jobs.submit(request), True
            alive = other.worker is not None and presence.is_there(other.worker)
            if other.request.digest == request.digest:
                errors.print(f"going on with job {other.id}")
                return other, not alive
            # One that nobody has taken is nobody's where nobody is.
            waits = other.worker is None and presence.is_anybody_there()
            if alive or waits:
                raise
            errors.print(f"job {other.id} was left by a process that died: cancelled")
            jobs.cancel(other.id)
            return jobs.submit(request), True


def _report(home: Home, job: Job) -> dict[str, Any]:
    """What a job did, with all of its problems."""
    if job.report is None:
        reason = job.error or f"it was {job.state}"
        raise JobFailedError(reason, actual=job.id)
    report = job.report | {
        "job": job.id,
        "problems": job.report["named_problems"],
        "problem_count": job.report["problems"],
    }
    file = home.fetched(home.path / job.report["problems_file"])
    if file.exists():
        with file.open(encoding="utf-8") as lines:
            report["problems"] = [json.loads(line) for line in lines]
    del report["named_problems"]
    return report


class _Bars:
    """A bar for each stage of a job."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None
        self._stage = ""

    def show(self, job: Job) -> None:
        """The job as it is now."""
        seen = job.progress
        if seen is None or seen.stage == "done":
            return
        if seen.stage != self._stage:
            self.finish()
            self._stage = seen.stage
            self._task = self._progress.add_task(seen.stage, total=seen.total)
        if self._task is not None:
            self._progress.update(self._task, total=seen.total, completed=seen.done)

    def finish(self) -> None:
        """The stage has ended."""
        if self._task is not None:
            task = next(t for t in self._progress.tasks if t.id == self._task)
            total = task.total if task.total is not None else 1
            self._progress.update(self._task, total=total, completed=total)
            self._progress.stop_task(self._task)
