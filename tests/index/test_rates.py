"""Counting callers in a store that processes share, on both engines."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from twinjet.index.home import Home
from twinjet.index.rates import Rates, Refusal

MINUTE_US = 60_000_000

Open = Callable[[], Rates]


class Clock:
    """Of microseconds, which the test moves."""

    def __init__(self) -> None:
        self.us = 1_800_000_000_000_000

    def __call__(self) -> int:
        return self.us

    def forward(self, seconds: float) -> None:
        self.us += round(1e6 * seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return "sqlite:///unused"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
def another(url: str, tmp_path: Path, clock: Clock) -> Iterator[Open]:
    """Opens the store, as each process does."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(
            closing(Rates(url, Home(tmp_path), now_us=clock))
        )


def taken(rates: Rates, caller: str, limit: int, times: int) -> list[bool]:
    return [rates.take(caller, limit) is None for _ in range(times)]


def test_a_minutes_worth_is_allowed_and_then_one_at_a_time(
    another: Open, clock: Clock
) -> None:
    rates = another()
    assert taken(rates, "a", 60, 61) == [True] * 60 + [False]
    assert rates.take("a", 60) == Refusal(limit=60, actual=61, retry_after_s=1.0)
    clock.forward(0.75)
    refusal = rates.take("a", 60)
    assert refusal is not None
    assert refusal.retry_after_s == 0.25
    clock.forward(0.25)
    assert taken(rates, "a", 60, 2) == [True, False]
    clock.forward(60)
    assert taken(rates, "a", 60, 61) == [True] * 60 + [False]


def test_callers_are_counted_apart_and_processes_together(another: Open) -> None:
    one, other = another(), another()
    assert taken(one, "a", 4, 3) == [True] * 3
    assert taken(other, "a", 4, 2) == [True, False]
    assert taken(one, "a", 4, 1) == [False]
    assert taken(other, "b", 4, 5) == [True] * 4 + [False]


def test_many_at_once_get_what_is_allowed_and_no_more(another: Open) -> None:
    allowed: Counter[bool] = Counter()
    stores = [another() for _ in range(4)]

    def ask(rates: Rates) -> None:
        found = Counter(taken(rates, "a", 50, 25))
        with lock:
            allowed.update(found)

    lock = threading.Lock()
    threads = [threading.Thread(target=ask, args=(rates,)) for rates in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert allowed == {True: 50, False: 50}


@pytest.mark.parametrize("limit", [1, 7, 1_000_000])
def test_rates_that_do_not_divide_a_minute_are_kept(another: Open, limit: int) -> None:
    times = min(limit, 20)
    rates = another()
    assert taken(rates, "a", limit, times) == [True] * times
    if limit < 20:
        assert rates.take("a", limit) is not None


def test_a_clock_that_is_set_back_locks_nobody_out(another: Open, clock: Clock) -> None:
    rates = another()
    taken(rates, "a", 3, 4)
    clock.forward(-3600)
    assert taken(rates, "a", 3, 4) == [True] * 3 + [False]


def test_who_has_gone_is_forgotten(
    another: Open, clock: Clock, url: str, tmp_path: Path
) -> None:
    rates = another()
    for number in range(30):
        rates.take(f"peer {number}", 10)
    clock.forward(61)
    rates.take("last", 10)
    path = tmp_path / "rates.sqlite"
    engine = sa.create_engine(f"sqlite:///{path}" if path.exists() else url)
    with engine.connect() as connection:
        left = connection.execute(sa.text("SELECT caller FROM rate")).scalars().all()
    engine.dispose()
    assert left == ["last"]


def test_a_limit_that_changes_holds_at_once(another: Open, clock: Clock) -> None:
    rates = another()
    assert taken(rates, "a", 100, 50) == [True] * 50
    assert taken(rates, "a", 10, 6) == [True] * 5 + [False]
    assert taken(rates, "a", 1000, 1) == [False]
    clock.forward(1)
    assert taken(rates, "a", 1000, 1) == [True]


def test_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "rates.sqlite").write_bytes(b"no database of anybody" * 1000)
    with closing(Rates("sqlite://", Home(tmp_path))) as rates:
        assert taken(rates, "a", 2, 3) == [True, True, False]


@pytest.mark.parametrize("start", [0, 100, 4096])
def test_a_file_with_a_damaged_page_is_begun_anew(tmp_path: Path, start: int) -> None:
    path = tmp_path / "rates.sqlite"
    with closing(Rates("sqlite://", Home(tmp_path))) as rates:
        assert all(rates.take(f"{n:080d}", 9) is None for n in range(200))
    data = path.read_bytes()
    assert len(data) > 5 * 4096
    path.write_bytes(data[:start] + b"\xa5" * (len(data) - start))
    with closing(Rates("sqlite://", Home(tmp_path))) as rates:
        assert all(rates.take(f"{n:080d}", 9) is None for n in range(200))


def test_nothing_waits_for_the_disk(tmp_path: Path) -> None:
    with closing(Rates("sqlite://", Home(tmp_path))) as rates:
        with rates._engine.connect() as connection:
            synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar()
        assert synchronous == 0


def test_a_table_of_postgresql_is_not_written_ahead(postgres_url: str) -> None:
    with closing(Rates(postgres_url, Home(Path("unused")))):
        engine = sa.create_engine(postgres_url)
        with engine.connect() as connection:
            kind = connection.execute(
                sa.text("SELECT relpersistence FROM pg_class WHERE relname = 'rate'")
            ).scalar()
        engine.dispose()
    assert kind == "u"
