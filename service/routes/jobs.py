"""Jobs: begun, looked at, followed, cancelled; by who holds a key of scope admin."""

from collections.abc import AsyncIterable
from typing import Annotated

import anyio
import anyio.to_thread
from fastapi import APIRouter, Body, Depends, Header, Query, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from twinjet.index.cutouts.open import open_provider
from twinjet.index.jobs.jobs import Job
from twinjet.service.dependencies import ResourcesDep, RootDep
from twinjet.service.json_body import JsonBodyRoute
from twinjet.service.responses import BODY, problems
from twinjet.service.schemas_jobs import JobOut, JobsOut, ReindexIn
from twinjet.service.scopes import ADMIN

router = APIRouter(
    tags=["jobs"],
    responses=problems(503),
    dependencies=[ADMIN],
    route_class=JsonBodyRoute,
)

# Seconds between two looks at a job that is followed.
_LOOK_S = 0.5


def known(job_id: str, held: ResourcesDep) -> Job:
    """The job of a path; a stream that has begun could not refuse any more."""
    return held.jobs.get(job_id)


JobDep = Annotated[Job, Depends(known)]


@router.post(
    "/jobs/reindex",
    status_code=202,
    summary="Index a catalogue",
    responses=problems(*BODY, 409),
)
def reindex(
    held: ResourcesDep,
    root: RootDep,
    response: Response,
    body: Annotated[ReindexIn, Body()],
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=200,
            description="The same key and body give the same job, however often",
        ),
    ] = None,
) -> JobOut:
    request = body.request()
    open_provider(request.cutouts)  # a location that nobody understands ends here
    job = held.jobs.submit(request, idempotency_key=idempotency_key)
    out = JobOut.of(job, root)
    response.headers["Location"] = out.links.self
    return out


@router.get("/jobs", summary="The latest jobs, the last one first")
def list_jobs(
    held: ResourcesDep,
    root: RootDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> JobsOut:
    return JobsOut(jobs=[JobOut.of(job, root) for job in held.jobs.latest(limit=limit)])


@router.get("/jobs/{job_id}", summary="One job", responses=problems(404))
def one_job(job_id: str, held: ResourcesDep, root: RootDep) -> JobOut:
    return JobOut.of(held.jobs.get(job_id), root)


@router.get(
    "/jobs/{job_id}/events",
    response_class=EventSourceResponse,
    responses=problems(404),
    summary="A job, again whenever it has changed, to its end",
)
async def events(
    job_id: str, job: JobDep, held: ResourcesDep, root: RootDep
) -> AsyncIterable[ServerSentEvent]:
    last = None
    while True:
        seen = JobOut.of(job, root)
        if seen != last:
            last = seen
            yield ServerSentEvent(event="job", data=seen)
        if job.has_ended:
            return
        await anyio.sleep(_LOOK_S)
        job = await anyio.to_thread.run_sync(lambda: held.jobs.get(job_id))


@router.delete(
    "/jobs/{job_id}",
    summary="Cancel a job; one that has ended stays",
    responses=problems(404, 507),
)
def cancel(job_id: str, held: ResourcesDep, root: RootDep) -> JobOut:
    return JobOut.of(held.jobs.cancel(job_id), root)
