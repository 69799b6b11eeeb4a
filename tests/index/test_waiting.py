"""Connections to a PostgreSQL from which nothing comes any more."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from faulty_proxy import NO_FAULT, Fault, FaultyProxy, faulty_proxy
from servers import Postgres
from serving import wait_until
from sqlalchemy.exc import OperationalError

from twinjet.index.database import create_engine
from twinjet.index.home import Home
from twinjet.index.rates import Rates
from twinjet.index.waiting import bound_waiting, take_time

# Of a question that is never answered, and what nobody is to wait for here.
_FOREVER_S = 30.0
_STALL_S = 1.5

# Longer than a ping, or to be let in, takes.
_IDLE_S = 2.5
_PAUSE_S = 3.0

# Between what is said and what is heard.
_LATE_S = 0.4

ASKS_TWICE = f"""
import sys, sqlalchemy as sa
from twinjet.index.database import create_engine
from twinjet.index.waiting import bound_waiting
engine = create_engine(sys.argv[1])
bound_waiting(engine, {_STALL_S})
print("asks", flush=True)
with engine.connect() as connection:
    connection.execute(sa.text("SELECT 1"))
    print("asks", flush=True)
    connection.execute(sa.text("SELECT 1"))
"""

HALF_OPEN = Fault("half-open")


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[FaultyProxy]:
    port = sa.make_url(postgres.url).port
    assert port is not None
    with faulty_proxy(port) as proxy:
        yield proxy
        proxy.hang_up()


def url_of(postgres: Postgres, proxy: FaultyProxy) -> str:
    url = sa.make_url(postgres.url).set(port=proxy.port)
    return url.render_as_string(hide_password=False)


@contextmanager
def bound(
    postgres: Postgres, stall_s: float, proxy: FaultyProxy | None = None
) -> Iterator[sa.Engine]:
    """An engine that waits for so long, behind a proxy."""
    engine = create_engine(postgres.url if proxy is None else url_of(postgres, proxy))
    bound_waiting(engine, stall_s)
    try:
        yield engine
    finally:
        engine.dispose()


def ask(engine: sa.Engine, what: str = "SELECT 1") -> int:
    with engine.connect() as connection:
        return len(connection.execute(sa.text(what)).all())


def ask_in_time(engine: sa.Engine, what: str = "SELECT 1") -> int:
    with ThreadPoolExecutor(1) as other:
        return other.submit(ask, engine, what).result(_FOREVER_S)


def test_a_slow_statement_is_waited_for(postgres: Postgres) -> None:
    """Longer than for a connection that was idle, which this one was."""
    with bound(postgres, _FOREVER_S) as engine:
        assert ask(engine) == 1
        assert ask(engine, f"SELECT pg_sleep({_IDLE_S})") == 1


def test_what_comes_in_pieces_is_waited_for(postgres: Postgres) -> None:
    # Each more than the server keeps back.
    slow = (
        "SELECT repeat('a', 20000), pg_sleep(0.5 + 0 * n) "
        "FROM generate_series(1, 6) AS n"
    )
    with bound(postgres, _STALL_S) as engine:
        began = time.monotonic()
        assert ask(engine, slow) == 6
        assert time.monotonic() - began > _STALL_S


def test_a_statement_that_takes_too_long_is_given_up_by_the_server_too(
    postgres: Postgres,
) -> None:
    slow, stall_s = "SELECT pg_sleep(60)", 2.5
    same = "SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'"
    with bound(postgres, stall_s) as engine:
        with pytest.raises(OperationalError, match=r"come .* 2\.5 s"):
            ask(engine, slow)
        wait_until(lambda: ask(engine, same) == 0)


def test_a_statement_may_be_given_all_the_time(postgres: Postgres) -> None:
    slow = f"SELECT pg_sleep({2 * _STALL_S})"
    with bound(postgres, _STALL_S) as engine:
        with engine.connect() as connection:
            take_time(connection)
            connection.execute(sa.text(slow))
        # The next who has the connection has no more than others.
        with pytest.raises(OperationalError):
            ask(engine, slow)


def test_the_time_of_a_pause_of_this_process_counts_for_nothing(
    postgres: Postgres, proxy: FaultyProxy
) -> None:
    """The answer came meanwhile: that it is let in, and that of a statement."""
    proxy.switch(Fault("late", delays_s=(_LATE_S, _LATE_S)))
    command = [sys.executable, "-c", ASKS_TWICE, url_of(postgres, proxy)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(2):
            assert child.stdout.readline() == "asks\n"
            time.sleep(_LATE_S / 2)
            child.send_signal(signal.SIGSTOP)
            time.sleep(_PAUSE_S)
            child.send_signal(signal.SIGCONT)
        assert child.wait(_FOREVER_S) == 0


def test_who_is_never_let_in_is_told(postgres: Postgres, proxy: FaultyProxy) -> None:
    with bound(postgres, 2 * _FOREVER_S, proxy) as engine:
        proxy.switch(HALF_OPEN)
        with pytest.raises(OperationalError), ThreadPoolExecutor(1) as other:
            other.submit(ask, engine).result(_FOREVER_S)
        proxy.switch(NO_FAULT)
        assert ask(engine) == 1


def test_an_answer_that_was_swallowed_is_given_up(
    postgres: Postgres, proxy: FaultyProxy
) -> None:
    """By something that acknowledges what it is sent."""
    with bound(postgres, _STALL_S, proxy) as engine:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1"))
            proxy.befall_open(HALF_OPEN)
            with pytest.raises(OperationalError):
                connection.execute(sa.text("SELECT 1"))
        assert ask(engine) == 1


def test_a_connection_that_was_forgotten_while_it_was_idle_is_not_waited_on(
    postgres: Postgres, proxy: FaultyProxy
) -> None:
    with bound(postgres, 2 * _FOREVER_S, proxy) as engine:
        assert ask(engine) == 1
        proxy.befall_open(HALF_OPEN)
        # Nobody notices but by the ping.
        assert ask_in_time(engine) == 1


def test_who_counts_goes_on_after_a_connection_was_forgotten(
    postgres: Postgres, proxy: FaultyProxy, tmp_path: Path
) -> None:
    rates = Rates(url_of(postgres, proxy), Home(tmp_path))
    try:
        assert rates.take("somebody", 1) is None
        proxy.befall_open(HALF_OPEN)
        with pytest.raises(OperationalError):
            rates.take("somebody", 1)
        assert rates.take("somebody", 1) is not None
    finally:
        rates.close()
