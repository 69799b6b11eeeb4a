"""JSON bodies that no program can read: one refusal, of every route that takes one."""

import json
from typing import Any

import pytest
from fastapi import Request
from fastapi.testclient import TestClient
from problems import assert_problem
from pydantic import SecretStr

from twinjet.service.app import create_app
from twinjet.service.config import Config
from twinjet.service.errors import problem

KEY = "sixteen characters"

HALF = rb'{"like": ["\ud800"]}'
NAMED: dict[str, tuple[bytes, int]] = {
    "half": (HALF, 11),
    "second half": (rb'["\udc00"]', 2),
    "half after backslashes": (rb'["\\\ud800"]', 4),
    "not UTF-8": (b'{"like":["\xff"]}', 10),
    "deep": (b"[" * 3000, 100),
    "digits": (b"[" + b"1" * 5000 + b"]", 1),
    "brace": (b"{", 1),
    "member twice": (b'{"like": [], "like": []}', 13),
    "no number": (b'{"like": [[0, NaN]]}', 14),
    "infinite": (b"[-Infinity]", 1),
}


def _taking_json() -> list[tuple[str, str]]:
    """Methods and paths of all routes that take JSON."""
    paths = create_app(Config(admin_key=SecretStr(KEY))).openapi()["paths"]
    return [
        (method, path.replace("{number}", "1"))
        for path, operations in paths.items()
        for method, operation in operations.items()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    ]


ROUTES = _taking_json()


def test_there_are_routes_that_take_json() -> None:
    assert {
        ("post", "/similar"),
        ("post", "/similar/batch"),
        ("post", "/sessions"),
        ("patch", "/sessions/{session_id}"),
        ("post", "/sessions/{session_id}/labels"),
        ("put", "/sessions/{session_id}/rounds/1"),
        ("post", "/jobs/reindex"),
    } <= set(ROUTES)


@pytest.fixture(scope="module")
def admin(config: Config) -> Any:
    settings = config.model_copy(update={"admin_key": SecretStr(KEY)})
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    app = create_app(settings)
    with TestClient(app, headers=headers, raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize("fault", NAMED)
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_body_that_cannot_be_read_is_refused_with_its_place(
    admin: TestClient, method: str, path: str, fault: str
) -> None:
    data, position = NAMED[fault]
    answer = admin.request(method, path, content=data)
    body = assert_problem(answer, 422, "malformed-json")
    assert body["position"] == position


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_more_values_than_are_read_are_refused_before(
    admin: TestClient, method: str, path: str
) -> None:
    data = b'{"like": [' + b"1," * ((1 << 20) + 1) + b"1]}"
    answer = admin.request(method, path, content=data)
    body = assert_problem(answer, 413, "payload-too-large")
    assert (body["limit"], body["actual"]) == (1 << 20, (1 << 20) + 1)


def test_whole_characters_are_read(client: TestClient) -> None:
    # A pair of escapes, and a backslash before letters that look like half of one.
    for text in (rb'{"like": ["\ud83d\ude00"]}', rb'{"like": ["\\ud800"]}'):
        headers = {"content-type": "application/json"}
        answer = client.post("/similar", content=text, headers=headers)
        assert_problem(answer, 404, "unknown-source")


def test_a_refusal_of_text_that_is_no_unicode_can_be_written(config: Config) -> None:
    state = {"request_id": "one"}
    request = Request({"type": "http", "state": state, "app": create_app(config)})
    answer = problem(request, 422, "unusable-table", "a\ud800.csv", actual="\udcff")
    body = json.loads(bytes(answer.body))
    assert (body["detail"], body["actual"]) == ("a?.csv", "?")
