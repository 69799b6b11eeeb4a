"""``twinjet jobs``: what is under way, and what is to be done when."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from twinjet.index.cutouts.open import open_provider
from twinjet.index.errors import JobFailedError
from twinjet.index.jobs.engine import connected
from twinjet.index.jobs.jobs import Job, Jobs
from twinjet.index.jobs.progress import ProgressBoard
from twinjet.index.jobs.request import ReindexRequest
from twinjet.service.commands.following import follow
from twinjet.service.commands.options import (
    HOME,
    JSON,
    PIXEL_SCALE,
    config_of,
    existing_store_of,
)
from twinjet.service.commands.text import print_json, say
from twinjet.service.schemas_jobs import JobOut

_CATALOGUE = click.option(
    "--catalogue",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table of sources; what is with the CUTOUTS when absent.",
)
_NAME = click.option("--name", help="Of the catalogue.")


@click.group()
def jobs() -> None:
    """Look at jobs, begin and cancel them, and plan them by the clock."""


@jobs.command("list")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@HOME
@JSON
def list_jobs(limit: int, home: Path | None, as_json: bool) -> None:
    """List the latest jobs, the last one first."""
    with _jobs(home) as all_jobs:
        for job in all_jobs.latest(limit=limit):
            _print(job, as_json=as_json)


@jobs.command()
@click.argument("job_id")
@HOME
@JSON
def show(job_id: str, home: Path | None, as_json: bool) -> None:
    """Show a job."""
    with _jobs(home) as all_jobs:
        _print(all_jobs.get(job_id), as_json=as_json)


@jobs.command("follow")
@click.argument("job_id")
@HOME
def follow_job(job_id: str, home: Path | None) -> None:
    """Follow a job to its end; Ctrl-C ends the following, not the job."""
    with _jobs(home) as all_jobs:
        job = follow(all_jobs, job_id)
    _print(job, as_json=False)
    if job.report is None:
        raise JobFailedError(job.error or f"it was {job.state}", actual=job.id)


@jobs.command()
@click.argument("job_id")
@HOME
def cancel(job_id: str, home: Path | None) -> None:
    """Cancel a job: no further step of it is begun."""
    with _jobs(home) as all_jobs:
        _print(all_jobs.cancel(job_id), as_json=False)


@jobs.command()
@click.argument("cutouts")
@_CATALOGUE
@_NAME
@PIXEL_SCALE
@HOME
def start(
    cutouts: str,
    catalogue: Path | None,
    name: str | None,
    pixel_scale: float | None,
    home: Path | None,
) -> None:
    """Ask the workers to index CUTOUTS, and return at once."""
    with _jobs(home) as all_jobs:
        job = all_jobs.submit(_request(cutouts, catalogue, name, pixel_scale))
        _print(job, as_json=False)


@jobs.command()
@click.argument("schedule")
@click.argument("cron")
@click.argument("cutouts")
@_CATALOGUE
@_NAME
@PIXEL_SCALE
@HOME
def plan(
    schedule: str,
    cron: str,
    cutouts: str,
    catalogue: Path | None,
    name: str | None,
    pixel_scale: float | None,
    home: Path | None,
) -> None:
    """Index CUTOUTS by the clock, under the name SCHEDULE.

    CRON has minute, hour, day, month and weekday, in UTC: '0 3 * * *' is every day at
    three. A worker must be there then. A name that is there is replaced.
    """
    with _jobs(home) as all_jobs:
        request = _request(cutouts, catalogue, name, pixel_scale)
        all_jobs.plan(schedule, cron, request)
        say(f"{schedule}: {cron} UTC, {request.catalogue_name}")


@jobs.command()
@HOME
def plans(home: Path | None) -> None:
    """List what is done by the clock."""
    with _jobs(home) as all_jobs:
        for name, cron, request in all_jobs.plans():
            say(f"{name}: {cron} UTC, {request.cutouts}")


@jobs.command()
@click.argument("schedule")
@HOME
def unplan(schedule: str, home: Path | None) -> None:
    """Do not do SCHEDULE any more."""
    with _jobs(home) as all_jobs:
        all_jobs.unplan(schedule)


@contextmanager
def _jobs(home: Path | None) -> Iterator[Jobs]:
    config = config_of(home)
    with (
        closing(existing_store_of(config)) as store,
        connected(config.jobs_url) as client,
    ):
        yield Jobs(client, ProgressBoard(store.engine))


def _request(
    cutouts: str, catalogue: Path | None, name: str | None, pixel_scale: float | None
) -> ReindexRequest:
    place = str(Path(cutouts).absolute()) if Path(cutouts).exists() else cutouts
    return ReindexRequest(
        cutouts=open_provider(place).location,
        catalogue=None if catalogue is None else str(catalogue.absolute()),
        name=name,
        pixel_scale_arcsec=pixel_scale,
    )


def _print(job: Job, *, as_json: bool) -> None:
    if as_json:
        print_json(JobOut.of(job, "").model_dump(mode="json"))
        return
    line = f"{job.id} {job.state} {job.created_at:%Y-%m-%d %H:%M} "
    line += job.request.catalogue_name
    seen = job.progress
    if not job.has_ended and seen is not None:
        line += f": {seen.stage} {seen.done}"
        line += "" if seen.total is None else f" of {seen.total}"
        if seen.seconds_left is not None:
            line += f", {seen.seconds_left:.0f} s left"
    if job.report is not None:
        line += f": generation {job.report['number']}, {job.report['count']} sources"
    if job.error is not None:
        line += f": {json.dumps(job.error)}"
    say(line)
