"""Who asks for too much is told when to go on; nobody else notices."""

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from clients import client_of
from databases import empty_database
from fastapi.testclient import TestClient
from problems import assert_problem
from servers import Postgres
from serving import read_answer, running, upload_bytes

from twinjet.index.api_keys import ApiKeys
from twinjet.index.database import create_engine
from twinjet.index.home import Home
from twinjet.index.rates import Rates
from twinjet.service.app import create_app
from twinjet.service.config import Config

FORM = {"file": b"x"}


def bearing(config: Config, **more: Any) -> dict[str, str]:
    engine = create_engine(config.metadata_url)
    token = ApiKeys(engine).create("test", "read", **more)[1]
    engine.dispose()
    return {"Authorization": f"Bearer {token}"}


def statuses(
    client: TestClient, times: int, headers: dict[str, str] | None = None
) -> list[int]:
    answers = (client.get("/encoders", headers=headers) for _ in range(times))
    return [answer.status_code for answer in answers]


def test_who_asks_too_often_is_told_when_to_go_on(fresh: Config) -> None:
    with client_of(fresh, requests_per_minute=3) as client:
        assert statuses(client, 3) == [200, 200, 200]
        answer = client.get("/encoders")
        problem = assert_problem(answer, 429, "too-many-requests")
        assert (problem["limit"], problem["actual"]) == (3, 4)
        assert 1 <= int(answer.headers["Retry-After"]) <= 20
        assert f"go on in {answer.headers['Retry-After']} s" in problem["detail"]
        for path in ("/livez", "/readyz", "/static/js/api.js", "/", "/openapi.json"):
            assert client.get(path).status_code == 200


def test_several_processes_count_together(fresh: Config) -> None:
    with ExitStack() as stack:
        one, other = (
            stack.enter_context(client_of(fresh, requests_per_minute=4))
            for _ in range(2)
        )
        assert statuses(one, 2) + statuses(other, 2) == [200] * 4
        assert statuses(one, 1) + statuses(other, 1) == [429, 429]


def test_machines_count_together_in_postgresql(
    postgres_url: str, fresh: Config, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "database_url": postgres_url,
        "requests_per_minute": 4,
    }
    shared = {"shared_store": (tmp_path / "shared").as_uri()}
    with ExitStack() as stack:
        one, other = (
            stack.enter_context(
                client_of(fresh, home=tmp_path / name, **settings, **shared)
            )
            for name in ("one", "other")
        )
        assert statuses(one, 2) + statuses(other, 2) == [200] * 4
        assert statuses(one, 1) + statuses(other, 1) == [429, 429]


@pytest.mark.parametrize(
    ("peer", "same", "other"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1"),
        ("192.0.2.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2"),
    ],
)
def test_without_a_key_a_network_is_counted(
    fresh: Config, peer: str, same: str, other: str
) -> None:
    with client_of(fresh, peer, requests_per_minute=2) as client:
        assert statuses(client, 3) == [200, 200, 429]
    with client_of(fresh, same, requests_per_minute=2) as client:
        assert statuses(client, 1) == [429]
    with client_of(fresh, other, requests_per_minute=2) as client:
        assert statuses(client, 1) == [200]


def test_a_key_is_counted_by_itself_and_may_have_limits_of_its_own(
    fresh: Config,
) -> None:
    with client_of(fresh, requests_per_minute=2) as client:
        one, two = bearing(fresh), bearing(fresh)
        assert statuses(client, 3) == [200, 200, 429]
        assert statuses(client, 3, one) == [200, 200, 429]
        assert statuses(client, 3, two) == [200, 200, 429]
        assert statuses(client, 4, bearing(fresh, requests_per_minute=3)) == [
            *(200, 200, 200, 429),
        ]
        assert statuses(client, 9, bearing(fresh, requests_per_minute=0)) == [200] * 9


def test_keys_cannot_be_tried_faster_than_one_may_ask(fresh: Config) -> None:
    with client_of(fresh, requests_per_minute=3, anonymous="none") as client:
        wrong = [{"Authorization": f"Bearer tj_{number:012x}_x"} for number in range(5)]
        tried = [client.get("/encoders", headers=one).status_code for one in wrong]
        assert tried == [401, 401, 401, 429, 429]
        assert statuses(client, 1) == [429]
        assert statuses(client, 1, bearing(fresh)) == [200]


def test_uploads_are_counted_besides(fresh: Config) -> None:
    with client_of(fresh, requests_per_minute=6, uploads_per_minute=2) as client:
        sent = [client.post("/similar", files=FORM).status_code for _ in range(3)]
        assert sent == [415, 415, 429]
        problem = assert_problem(
            client.post("/similar", files=FORM), 429, "too-many-requests"
        )
        assert problem["limit"] == 2
        assert "2 uploads a minute" in problem["detail"]
        assert statuses(client, 3) == [200, 200, 429]


def test_a_body_too_many_is_never_read(fresh: Config) -> None:
    settings = fresh.model_dump() | {"uploads_per_minute": 1}
    head, body = upload_bytes("/similar", b"x" * 1000)
    with running(create_app(Config(**settings))) as server:
        with server.connection() as client:
            client.sendall(head + body)
            assert read_answer(client)[0] == 415
        with server.connection() as client:
            client.sendall(head)
            status, headers, problem = read_answer(client)
    assert (status, problem["limit"], problem["actual"]) == (429, 1, 2)
    assert int(headers["retry-after"]) <= 60


def test_where_it_cannot_be_counted_the_service_goes_on(
    fresh: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with client_of(fresh, requests_per_minute=1) as client:
        app: Any = client.app
        missing = tmp_path / "not there"
        app.state.rate_limits._open = lambda: Rates("sqlite://", Home(missing))
        assert statuses(client, 3) == [200, 200, 200]
    told = [one for one in caplog.messages if "not counted" in one]
    assert len(told) == 1


def test_a_file_that_is_damaged_meanwhile_refuses_nobody(
    fresh: Config, caplog: pytest.LogCaptureFixture
) -> None:
    with client_of(fresh, requests_per_minute=2) as client:
        assert statuses(client, 3) == [200, 200, 429]
        with closing(sqlite3.connect(fresh.home / "rates.sqlite")) as connection:
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute("UPDATE sqlite_schema SET rootpage = 99")
            connection.commit()
            connection.execute("PRAGMA schema_version = 99")
        assert statuses(client, 2) == [200, 200]
    assert any("not counted" in one and "damaged" in one for one in caplog.messages)
    with client_of(fresh, requests_per_minute=2) as client:
        assert statuses(client, 3) == [200, 200, 429]


def test_of_many_at_once_each_is_counted_however_long_that_takes(
    fresh: Config, caplog: pytest.LogCaptureFixture
) -> None:
    with client_of(fresh, requests_per_minute=5, reads=64) as client:
        app: Any = client.app
        limits = app.state.rate_limits
        count = limits._count

        def slowly(*of: Any) -> Any:
            time.sleep(0.1)  # a fifth of what is waited for one
            return count(*of)

        limits._count = slowly
        with ThreadPoolExecutor(20) as clients:
            asked = [clients.submit(client.get, "/encoders") for _ in range(20)]
            codes = sorted(one.result().status_code for one in asked)
    assert codes == [200] * 5 + [429] * 15
    assert not any("not counted" in one for one in caplog.messages)


def test_a_store_that_hangs_refuses_nobody(
    fresh: Config, caplog: pytest.LogCaptureFixture
) -> None:
    with client_of(fresh, requests_per_minute=1) as client:
        app: Any = client.app
        limits = app.state.rate_limits
        go_on = threading.Event()

        def hangs() -> Rates:
            assert go_on.wait(60)
            return Rates(fresh.metadata_url, fresh.files)

        limits._open = hangs
        assert statuses(client, 3) == [200, 200, 200]
        go_on.set()
    told = [one for one in caplog.messages if "does not answer" in one]
    assert len(told) == 1


def test_a_database_that_is_gone_lets_reading_go_on(
    postgres: Postgres, fresh: Config, tmp_path: Path
) -> None:
    with empty_database(postgres.url) as url:
        settings: dict[str, Any] = {
            "home": tmp_path,
            "database_url": url,
            "requests_per_minute": 2,
        }
        with client_of(fresh, **settings) as client:
            assert statuses(client, 3) == [200, 200, 429]
            postgres.stop()
            try:
                assert statuses(client, 4) == [200] * 4
            finally:
                postgres.start()
