"""Jobs as those see them who ask for them: begin, look, cancel, follow."""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Literal

from dbos import DBOSClient, WorkflowStatus
from dbos import error as dbos_error

from twinjet.index.errors import (
    IdempotencyError,
    JobConflictError,
    JobError,
    UnknownJobError,
)
from twinjet.index.jobs.engine import JOBS, NAME, VERSION
from twinjet.index.jobs.progress import Progress, ProgressBoard
from twinjet.index.jobs.request import ReindexRequest

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]

_STATES: dict[str, State] = {
    "DELAYED": "queued",
    "ENQUEUED": "queued",
    "PENDING": "running",
    "SUCCESS": "succeeded",
    "ERROR": "failed",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed",
    "CANCELLED": "cancelled",
}

_UNDER_WAY = ["DELAYED", "ENQUEUED", "PENDING"]

# Between two looks of who follows a job.
_LOOK_S = 0.3


@dataclass(frozen=True)
class Job:
    """A job at one moment."""

    id: str
    state: State
    request: ReindexRequest
    created_at: datetime
    finished_at: datetime | None
    worker: str | None
    """That took it last."""
    progress: Progress | None
    """None before it has begun."""
    report: dict[str, Any] | None
    """What it did, when it has succeeded."""
    error: str | None
    """Why it has failed, if so."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in {"succeeded", "failed", "cancelled"}


class Jobs:
    """All jobs.

    Parameters
    ----------
    client
        From `twinjet.index.jobs.engine.connect`.
    board
        Where their progress is.
    """

    def __init__(self, client: DBOSClient, board: ProgressBoard) -> None:
        self._client = client
        self._board = board

    def submit(
        self, request: ReindexRequest, *, idempotency_key: str | None = None
    ) -> Job:
        """Ask for a catalogue to be indexed.

        Parameters
        ----------
        request
            What to do.
        idempotency_key
            The same key and request give the same job, however often.

        Raises
        ------
        JobConflictError
            A job of this catalogue is under way.
        IdempotencyError
            The key was used for another request.
        """
        name = uuid.uuid4().hex
        if idempotency_key is not None:
            name = sha256(f"job {idempotency_key}".encode()).hexdigest()[:32]
            earlier = self._find(name)
            if earlier is not None:
                return _same(earlier, request)
        try:
            self._client.enqueue(
                {
                    "workflow_name": "reindex",
                    "queue_name": JOBS,
                    "workflow_id": name,
                    "deduplication_id": request.catalogue_name,
                    "app_version": VERSION,
                    "application_name": NAME,
                },
                request.to_dict(),
            )
        except dbos_error.DBOSQueueDeduplicatedError as exc:
            # Of two at the same time with one key, one comes here.
            earlier = self._find(name)
            if earlier is not None:
                return _same(earlier, request)
            other = self.under_way(request.catalogue_name)
            msg = (
                f"a job of the catalogue {request.catalogue_name!r} is under way"
                f"{'' if other is None else f': {other.id}'}; wait for it or cancel it"
            )
            raise JobConflictError(
                msg, parameter="catalogue", actual=other.id if other else None
            ) from exc
        # Of two at the same time with one key, this may be the other's.
        return _same(self.get(name), request)

    def get(self, job_id: str) -> Job:
        """One job.

        Raises
        ------
        UnknownJobError
            There is none.
        """
        found = self._find(job_id)
        if found is None:
            msg = f"no job {job_id[:100]!r}"
            raise UnknownJobError(msg, parameter="job_id", actual=job_id[:100])
        return found

    def latest(self, *, limit: int = 100) -> list[Job]:
        """The latest jobs, the last one first."""
        found = self._client.list_workflows(name="reindex", limit=limit, sort_desc=True)
        return [self._job(status) for status in found]

    def under_way(self, catalogue_name: str) -> Job | None:
        """The job of a catalogue that has not ended."""
        found = self._client.list_workflows(name="reindex", status=_UNDER_WAY)
        jobs = [self._job(status) for status in found]
        return next(
            (j for j in jobs if j.request.catalogue_name == catalogue_name), None
        )

    def at_work(self) -> set[str]:
        """Workers that have a job or a shard now."""
        found = self._client.list_workflows(
            status="PENDING", load_input=False, load_output=False
        )
        return {one.executor_id for one in found if one.executor_id}

    def cancel(self, job_id: str) -> Job:
        """End a job, its steps that are under way within seconds.

        One that has ended stays as it is.

        Raises
        ------
        UnknownJobError
            There is none.
        """
        if not self.get(job_id).has_ended:
            self._client.cancel_workflow(job_id, cancel_children=True)
        return self.get(job_id)

    def is_cancelled(self, job_id: str) -> bool:
        """Whether somebody has cancelled a job."""
        found = self._client.list_workflows(
            workflow_ids=[job_id], load_input=False, load_output=False
        )
        return bool(found) and _STATES[found[0].status] == "cancelled"

    def follow(self, job_id: str) -> Iterator[Job]:
        """The job again and again, as often as something has changed, to its end."""
        last: Job | None = None
        while last is None or not last.has_ended:
            job = self.get(job_id)
            if job != last:
                yield job
                last = job
            if not job.has_ended:
                time.sleep(_LOOK_S)

    def plan(self, name: str, cron: str, request: ReindexRequest) -> None:
        """Index a catalogue by the clock; a plan of this name is replaced.

        Raises
        ------
        JobError
            The cron expression cannot be understood.
        """
        try:
            self._client.apply_schedules(
                [
                    {
                        "schedule_name": name,
                        "workflow_name": "scheduled",
                        "schedule": cron,
                        "context": request.to_dict(),
                        "application_name": NAME,
                    }
                ]
            )
        except dbos_error.DBOSException as exc:
            msg = f"the plan {name!r} cannot be made: {exc}"
            raise JobError(msg, parameter="cron", actual=cron) from exc

    def plans(self) -> list[tuple[str, str, ReindexRequest]]:
        """What is done by the clock: name, cron expression, request."""
        return [
            (
                found["schedule_name"],
                found["schedule"],
                ReindexRequest.from_dict(found["context"]),
            )
            for found in self._client.list_schedules()
        ]

    def unplan(self, name: str) -> None:
        """Do not do it any more.

        Raises
        ------
        UnknownJobError
            There is no such plan.
        """
        if self._client.get_schedule(name) is None:
            msg = f"no plan {name!r}"
            raise UnknownJobError(msg, parameter="schedule", actual=name)
        self._client.delete_schedule(name)

    def _find(self, job_id: str) -> Job | None:
        found = self._client.list_workflows(workflow_ids=[job_id], name="reindex")
        return self._job(found[0]) if found else None

    def _job(self, status: WorkflowStatus) -> Job:
        asked = status.input["args"][0] if status.input else {}
        error = None if status.error is None else str(status.error)
        if status.status == "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
            error = "every worker that took it has died"
        return Job(
            id=status.workflow_id,
            state=_STATES[status.status],
            request=ReindexRequest.from_dict(asked),
            created_at=_moment(status.created_at) or datetime.now(UTC),
            finished_at=_moment(status.completed_at),
            worker=status.executor_id if status.status == "PENDING" else None,
            progress=self._board.of(status.workflow_id),
            report=status.output,
            error=error,
        )


def _same(earlier: Job, request: ReindexRequest) -> Job:
    """The job of a key that was used before, if it was asked for the same."""
    if earlier.request.digest != request.digest:
        msg = (
            f"this idempotency key began job {earlier.id} with another request; "
            "take a new key"
        )
        raise IdempotencyError(msg, parameter="Idempotency-Key", actual=earlier.id)
    return earlier


def _moment(milliseconds: int | None) -> datetime | None:
    return (
        None
        if milliseconds is None
        else datetime.fromtimestamp(milliseconds / 1000, UTC)
    )
