"""The engine of the metadata store."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from twinjet.index.database import create_engine, upgrade


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
