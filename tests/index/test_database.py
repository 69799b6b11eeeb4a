"""The engine of the metadata store."""

import sqlite3
import threading
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from twinjet.index.database import create_engine, upgrade
from twinjet.index.errors import StoreError


def test_a_new_database_is_opened_while_another_process_begins_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "new.sqlite"
    with closing(sqlite3.connect(path, check_same_thread=False)) as other:
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE other (x)")
        done = threading.Timer(0.5, other.commit)
        done.start()
        engine = create_engine(f"sqlite:///{path}")
        upgrade(engine)
        done.join()
        with engine.connect() as connection:
            mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        engine.dispose()
    assert mode == "wal"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file:some?mode=memory&cache=shared&uri=true",
    ],
)
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="names no file"):
        create_engine(url)


def test_as_many_read_at_once_as_want(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'some.sqlite'}")
    with ExitStack() as held:
        for _ in range(40):
            connection = held.enter_context(engine.connect())
            assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    engine.dispose()
