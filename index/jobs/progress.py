"""How far jobs are, for people to see; nothing depends on it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from twinjet.index.errors import JobCancelledError
from twinjet.index.schema import ProgressRow

JOB = -1
"""Part of a job that is the job itself; its shards are 0 and on."""

# Seconds between two writes of the same part.
_EVERY_S = 0.5


@dataclass(frozen=True)
class Progress:
    """Of the present stage of a job."""

    stage: str
    done: int
    total: int | None
    """None where nothing is counted."""
    began_at: datetime
    """The stage."""
    updated_at: datetime

    @property
    def rate_per_s(self) -> float | None:
        """Sources a second, over the stage."""
        seconds = (self.updated_at - self.began_at).total_seconds()
        return self.done / seconds if self.done and seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Of this stage, at this rate."""
        rate = self.rate_per_s
        if rate is None or self.total is None:
            return None
        return max(0, self.total - self.done) / rate


class ProgressBoard:
    """Progress of every job.

    Parameters
    ----------
    engine
        Of the metadata store.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(twinjet_write=True)

    def put(
        self, job_id: str, part: int, stage: str, done: int, total: int | None
    ) -> None:
        """Say how far a part is; the time at which its stage began is kept."""
        now = datetime.now(UTC)
        mine = sa.and_(ProgressRow.job_id == job_id, ProgressRow.part == part)
        values = {"stage": stage, "done": done, "total": total, "updated_at": now}
        with self._writer.begin() as connection:
            there = connection.scalar(sa.select(ProgressRow.stage).where(mine))
            if there is None:
                connection.execute(
                    sa.insert(ProgressRow).values(
                        job_id=job_id, part=part, began_at=now, **values
                    )
                )
                return
            if there != stage:
                values["began_at"] = now
            connection.execute(sa.update(ProgressRow).where(mine).values(**values))

    def of(self, job_id: str) -> Progress | None:
        """Of a job, its shards counted in; None before it has begun."""
        mine = ProgressRow.job_id == job_id
        with self._engine.connect() as connection:
            job = connection.execute(
                sa.select(ProgressRow).where(mine, ProgressRow.part == JOB)
            ).one_or_none()
            if job is None:
                return None
            # Of a hundred thousand shards the database counts faster than we.
            done, latest = connection.execute(
                sa.select(
                    sa.func.coalesce(sa.func.sum(ProgressRow.done), 0),
                    sa.func.max(ProgressRow.updated_at),
                ).where(mine, ProgressRow.stage == job.stage)
            ).one()
        return Progress(
            stage=job.stage,
            done=int(done),
            total=job.total,
            began_at=_in_utc(job.began_at),
            # None where the stage changed between the two questions.
            updated_at=_in_utc(latest or job.updated_at),
        )

    def forget_parts(self, job_id: str) -> None:
        """Drop the shards of a job that has ended."""
        with self._writer.begin() as connection:
            connection.execute(
                sa.delete(ProgressRow).where(
                    ProgressRow.job_id == job_id, ProgressRow.part != JOB
                )
            )


class BoardWatcher:
    """Writes what a build tells its watcher on the board, now and then.

    Parameters
    ----------
    board
        Where.
    job_id, part
        Of what.
    is_cancelled
        Whether the job is; asked as often as something is written.
    stage, total
        At the start; for a part that has one stage only.
    """

    def __init__(
        self,
        board: ProgressBoard,
        job_id: str,
        part: int = JOB,
        *,
        is_cancelled: Callable[[str], bool],
        stage: str = "",
        total: int | None = None,
    ) -> None:
        self._board = board
        self._is_cancelled = is_cancelled
        self._job_id = job_id
        self._part = part
        self._stage = stage
        self._total = total
        self._done = 0
        self._written = -_EVERY_S

    def stage(self, name: str, total: int | None) -> None:
        """A stage begins, of so many sources where that is known.

        Raises
        ------
        JobCancelledError
            Nobody wants the job any more.
        """
        self._stage, self._total, self._done = name, total, 0
        self._write()

    def advance(self, count: int) -> None:
        """So many more sources of this stage are done; raises as `stage`."""
        self._done += count
        last = self._total is not None and self._done >= self._total
        if last or time.monotonic() - self._written >= _EVERY_S:
            self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        try:
            self._board.put(
                self._job_id, self._part, self._stage, self._done, self._total
            )
            cancelled = self._is_cancelled(self._job_id)
        except SQLAlchemyError:
            # What is only to be seen stops no work; the work itself will say more.
            return
        if cancelled:
            raise JobCancelledError(self._job_id)


def _in_utc(moment: datetime) -> datetime:
    """With its time zone, which SQLite does not keep."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
