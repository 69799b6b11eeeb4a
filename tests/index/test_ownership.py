"""A database and a home are of one installation, or are not used together."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from homes import make_home

from twinjet.index.database import create_engine, upgrade
from twinjet.index.errors import HomeMismatchError, StoreError
from twinjet.index.home import Home
from twinjet.index.opening import open_store
from twinjet.index.ownership import join


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    url = f"sqlite:///{tmp_path}/one.sqlite"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    made = create_engine(url)
    upgrade(made)
    yield made
    made.dispose()


def test_a_database_is_of_the_home_that_came_first(
    engine: sa.Engine, tmp_path: Path
) -> None:
    one, other = Home(tmp_path / "one"), Home(tmp_path / "other")
    join(one, engine)
    join(one, engine)
    with pytest.raises(HomeMismatchError, match="TWINJET_HOME"):
        join(other, engine)
    assert not other.path.exists()
    moved = Home(tmp_path / "moved")
    one.path.rename(moved.path)
    join(moved, engine)
    with pytest.raises(HomeMismatchError):
        join(one, engine)


def test_of_homes_that_come_at_once_one_has_the_database(
    engine: sa.Engine, tmp_path: Path
) -> None:
    barrier, joined = threading.Barrier(8), []

    def come(number: int) -> None:
        barrier.wait()
        try:
            join(Home(tmp_path / str(number % 2)), engine)
        except HomeMismatchError:
            return
        joined.append(number % 2)

    threads = [threading.Thread(target=come, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(joined), len(set(joined))) == (4, 1)


def test_a_home_may_begin_with_another_database(tmp_path: Path) -> None:
    """The one before is lost, or this process died before it said so."""
    home = Home(tmp_path / "home")
    for name in ("a", "b"):
        made = create_engine(f"sqlite:///{tmp_path}/{name}.sqlite")
        upgrade(made)
        join(home, made)
        join(home, made)
        made.dispose()


def test_a_database_that_knows_nothing_of_a_home_is_refused(tmp_path: Path) -> None:
    """A setting was forgotten: a build would remove what the other one knows."""
    make_home(tmp_path / "home")
    home = Home(tmp_path / "home")
    before = sorted(home.generations.rglob("*"))
    with pytest.raises(HomeMismatchError, match="knows no generation"):
        open_store(home, f"sqlite:///{tmp_path}/another.sqlite")
    assert sorted(home.generations.rglob("*")) == before
    open_store(home, home.database_url).close()


def test_homes_of_one_store_are_one(engine: sa.Engine, tmp_path: Path) -> None:
    store = f"file://{tmp_path}/store"
    join(Home(tmp_path / "one", store), engine)
    join(Home(tmp_path / "two", store), engine)
    (tmp_path / "three").mkdir()
    with pytest.raises(HomeMismatchError):
        join(Home(tmp_path / "three"), engine)
    with pytest.raises(HomeMismatchError):
        join(Home(tmp_path / "two", f"file://{tmp_path}/mistyped"), engine)
    (tmp_path / "three" / "home.id").write_text("of its own\n")
    with pytest.raises(HomeMismatchError, match="of its own"):
        join(Home(tmp_path / "three", store), engine)


def test_a_home_may_be_shared_later(engine: sa.Engine, tmp_path: Path) -> None:
    store = f"file://{tmp_path}/store"
    join(Home(tmp_path / "one"), engine)
    with pytest.raises(HomeMismatchError):
        join(Home(tmp_path / "two", store), engine)
    join(Home(tmp_path / "one", store), engine)
    join(Home(tmp_path / "two", store), engine)


def test_a_home_that_cannot_be_written_is_said(
    engine: sa.Engine, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be used"):
        join(Home(tmp_path / "file" / "home"), engine)
    join(Home(tmp_path / "home"), engine)
