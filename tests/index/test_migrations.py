"""Every earlier version is brought to this one with what is in it, and back."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command

from twinjet.index import database
from twinjet.index.database import (
    create_engine,
    known_revisions,
    newest_revision,
    revision_of,
    upgrade,
)
from twinjet.index.errors import StoreError

ROWS = 10_000

# A start of a process that only brings the tables to this version.
STARTER = """
import sys
from twinjet.index.database import create_engine, upgrade
engine = create_engine(sys.argv[1])
sys.stdin.readline()
upgrade(engine)
engine.dispose()
"""

OLDER = sorted(known_revisions() - {newest_revision()})


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/old.sqlite"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    made = create_engine(url)
    yield made
    made.dispose()


def move(engine: sa.Engine, revision: str, *, down: bool = False) -> None:
    config = database._migrations()
    with engine.execution_options(twinjet_write=True).begin() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)


def fill(engine: sa.Engine) -> None:
    """Rows in every table that there is; many sources."""
    found = sa.MetaData()
    found.reflect(engine)
    for table in found.sorted_tables:
        if table.name != "alembic_version":
            count = ROWS if table.name == "source" else 1
            rows = [
                {column.name: value(column, n) for column in table.columns}
                for n in range(1, count + 1)
            ]
            with engine.execution_options(twinjet_write=True).begin() as connection:
                connection.execute(table.insert(), rows)


def value(column: sa.Column[Any], n: int) -> object:
    if column.foreign_keys:
        n = 1
    if isinstance(column.type, sa.DateTime):
        return datetime(2026, 11, n % 28 + 1, tzinfo=UTC)
    if isinstance(column.type, sa.JSON):
        return {"a": n, "b": [n + 0.1, None, "ü"]}
    if isinstance(column.type, sa.Float):
        return n + 0.1
    if isinstance(column.type, sa.Integer):
        return n
    # The same in the table that a key is of.
    name = next(iter(column.foreign_keys)).column.name if column.foreign_keys else ""
    return f"{name or column.name}{n}"[-16:]


def contents(
    engine: sa.Engine, columns: dict[str, list[str]] | None = None
) -> dict[str, tuple[list[str], list[tuple[object, ...]]]]:
    """Every table, or those columns of it, in order."""
    found = sa.MetaData()
    found.reflect(engine)
    whole = {}
    for table in found.sorted_tables:
        if table.name == "alembic_version":
            continue
        if columns is not None and table.name not in columns:
            continue
        names = columns[table.name] if columns else [c.name for c in table.columns]
        query = sa.select(*(table.c[name] for name in names))
        query = query.order_by(*table.primary_key.columns)
        with engine.connect() as connection:
            rows = [tuple(row) for row in connection.execute(query)]
        whole[table.name] = names, rows
    return whole


@pytest.mark.parametrize("revision", OLDER)
def test_rows_of_an_earlier_version_stay_as_they_are(
    engine: sa.Engine, revision: str
) -> None:
    move(engine, revision)
    fill(engine)
    before = contents(engine)
    columns = {name: names for name, (names, _) in before.items()}
    assert len(before["source"][1]) == ROWS
    upgrade(engine)
    assert revision_of(engine) == newest_revision()
    assert contents(engine, columns) == before
    move(engine, revision, down=True)
    assert revision_of(engine) == revision
    assert contents(engine) == before
    upgrade(engine)
    assert contents(engine, columns) == before


@pytest.mark.parametrize("revision", [None, OLDER[0]])
def test_four_that_start_at_once_upgrade_once(
    engine: sa.Engine, url: str, revision: str | None
) -> None:
    before = None
    if revision is not None:
        move(engine, revision)
        fill(engine)
        before = contents(engine)
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", STARTER, url],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.write("go\n")
        starter.stdin.flush()
    for starter in starters:
        said = starter.communicate(timeout=120)[1]
        assert starter.returncode == 0, said
    assert revision_of(engine) == newest_revision()
    if before is not None:
        columns = {name: names for name, (names, _) in before.items()}
        assert contents(engine, columns) == before


def test_a_later_version_is_refused(engine: sa.Engine) -> None:
    upgrade(engine)
    version = sa.text("UPDATE alembic_version SET version_num = '9999'")
    with engine.execution_options(twinjet_write=True).begin() as connection:
        connection.execute(version)
    with pytest.raises(StoreError, match="9999"):
        upgrade(engine)
