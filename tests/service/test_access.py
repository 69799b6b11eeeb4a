"""Who may ask for what: scopes of routes, keys, and what is told to whom."""

import asyncio
import io
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from clients import client_of
from databases import empty_database
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from problems import assert_problem
from servers import Postgres
from serving import Running, read_answer, running, upload_bytes, wait_until
from sqlalchemy import Engine
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

from twinjet.index.api_keys import ApiKey, ApiKeys, Scope
from twinjet.index.database import create_engine
from twinjet.service.app import create_app
from twinjet.service.config import Config
from twinjet.service.keyring import Caller, Keyring
from twinjet.service.logs import formatter
from twinjet.service.scopes import LEVELS, level_of, routes_of

ADMIN_KEY = "a key of sixteen characters or more"

# POST because of what is sent; nothing is kept.
READING_POSTS = {"/similar", "/similar/batch", "/embeddings", "/probe"}

# A request for each scope that is answered or refused for other reasons than its key.
REQUESTS = {
    "public": ("GET", "/livez"),
    "read": ("GET", "/sources?limit=1"),
    "ingest": ("DELETE", "/sessions/none"),
    "admin": ("GET", "/jobs/none"),
}


@pytest.fixture
def closed(config: Config) -> Iterator[TestClient]:
    """A service where nothing but the public needs no key."""
    with client_of(config, anonymous="none", admin_key=ADMIN_KEY) as client:
        yield client


Make = Callable[..., str]


@pytest.fixture
def make(config: Config) -> Iterator[Make]:
    """Makes keys; gives their text."""
    engine = create_engine(config.metadata_url)
    yield lambda scope, **more: ApiKeys(engine).create("test", scope, **more)[1]
    engine.dispose()


def bearing(token: str | bytes) -> dict[bytes, bytes]:
    token = token if isinstance(token, bytes) else token.encode()
    return {b"Authorization": b"Bearer " + token}


def ask(client: TestClient, level: str, token: str | None = None) -> httpx.Response:
    method, path = REQUESTS[level]
    return client.request(method, path, headers=bearing(token) if token else {})


def undeclared(app: FastAPI) -> list[str | None]:
    return [route.path for route in routes_of(app) if level_of(route) is None]


def test_every_route_declares_its_scope(closed: TestClient) -> None:
    app = closed.app
    assert isinstance(app, FastAPI)
    assert undeclared(app) == []
    levels = {
        (method, route.path): level_of(route)
        for route in routes_of(app)
        for method in route.methods or {"mount"}
    }
    assert len(levels) > 40
    # One path of one method has one scope, whatever the body is of.
    for route in routes_of(app):
        for method in route.methods or {"mount"}:
            assert levels[method, route.path] == level_of(route)
    for (method, path), level in levels.items():
        if method in {"PUT", "PATCH", "DELETE"}:
            assert level in {"ingest", "admin"}, path
        if method == "POST" and path not in READING_POSTS:
            assert level in {"ingest", "admin"}, path
    assert {path for (_, path), level in levels.items() if level == "public"} == {
        *("/", "/docs", "/docs/swagger-ui.js", "/docs/swagger-ui.css"),
        *("/livez", "/readyz", "/openapi.json", "/static", "/robots.txt"),
    }
    assert levels["GET", "/metrics"] == "read"


def test_a_route_without_a_scope_is_open_to_nobody(config: Config) -> None:
    app = create_app(Config(**(config.model_dump() | {"admin_key": ADMIN_KEY})))
    router = APIRouter()

    @router.get("/of-a-router")
    @app.get("/of-the-application")
    def careless() -> str:
        return "open to all"

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("open to all")(scope, receive, send)

    app.include_router(router)
    app.mount("/mounted", mounted)
    app.add_route("/plain", lambda _: PlainTextResponse("open to all"))
    assert undeclared(app) == [
        *("/of-the-application", "/of-a-router", "/mounted", "/plain"),
    ]
    with TestClient(app) as client:
        client.get("/livez")
        app.add_api_route("/later", careless)
        for path in (
            *("/of-the-application", "/of-a-router", "/mounted/x", "/plain", "/later"),
        ):
            answer = client.get(path, headers=bearing(ADMIN_KEY))
            assert "no scope" in assert_problem(answer, 403, "forbidden")["detail"]


@pytest.mark.parametrize("held", ["read", "ingest", "admin"])
@pytest.mark.parametrize("wanted", ["public", "read", "ingest", "admin"])
def test_a_scope_has_those_below_it(
    closed: TestClient, make: Make, held: Scope, wanted: Any
) -> None:
    answer = ask(closed, wanted, make(held))
    if LEVELS.index(held) >= LEVELS.index(wanted):
        assert answer.status_code in {200, 404}
        return
    problem = assert_problem(answer, 403, "forbidden")
    assert problem["detail"] == f"the key has the scope {held}; this needs {wanted}"
    assert f'scope="{wanted}"' in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("anonymous", ["none", "read", "ingest"])
@pytest.mark.parametrize("wanted", ["public", "read", "ingest", "admin"])
def test_what_needs_no_key_is_a_setting(
    config: Config, anonymous: str, wanted: Any
) -> None:
    open_to_all = {"none": 0, "read": 1, "ingest": 2}[anonymous]
    with client_of(config, anonymous=anonymous) as client:
        answer = ask(client, wanted)
    if LEVELS.index(wanted) <= open_to_all:
        assert answer.status_code in {200, 404}
        return
    problem = assert_problem(answer, 401, "unauthenticated")
    assert f"a key of scope {wanted}" in problem["detail"]
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="twinjet"'


def test_a_key_takes_nothing_from_what_needs_none(config: Config, make: Make) -> None:
    with client_of(config, anonymous="ingest") as client:
        assert ask(client, "ingest").status_code == 404
        assert ask(client, "ingest", make("read")).status_code == 404
        assert_problem(ask(client, "admin", make("read")), 403, "forbidden")


def test_reading_is_open_where_nothing_is_said(config: Config) -> None:
    with client_of(config, anonymous=None) as client:
        assert ask(client, "read").status_code == 200
        assert_problem(ask(client, "ingest"), 401, "unauthenticated")


@pytest.mark.parametrize(
    "token",
    [
        *(b"", b"x", "ключ".encode(), b"\xff\xfe\x80", b"x" * 60_000, b"a b"),
        *(b"tj_000000000000_" + b"x" * 43, ADMIN_KEY.encode() + b"x", b"tj__"),
    ],
    ids=lambda token: repr(token[:20]),
)
@pytest.mark.parametrize("level", ["read", "admin"])
def test_a_key_that_nobody_has_made_opens_nothing(
    config: Config, token: bytes, level: str
) -> None:
    """Also where no key is needed: who sends one is to know that it is wrong."""
    method, path = REQUESTS[level]
    with client_of(config, anonymous="read", admin_key=ADMIN_KEY) as client:
        answer = client.request(method, path, headers=bearing(token))
        problem = assert_problem(answer, 401, "unauthenticated")
        assert problem["detail"] == "the key is unknown"
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
        assert client.get("/livez", headers=bearing(token)).status_code == 200


def test_the_admin_key_may_be_of_any_letters(config: Config) -> None:
    key = "der Schlüssel für alle Türen"
    settings = config.model_dump() | {"anonymous": "none", "admin_key": key}
    with running(create_app(Config(**settings))) as server:
        assert status_of(server, key.encode()) == 200
        for wrong in (key.encode("latin-1"), b"\xff\xfe\x80", b"\xc3"):
            assert status_of(server, wrong) == 401


def status_of(server: Running, token: bytes) -> int:
    """Of the answer to a key as bytes, which clients of HTTP would change."""
    with server.connection() as client:
        client.sendall(
            b"GET /jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token
        )
        client.sendall(b"\r\nConnection: close\r\n\r\n")
        return read_answer(client)[0]


def test_bearer_is_read_as_the_standard_has_it(closed: TestClient, make: Make) -> None:
    token = make("read")
    for value in (f"bearer {token}", f"BEARER   {token} ", f"\tBearer {token}"):
        answer = closed.get("/sources?limit=1", headers={"Authorization": value})
        assert answer.status_code == 200, value
    for value in (f"Basic {token}", token, f"Bearer{token}", f"Token {token}"):
        answer = closed.get("/sources?limit=1", headers={"Authorization": value})
        problem = assert_problem(answer, 401, "unauthenticated")
        assert "Authorization: Bearer KEY" in problem["detail"]
    twice = [("Authorization", f"Bearer {token}")] * 2
    assert_problem(closed.get("/sources", headers=twice), 401, "unauthenticated")


def test_a_revoked_key_opens_nothing_in_any_process_after_a_second(
    config: Config,
) -> None:
    engine = create_engine(config.metadata_url)
    key, token = ApiKeys(engine).create("test", "read")
    with ExitStack() as stack:
        services = [
            stack.enter_context(client_of(config, anonymous="none")) for _ in range(2)
        ]
        assert [ask(one, "read", token).status_code for one in services] == [200, 200]
        ApiKeys(engine).revoke(key.prefix)
        time.sleep(1)
        assert [ask(one, "read", token).status_code for one in services] == [401, 401]
        answer = ask(services[0], "read", token)
        problem = assert_problem(answer, 401, "unauthenticated")
        assert problem["detail"].startswith(f"the key {key.prefix} was revoked at ")
        # Who has not the whole key is told nothing of it.
        other = ask(services[0], "read", token[:-1])
        assert assert_problem(other, 401, "unauthenticated")["detail"] == (
            "the key is unknown"
        )
    engine.dispose()


class SlowKeys(ApiKeys):
    """Their store answers, and the first answer takes long to come."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.asked = 0
        self.was_asked = threading.Event()
        self.may_come = threading.Event()

    def match(self, token: bytes) -> ApiKey | None:
        self.asked += 1
        is_first = self.asked == 1
        found = super().match(token)
        if is_first:
            self.was_asked.set()
            self.may_come.wait(timeout=60)
        return found


def test_a_revoked_key_opens_nothing_though_the_store_is_slow(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinjet.service.keyring._PATIENCE_S", 60)
    engine = create_engine(config.metadata_url)
    key, token = ApiKeys(engine).create("test", "read")
    slow = SlowKeys(engine)

    async def ask_three_times() -> list[Caller | BaseException]:
        keyring = Keyring(lambda: slow, None)
        first = asyncio.create_task(keyring.caller(token.encode()))
        await asyncio.to_thread(slow.was_asked.wait, 60)
        # At once with it: they ask once.
        same = asyncio.create_task(keyring.caller(token.encode()))
        await asyncio.sleep(0)
        ApiKeys(engine).revoke(key.prefix)
        await asyncio.sleep(1)
        later = asyncio.create_task(keyring.caller(token.encode()))
        await asyncio.wait([later])
        slow.may_come.set()
        asked = asyncio.gather(first, same, later, return_exceptions=True)
        found: list[Caller | BaseException] = list(await asked)
        await keyring.close()
        return found

    first, same, later = asyncio.run(ask_three_times())
    assert isinstance(first, Caller)
    assert same == first
    assert isinstance(later, HTTPException)
    assert later.status_code == 401
    assert slow.asked == 2  # the first two together
    engine.dispose()


def test_a_key_expires_though_it_was_just_looked_up(
    closed: TestClient, config: Config
) -> None:
    engine = create_engine(config.metadata_url)
    now = datetime(2030, 1, 1, tzinfo=UTC)
    expires = now + timedelta(seconds=1)
    token = ApiKeys(engine).create("test", "read", expires_at=expires)[1]
    clock = [now]
    app: Any = closed.app
    app.state.keyring = Keyring(lambda: ApiKeys(engine), None, now=lambda: clock[0])
    assert ask(closed, "read", token).status_code == 200
    clock[0] = expires
    problem = assert_problem(ask(closed, "read", token), 401, "unauthenticated")
    assert "expired at 2030-01-01T00:00:01Z" in problem["detail"]
    engine.dispose()


def test_that_a_key_was_used_is_noted(closed: TestClient, config: Config) -> None:
    engine = create_engine(config.metadata_url)
    store = ApiKeys(engine)
    key, token = store.create("test", "read")
    before = datetime.now(UTC)
    assert ask(closed, "read", token).status_code == 200

    def used() -> datetime | None:
        known = {one.prefix: one for one in store.all()}
        return known[key.prefix].used_at

    wait_until(lambda: used() is not None)
    first = used()
    assert first is not None
    assert before <= first <= datetime.now(UTC)
    assert ask(closed, "read", token).status_code == 200
    assert used() == first
    engine.dispose()


def test_without_the_database_keys_are_refused_and_reading_goes_on(
    postgres: Postgres, config: Config, tmp_path: Path
) -> None:
    with empty_database(postgres.url) as url:
        settings: dict[str, Any] = {
            "home": tmp_path,
            "database_url": url,
            "anonymous": "read",
        }
        with client_of(config, **settings, admin_key=ADMIN_KEY) as client:
            engine = create_engine(url)
            token = ApiKeys(engine).create("test", "read")[1]
            engine.dispose()
            headers = bearing(token)
            postgres.stop()
            try:
                answer = client.get("/encoders", headers=headers)
                assert_problem(answer, 503, "store-unavailable")
                assert answer.headers["Retry-After"] == "5"
                assert client.get("/encoders").status_code == 200
                admin = client.get("/encoders", headers=bearing(ADMIN_KEY))
                assert admin.status_code == 200
                assert client.get("/livez", headers=headers).status_code == 200
            finally:
                postgres.start()
            wait_until(
                lambda: client.get("/encoders", headers=headers).status_code == 200
            )


def test_no_key_is_in_the_log(closed: TestClient, make: Make) -> None:
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(formatter("json"))
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    token = make("read")
    try:
        for level_wanted in REQUESTS:
            for wrong in (token, f"{token}x", ADMIN_KEY, f"{ADMIN_KEY}x"):
                ask(closed, level_wanted, wrong)
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    lines = [json.loads(line) for line in text.getvalue().splitlines()]
    assert sum("status" in line for line in lines) == 16
    assert token.split("_", 2)[2] not in text.getvalue()
    assert ADMIN_KEY not in text.getvalue()


def test_a_refusal_is_counted_under_its_route(closed: TestClient, make: Make) -> None:
    closed.get("/similar/T100%2B003")
    figures = closed.get("/metrics", headers=bearing(make("read"))).text
    assert (
        'twinjet_http_requests_total{method="GET",route="/similar/{source_id}",'
        'status="401"} 1.0' in figures
    )


def test_a_refusal_does_not_wait_for_the_body(config: Config) -> None:
    settings = config.model_dump() | {"anonymous": "none"}
    with running(create_app(Config(**settings))) as server:
        head, _ = upload_bytes("/similar", b"x" * 1000)
        with server.connection() as client:
            client.sendall(head)
            status, headers, problem = read_answer(client)
    assert (status, problem["type"]) == (401, "/problems/unauthenticated")
    assert "x-content-type-options" in headers


def test_the_description_says_what_needs_a_key(config: Config) -> None:
    with client_of(config, anonymous="read") as client:
        schema = client.get("/openapi.json").json()
        assert client.get("/openapi.json").json() == schema
    paths = schema["paths"]
    assert schema["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert paths["/jobs"]["get"]["security"] == [{"key": ["admin"]}]
    assert paths["/sessions"]["post"]["security"] == [{"key": ["ingest"]}]
    assert paths["/sources"]["get"]["security"] == [{}, {"key": ["read"]}]
    assert "security" not in paths["/livez"]["get"]
    assert {"401", "429"} <= set(paths["/sources"]["get"]["responses"])
    with client_of(config, anonymous="none") as client:
        closed = client.get("/openapi.json").json()["paths"]
    assert closed["/sources"]["get"]["security"] == [{"key": ["read"]}]
