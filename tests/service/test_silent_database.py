"""A service whose PostgreSQL does not answer at its start, or when first asked."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from databases import empty_database
from fastapi.testclient import TestClient
from problems import assert_problem
from pydantic import SecretStr
from servers import Postgres

from twinjet.index.errors import StoreError
from twinjet.index.jobs.engine import connect
from twinjet.service.app import create_app
from twinjet.service.config import Config
from twinjet.service.resources import Resources

KEY = "a key of sixteen characters or more"
ADMIN = {"Authorization": f"Bearer {KEY}"}

# Of what waits without an end.
_FOREVER_S = 60.0


@pytest.fixture
def config(postgres: Postgres, card: Path, tmp_path: Path) -> Iterator[Config]:
    with empty_database(postgres.url) as url:
        yield Config(
            home=tmp_path / "home",
            database_url=url,
            encoder=card,
            admin_key=SecretStr(KEY),
            database_stall_s=1.0,
        )


def test_a_server_that_is_frozen_ends_the_start(
    config: Config, postgres: Postgres
) -> None:
    with ThreadPoolExecutor(1) as other:
        postgres.freeze()
        try:
            with pytest.raises(StoreError, match=r"answered|come from the server"):
                other.submit(Resources, config).result(_FOREVER_S)
        finally:
            postgres.thaw()


def test_jobs_whose_tables_do_not_answer_are_refused_until_they_do(
    config: Config,
) -> None:
    connect(config.jobs_url).destroy()  # which makes them
    held = sa.create_engine(config.metadata_url)
    with TestClient(create_app(config)) as client, ThreadPoolExecutor(2) as others:

        def refuse_both() -> None:
            for asked in [
                others.submit(client.get, "/jobs", headers=ADMIN) for _ in range(2)
            ]:
                answer = asked.result(_FOREVER_S)
                assert_problem(answer, 503, "store-unavailable")

        with held.begin() as connection:
            connection.execute(sa.text("LOCK TABLE dbos.dbos_migrations"))
            for _ in range(2):
                refuse_both()
            # However often it is asked for, one looks at them.
            names = [thread.name for thread in threading.enumerate()]
            assert names.count("tables of jobs") == 1
        answer = client.get("/jobs", headers=ADMIN)
        assert answer.json() == {"jobs": []}
    held.dispose()
