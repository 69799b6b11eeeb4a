"""A PostgreSQL that is frozen: who waits has an error, who comes later at once."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
import sqlalchemy as sa
from databases import empty_database, execute
from faulty_proxy import Fault, faulty_proxy
from servers import Postgres, free_port
from serving import wait_until
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from twinjet.index.database import create_engine
from twinjet.index.heartbeat import Heartbeat

# Of a question that is never answered.
_FOREVER_S = 30.0

# In which a heartbeat has asked, and what is silent is found to be.
_QUIET_S = 1.0


@contextmanager
def watched(
    postgres: Postgres, port: int | None = None
) -> Iterator[tuple[sa.Engine, Heartbeat]]:
    """An engine that has a connection already, and what watches it.

    The port is where they find the server, unless it is its own.
    """
    with empty_database(postgres.url) as url:
        there = sa.make_url(url)
        if port is not None:
            there = there.set(port=port)
        engine = create_engine(there.render_as_string(hide_password=False))
        ask(engine)
        heart = Heartbeat(engine, stall_s=2 * _FOREVER_S)
        heart.start()
        try:
            yield engine, heart
        finally:
            heart.stop()
            engine.dispose()


def ask(engine: sa.Engine, what: str = "SELECT 1") -> int:
    with engine.connect() as connection:
        return int(connection.scalar(sa.text(what)))


def ask_while_frozen(engine: sa.Engine, pool: ThreadPoolExecutor) -> None:
    for _ in range(2):
        with pytest.raises(OperationalError):
            pool.submit(ask, engine).result(_FOREVER_S)


def freeze_until_noticed(postgres: Postgres, heart: Heartbeat) -> None:
    """Thawed, and its answers noticed, when this comes back."""
    postgres.freeze()
    try:
        wait_until(lambda: heart.away)
    finally:
        postgres.thaw()
    wait_until(lambda: not heart.away)


def test_nobody_waits_and_all_goes_on_afterwards(postgres: Postgres) -> None:
    with watched(postgres) as (engine, heart), ThreadPoolExecutor(1) as pool:
        for _ in range(2):
            assert ask(engine) == 1
            postgres.freeze()
            try:
                ask_while_frozen(engine, pool)
                assert heart.away
            finally:
                postgres.thaw()
            wait_until(lambda: not heart.away)
            assert ask(engine) == 1


def test_it_is_noticed_also_by_who_has_no_connection(postgres: Postgres) -> None:
    """All were cut just before, as by a restart."""
    with watched(postgres) as (engine, _), ThreadPoolExecutor(1) as pool:
        assert ask(engine) == 1
        with engine.connect() as connection:
            cut = sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            connection.execute(cut)
        postgres.freeze()
        try:
            ask_while_frozen(engine, pool)
        finally:
            postgres.thaw()


def test_a_server_that_is_stopped_is_none_that_is_frozen(postgres: Postgres) -> None:
    with watched(postgres) as (engine, heart):
        postgres.stop()
        try:
            with pytest.raises(OperationalError):
                ask(engine)
            assert not heart.away
        finally:
            postgres.start()
        assert ask(engine) == 1


def test_a_fault_of_ours_does_not_end_the_asking(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file is left for a connection, say."""
    failed = threading.Event()

    def fail(*_: object) -> None:
        failed.set()
        raise OSError(24, "too many open files")

    with watched(postgres) as (engine, heart), ThreadPoolExecutor(1) as pool:
        with monkeypatch.context() as patched:
            patched.setattr(heart, "_ask_again_and_again", fail)
            # What it asks by now ends with its connection.
            postgres.freeze()
            try:
                wait_until(lambda: heart.away)
            finally:
                postgres.thaw()
            assert failed.wait(_FOREVER_S)
        wait_until(lambda: not heart.away)
        assert pool.submit(ask, engine).result(_FOREVER_S) == 1


def test_what_befell_one_connection_is_none_of_the_others(postgres: Postgres) -> None:
    port = sa.make_url(postgres.url).port
    assert port is not None
    with (
        faulty_proxy(port) as proxy,
        watched(postgres, proxy.port) as (engine, heart),
        ThreadPoolExecutor(1) as pool,
    ):
        time.sleep(_QUIET_S)  # it has its connection
        # Which is swallowed; the one of who asks is newer.
        engine.dispose()
        proxy.befall_open(Fault("half-open"))
        slow = pool.submit(ask, engine, "SELECT 1 FROM pg_sleep(3)")
        while not slow.done():
            assert not heart.away
            time.sleep(0.01)
        assert slow.result() == 1
        proxy.hang_up()


def test_a_server_that_refuses_has_answered(postgres: Postgres) -> None:
    with watched(postgres) as (engine, heart):
        name = engine.url.database
        execute(postgres.url, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        freeze_until_noticed(postgres, heart)
        # Who asks has the error itself, at once.
        with pytest.raises(OperationalError, match="not currently accepting"):
            ask(engine)


def test_an_answer_that_makes_no_sense_is_none(postgres: Postgres) -> None:
    def garbled(*_: object) -> None:
        # As libpq says it, without a state of SQL.
        msg = 'insufficient data in "D" message'
        raise psycopg.DatabaseError(msg)

    with watched(postgres) as (engine, _):
        event.listen(engine, "do_execute", garbled)
        with engine.connect() as connection, pytest.raises(OperationalError):
            connection.execute(sa.text("SELECT 1"))
        event.remove(engine, "do_execute", garbled)
        assert ask(engine) == 1


def test_of_several_addresses_one_that_is_silent_counts(postgres: Postgres) -> None:
    """The error that the driver gives is of the last, where nobody listens."""
    own = sa.make_url(postgres.url)
    hosts = (f"127.0.0.1:{own.port}", f"127.0.0.1:{free_port()}")
    engine = create_engine(
        f"postgresql+psycopg://{own.username}@/{own.database}"
        f"?host={hosts[0]}&host={hosts[1]}"
    )
    heart = Heartbeat(engine, stall_s=2 * _FOREVER_S)
    heart.start()
    try:
        assert ask(engine) == 1
        freeze_until_noticed(postgres, heart)
        assert ask(engine) == 1
    finally:
        heart.stop()
        engine.dispose()
