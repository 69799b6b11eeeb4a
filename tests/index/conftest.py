"""Stores on both engines."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from twinjet.index.database import create_engine, upgrade
from twinjet.index.store import SourceStore


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    """An empty database of each kind, brought to this version."""
    if request.param == "sqlite":
        engine = create_engine(f"sqlite:///{tmp_path / 'store.sqlite'}")
    else:
        engine = create_engine(request.getfixturevalue("postgres_url"))
    upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: sa.Engine) -> SourceStore:
    return SourceStore(engine)
