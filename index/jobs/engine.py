"""The durable engine under the jobs: DBOS, on SQLite or PostgreSQL."""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSConfig, DBOSPortableJSONSerializer
from dbos import error as dbos_error

from twinjet.index.errors import JobCancelledError

NAME = "twinjet"

JOBS = "twinjet-jobs"
"""Queue of jobs, of which one is at work at a time."""

SHARDS = "twinjet-shards"
"""Queue of their shards, of which each worker makes one at a time."""

VERSION = "3"
"""Of what jobs do step by step. A worker takes jobs of its own version only, so this
changes when a job that is under way could not be gone on with."""

POLL_S = 0.5
"""Between looks of a worker for work."""


class _NoCancellations(logging.Filter):
    """Keeps from the log, as errors, what somebody wanted to end."""

    def filter(self, record: logging.LogRecord) -> bool:
        exc = record.exc_info[1] if record.exc_info else None
        while exc is not None:
            if isinstance(exc, _CANCELLED):
                return False
            exc = exc.__cause__ or exc.__context__
        return True


_CANCELLED = (JobCancelledError, dbos_error.DBOSAwaitedWorkflowCancelledError)
_NO_CANCELLATIONS = _NoCancellations()


def config(url: str, worker: str) -> DBOSConfig:
    """Settings of the engine for one worker."""
    logging.getLogger("dbos").addFilter(_NO_CANCELLATIONS)
    return DBOSConfig(
        name=NAME,
        system_database_url=url,
        executor_id=worker,
        application_version=VERSION,
        log_level="WARNING",
        # Never pickles, which run code when they are read.
        serializer=DBOSPortableJSONSerializer(),
        scheduler_polling_interval_sec=5.0,
    )


@contextmanager
def connected(url: str) -> Iterator[DBOSClient]:
    """A client for as long as it is needed."""
    client = connect(url)
    try:
        yield client
    finally:
        client.destroy()


def connect(url: str, database: sa.Engine | None = None) -> DBOSClient:
    """A client of the engine.

    Parameters
    ----------
    url
        Of its database, whose tables are made.
    database
        By which the client asks, instead of an engine of its own; it then fails at once
        where the database is away, and does not try again and again. Its tables are
        there already: see `make_tables`.
    """
    if database is None:
        DBOS.migrate(url)
    return DBOSClient(
        system_database_url=url,
        system_database_engine=database,
        serializer=DBOSPortableJSONSerializer(),
        application_name=NAME,
        retry_connection_errors=database is None,
    )


def make_tables(url: str) -> Future[None]:
    """Look at the tables of the engine and make what is missing, in a thread.

    It connects by itself, and what never answers it is waited for without an end.
    """
    done: Future[None] = Future()

    def migrate() -> None:
        try:
            done.set_result(DBOS.migrate(url))
        except BaseException as exc:  # noqa: BLE001 - who waits has it
            done.set_exception(exc)

    # Of a pool it would be waited for at the end of the process.
    threading.Thread(target=migrate, name="tables of jobs", daemon=True).start()
    return done
