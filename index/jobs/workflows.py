"""What a job does step after step; the engine keeps what each step gave.

A job's steps are done by the worker that took the job, its shards by all workers. The
engine promises each step at least once.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from dbos import (
    DBOS,
    SetEnqueueOptions,
    SetWorkflowID,
    StepOptions,
    WorkflowHandle,
)
from sqlalchemy.exc import DataError, SQLAlchemyError

from twinjet.index.errors import (
    GenerationDamagedError,
    IndexUnavailableError,
    JobCancelledError,
    JobError,
    ScratchError,
    SharedStoreError,
)
from twinjet.index.jobs import steps
from twinjet.index.jobs.engine import JOBS, SHARDS, VERSION

T = TypeVar("T")

QUEUES = (JOBS, SHARDS)
"""From which workers take what is below."""

# What may be gone at the next try: a disk that was full, a database that was away.
_TRANSIENT = (
    OSError,
    SQLAlchemyError,
    GenerationDamagedError,
    IndexUnavailableError,
    ScratchError,
    SharedStoreError,
)

# Shards that are damaged when they are read are made again, so often at most.
_ROUNDS = 3

# Between the first try of a step and the second; three times as long before each next.
FIRST_WAIT_S = 1.0
_TRIES = 6

# A worker that could not make a shard rests for so many first waits, and a shard is
# lost when so often nobody was there who has not tried it.
_RESTS = 10
_ALONE = 2

# Seconds between looks at a shard that is waited for.
_LOOK_S = 0.2


@DBOS.workflow(name="reindex", max_recovery_attempts=10_000)
def reindex(request: dict[str, Any]) -> dict[str, Any]:
    """Index a catalogue; returns the report as plain data."""
    job = _job_id()
    try:
        return _reindex(job, request)
    except Exception:
        # What it had written takes room that may be what it lacked.
        _step("clear", partial(steps.clear, job))
        raise


def _reindex(job: str, request: dict[str, Any]) -> dict[str, Any]:
    for again in range(_ROUNDS):
        plan = _step("plan", partial(steps.plan, job, request))
        if plan["there"] is not None:
            return _step("done", partial(steps.finish, job, request, plan, None, []))
        failed = _shards(job, request, again, plan)
        built = _step("assemble", partial(steps.write, job, request, plan, failed))
        if built is not None:
            break
    else:
        msg = f"shards were found damaged {_ROUNDS} times: no disk to be trusted"
        raise JobError(msg, actual=_ROUNDS)
    found = _step("verify", partial(steps.look, job, request, built))
    _step("publish", partial(steps.publish, job, request, built, found))
    return _step("done", partial(steps.finish, job, request, plan, built, failed))


def _shards(
    job: str, request: dict[str, Any], again: int, plan: dict[str, Any]
) -> list[dict[str, Any]]:
    """Have all shards made by whoever is there; returns those that could not be."""
    shards = []
    for number in range(plan["shards"]):
        name = f"{job}-{again}-{number}"
        with SetWorkflowID(name), SetEnqueueOptions(app_version=VERSION):
            hand = {"name": name, "turn": 0, "alone": 0, "tried": {}}
            shards.append(
                DBOS.enqueue_workflow(SHARDS, embed, job, request, plan, number, hand)
            )
    failed = []
    for number, shard in enumerate(shards):
        try:
            found = shard.get_result(polling_interval_sec=_LOOK_S)
            while "handed_on" in found:
                next_one: WorkflowHandle[dict[str, Any]] = DBOS.retrieve_workflow(
                    found["handed_on"], existing_workflow=False
                )
                found = next_one.get_result(polling_interval_sec=_LOOK_S)
            reason = found.get("failed")
        except Exception as exc:  # noqa: BLE001 - whatever it was, its sources are lost
            reason = str(exc)
        if reason is not None:
            failed.append({"shard": number, "reason": reason[:500]})
    return failed


@DBOS.workflow(name="embed", max_recovery_attempts=10_000)
def embed(
    job: str,
    request: dict[str, Any],
    plan: dict[str, Any],
    number: int,
    hand: dict[str, Any],
) -> dict[str, Any]:
    """Make one shard, or hand it on: what one worker cannot do another may.

    `hand` has the name of the first try, how many there were before this one, which
    workers cannot and why, and how often nobody else was seen at work since. Returns
    how many cutouts could not be embedded, or who goes on, or why nobody can.
    """
    tried = dict(hand["tried"])
    try:
        step = partial(steps.embed_one, job, request, plan, number, [*tried])
        # Whatever it was, of a device or a store of cutouts: it may be over the next
        # time.
        count = _step("embed", step, transient=(Exception,))
        if count is not None:
            return {"missing": count}
    except JobCancelledError:
        raise
    except Exception as exc:  # noqa: BLE001 - it may be of this worker alone
        tried[_step("worker", steps.worker_name)] = str(exc)
    others = _step("others", partial(steps.others_at_work, [*tried]))
    alone = 0 if others else hand["alone"] + 1
    if alone > _ALONE:
        return {"failed": [*tried.values()][-1]}
    turn = hand["turn"] + 1
    name = f"{hand['name']}-{turn}"
    later = hand | {"turn": turn, "alone": alone, "tried": tried}
    with SetWorkflowID(name), SetEnqueueOptions(app_version=VERSION):
        DBOS.enqueue_workflow(SHARDS, embed, job, request, plan, number, later)
    # It has shown that it cannot: what it does not take meanwhile others do.
    DBOS.sleep(_RESTS * FIRST_WAIT_S)
    return {"handed_on": name}


@DBOS.workflow(name="scheduled")
def scheduled(_moment: Any, request: dict[str, Any]) -> str:
    """Ask for a job at its time; one that is still at work is left alone."""
    return _step("submit", partial(steps.submit, request))


def _step(
    name: str,
    function: Callable[[], T],
    *,
    transient: tuple[type[Exception], ...] = _TRANSIENT,
) -> T:
    """Do a step, and do it again where what stops it may be over the next time."""
    tries = 0

    def attempt() -> T:
        nonlocal tries
        tries += 1
        try:
            return function()
        except JobError:
            raise
        except DataError as exc:
            # The database will not take it the next time either.
            msg = f"{name}: the database refuses a value: {exc.orig}"
            raise JobError(msg) from exc
        except transient as exc:
            if tries < _TRIES:
                raise
            # Here, for the engine's own words at the end would hide the reason.
            msg = f"{name}, tried {tries} times: {exc}"
            raise JobError(msg) from exc

    options = StepOptions(
        name=name,
        retries_allowed=True,
        interval_seconds=FIRST_WAIT_S,
        max_attempts=_TRIES,
        backoff_rate=3.0,
        should_retry=lambda exc: (
            isinstance(exc, transient) and not isinstance(exc, JobError)
        ),
    )
    return DBOS.run_step(options, attempt)


def _job_id() -> str:
    name = DBOS.workflow_id
    if name is None:
        msg = "not within a job"
        raise JobError(msg)
    return name
