"""Locks by which machines of one database leave one another's files alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from twinjet.index.database import create_engine, upgrade
from twinjet.index.errors import BuildInProgressError, UnknownGenerationError
from twinjet.index.home import Home
from twinjet.index.locks import if_unleased, lease_of, only_builder
from twinjet.index.retention import retire
from twinjet.index.source import Source
from twinjet.index.store import SourceStore


@pytest.fixture
def machines(postgres_url: str) -> Iterator[tuple[sa.Engine, sa.Engine]]:
    """Two machines that see the same PostgreSQL, and no disk of one another."""
    one, other = create_engine(postgres_url), create_engine(postgres_url)
    upgrade(one)
    yield one, other
    one.dispose()
    other.dispose()


def cut(engine: sa.Engine) -> None:
    """Cut all connections of other machines."""
    others = sa.text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )
    with engine.connect() as connection:
        connection.execute(others)


def test_one_machine_builds_at_a_time(machines: tuple[sa.Engine, sa.Engine]) -> None:
    one, other = machines
    with (
        only_builder(one),
        pytest.raises(BuildInProgressError, match="another machine"),
        only_builder(other),
    ):
        pass
    with only_builder(other):
        pass


def test_a_lease_is_shared_and_survives_a_cut_connection(
    machines: tuple[sa.Engine, sa.Engine],
) -> None:
    other = machines[1]
    leases = [lease_of(engine, 7) for engine in machines]
    for lease in leases:
        assert lease is not None
        assert lease.take()
    assert leases[0] is not None
    assert leases[1] is not None
    leases[1].release()
    with if_unleased(other, 7) as free, if_unleased(other, 8) as other_free:
        assert (free, other_free) == (False, True)
    cut(other)
    with if_unleased(other, 7) as free:
        assert free
        assert leases[0].stay()  # just being removed: not to be had
    with if_unleased(other, 7) as free:
        assert free
    assert leases[0].stay()
    assert not leases[0].stay()
    with if_unleased(other, 7) as free:
        assert not free
    leases[0].release()


def test_a_generation_that_another_machine_serves_is_not_removed(
    machines: tuple[sa.Engine, sa.Engine], tmp_path: Path
) -> None:
    one, other = machines
    store, home = SourceStore(one), Home(tmp_path)
    for _ in range(3):
        number = store.begin_generation(
            encoder_id="e", catalogue_name="c", catalogue_digest="d", columns=[]
        )
        store.add_sources(number, 0, [Source("a", 1.0, 2.0)])
        store.publish_build(number, source_count=1, folder=f"g{number:06d}")
    lease = lease_of(other, 1)
    assert lease is not None
    assert lease.take()
    retire(home, store, keep=1)
    assert [g.number for g in store.generations()] == [3, 1]
    assert store.count(1) == 1
    lease.release()
    retire(home, store, keep=1)
    with pytest.raises(UnknownGenerationError):
        store.generation(1)


def test_a_connection_that_comes_back_to_a_closed_store_is_closed(
    machines: tuple[sa.Engine, sa.Engine],
) -> None:
    """Of a thread that has not ended: it would be left to the garbage collector."""
    store = SourceStore(machines[0])
    early = store.engine.connect()
    driver = early.connection.dbapi_connection
    store.close()
    late = store.engine.connect()
    second = late.connection.dbapi_connection
    early.close()
    late.close()
    assert driver is not None
    assert second is not None
    assert (driver.closed, second.closed) == (True, True)


def test_a_machine_without_power_is_noticed_within_seconds(
    machines: tuple[sa.Engine, sa.Engine],
) -> None:
    """The server of the database asks for it; the system's own limit is two hours."""
    lease = lease_of(machines[0], 7)
    assert lease is not None
    assert lease.take()
    connection = lease._connection
    assert connection is not None
    found = [
        connection.exec_driver_sql(f"SHOW tcp_keepalives_{name}").scalar()
        for name in ("idle", "interval", "count")
    ]
    assert found == ["5", "5", "3"]
    lease.release()
