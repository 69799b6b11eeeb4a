"""While the line of searches is full the next ones are refused before all else."""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2 as httpx
import pytest
from problems import assert_problem
from scrapes import scraped, series
from serving import Running, running, wait_until

from twinjet.service.app import create_app
from twinjet.service.config import Config
from twinjet.service.headers import SECURITY_HEADERS
from twinjet.service.scopes import READ

ORIGIN = "https://sky.example"
PATH = "/similar/T100%2B003"

# One is answered and sixteen wait.
_THERE = 17
_REFUSED = 23


@pytest.fixture
def full(config: Config) -> Iterator[Running]:
    """A service whose line is full for the test; then all of it is answered."""
    changed = {"reads": 1, "read_wait_s": 60.0, "cors_origins": (ORIGIN,)}
    app = create_app(config.model_copy(update=changed))
    go_on = threading.Event()

    @app.get("/held", dependencies=[READ])
    def held() -> dict[str, str]:
        assert go_on.wait(60)
        return {}

    with running(app) as served, ThreadPoolExecutor(_THERE + _REFUSED) as clients:
        try:
            asked = [
                clients.submit(httpx.get, f"{served.url}/held", timeout=60)
                for _ in range(_THERE + _REFUSED)
            ]
            wait_until(lambda: sum(one.done() for one in asked) == _REFUSED)
            yield served
        finally:
            go_on.set()
        statuses = sorted(one.result().status_code for one in asked)
    assert statuses == [200] * _THERE + [503] * _REFUSED


def test_who_is_refused_is_told_as_by_any_other_refusal(full: Running) -> None:
    headers = {"X-Request-ID": "ticket-17"}
    answer = httpx.get(full.url + PATH, headers=headers)
    body = assert_problem(answer, 503, "overloaded")
    assert (body["limit"], body["actual"]) == (1, _THERE)
    assert body["request_id"] == answer.headers["x-request-id"] == "ticket-17"
    assert answer.headers["retry-after"] == "1"
    for name, value in SECURITY_HEADERS:
        assert answer.headers[name.decode()] == value.decode()
    named_oddly = httpx.get(full.url + PATH, headers={"X-Request-ID": 'a"b'})
    assert len(named_oddly.json()["request_id"]) == 32


def test_others_are_not_refused_at_the_door(full: Running) -> None:
    # Whatever says how the service is, and what stands in another line.
    for path in ("/livez", "/readyz", "/metrics", "/static/logo.svg"):
        assert httpx.get(full.url + path).status_code == 200
    asked = {"ids": ["T100+003"]}
    assert httpx.post(f"{full.url}/similar/batch", json=asked).status_code == 200
    # These are refused where all that belongs to their answers is added.
    head = httpx.head(full.url + PATH)
    assert (head.status_code, head.content) == (503, b"")
    answer = httpx.get(full.url + PATH, headers={"Origin": ORIGIN})
    assert_problem(answer, 503, "overloaded")
    assert answer.headers["access-control-allow-origin"] == ORIGIN


def test_refusals_at_the_door_are_counted_and_summed_up(
    full: Running, caplog: pytest.LogCaptureFixture
) -> None:
    name = "twinjet_http_requests_total"
    at_door = series(name, method="GET", route="none", status="503")
    with httpx.Client(base_url=full.url) as client:
        before = scraped(client)[at_door]
        for _ in range(10):
            assert client.get(PATH).status_code == 503
        assert scraped(client)[at_door] == before + 10
    warnings = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert not any(PATH in one.getMessage() for one in warnings)
    assert len(warnings) <= 1


def test_the_last_ones_are_told_to_come_by_another_connection(full: Running) -> None:
    full.app.state.ending.begun = True
    answer = httpx.get(full.url + PATH)
    assert_problem(answer, 503, "overloaded")
    assert answer.headers["connection"] == "close"
