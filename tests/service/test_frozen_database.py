"""A PostgreSQL that stops answering and keeps its connections."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2 as httpx
import pytest
from databases import empty_database
from problems import assert_problem
from pydantic import SecretStr
from servers import Postgres
from serving import Running, running, wait_until

from twinjet.service.app import create_app
from twinjet.service.config import Config

KEY = "a key of sixteen characters or more"

# Where each asks the database, and would wait for it.
PATHS = ("/generations", "/sessions", "/lists", "/jobs/none")

# Of a request that waits for ever.
_FOREVER_S = 30.0


@pytest.fixture
def served(postgres: Postgres, tmp_path: Path) -> Iterator[Running]:
    with empty_database(postgres.url) as url:
        # A place for each of those that ask at once.
        config = Config(
            home=tmp_path, database_url=url, reads=16, admin_key=SecretStr(KEY)
        )
        with running(create_app(config)) as served:
            yield served


def get(served: Running, path: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {KEY}"}
    return httpx.get(served.url + path, headers=headers, timeout=_FOREVER_S)


def test_nobody_waits_for_a_database_that_is_frozen(
    postgres: Postgres, served: Running
) -> None:
    before = [get(served, path).status_code for path in PATHS]
    assert 503 not in before
    with ThreadPoolExecutor(2 * len(PATHS)) as pool:
        postgres.freeze()
        try:
            started = time.monotonic()
            asked = [pool.submit(get, served, path) for path in 2 * PATHS]
            assert get(served, "/livez").status_code == 200
            for one in asked:
                assert_problem(one.result(), 503, "store-unavailable")
            first = time.monotonic() - started
            # It is known now: nobody waits any more.
            started = time.monotonic()
            for path in PATHS:
                assert_problem(get(served, path), 503, "store-unavailable")
            assert time.monotonic() - started < first
        finally:
            postgres.thaw()
    wait_until(lambda: [get(served, path).status_code for path in PATHS] == before)


def test_a_service_ends_beside_a_database_that_is_frozen(
    postgres: Postgres, tmp_path: Path
) -> None:
    with empty_database(postgres.url) as url:
        config = Config(home=tmp_path, database_url=url, admin_key=SecretStr(KEY))
        with running(create_app(config)) as served:
            assert get(served, "/generations").status_code == 200
            postgres.freeze()
        # Its thread has ended, or this would not be reached.
        postgres.thaw()
