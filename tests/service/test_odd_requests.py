"""Odd and hostile requests to a real server: the exact refusal, nothing changed."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from typing import Any

import httpx2 as httpx
import pytest
from odd_requests import odd_requests
from odd_uploads import faults_of
from oddities import oddities
from pydantic import SecretStr
from raw_requests import BODY_MARK, KEY, OddRequest, get
from serving import Running, running
from skies import index_sky, write_sky

from twinjet.model.encoder import load_encoder
from twinjet.service.app import create_app
from twinjet.service.config import Config
from twinjet.service.logs import formatter, identified

Answer = tuple[int, dict[str, str], bytes]


@pytest.fixture(scope="module")
def server(
    config: Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A server of this module's own, which some requests would like to change."""
    assert config.encoder is not None
    folder = tmp_path_factory.mktemp("odd")
    write_sky(folder / "sky", 40)
    index_sky(folder / "sky", folder / "home", load_encoder(config.encoder))
    changed = {"home": folder / "home", "admin_key": SecretStr(KEY)}
    with running(create_app(config.model_copy(update=changed))) as server:
        yield server


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that is logged, as JSON."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(formatter("json"))
    handler.addFilter(identified)
    ours = logging.getLogger("twinjet")
    before = ours.level
    ours.setLevel(logging.INFO)
    logging.getLogger().addHandler(handler)
    yield text
    logging.getLogger().removeHandler(handler)
    ours.setLevel(before)


def asked(server: Running, data: bytes) -> Answer:
    """The first answer to bytes on a connection of their own."""
    with server.connection() as client:
        # It may be refused before it was read to its end.
        with suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(data)
        answer = HTTPResponse(client, method=data.split(b" ", 1)[0].decode("latin-1"))
        answer.begin()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, answer.read()


def fault(odd: OddRequest, server: Running) -> str | None:
    """How an answer differs from what was expected."""
    try:
        status, headers, body = asked(server, odd.data)
    except (OSError, HTTPException) as exc:
        return f"{odd.name}: no answer, {exc!r}"
    kind = headers.get("content-type", "")
    name = None
    if kind == "application/problem+json" and body:
        told = json.loads(body)
        name = told["type"].removeprefix("/problems/")
        if told["status"] != status or told["request_id"] != headers["x-request-id"]:
            return f"{odd.name}: {told}"
    head = odd.data.startswith(b"HEAD ")
    if (status, name) != (odd.status, None if head else odd.problem):
        return f"{odd.name}: {status} {name}, {body[:300]!r}"
    return None


def test_there_are_enough_and_no_two_have_one_name() -> None:
    names = [odd.name for odd in odd_requests()]
    assert len(names) >= 300
    assert sorted(set(names)) == sorted(names)


def test_each_is_answered_as_it_should_be_and_logged_without_secrets(
    server: Running, log: io.StringIO
) -> None:
    control = get("/similar/T100%2B003?k=40")
    first = asked(server, control)
    assert first[0] == 200
    faults = [fault(odd, server) for odd in odd_requests()]
    with httpx.Client(base_url=server.url, timeout=60) as client:
        files = [odd for odd in oddities() if not odd.heavy]
        faults += faults_of(client.post, files[1::8])
    assert asked(server, control)[2] == first[2]
    if told := "\n".join(filter(None, faults)):
        pytest.fail(told, pytrace=False)
    _assert_clean(log.getvalue())
    _assert_declared(log.getvalue(), server.app.openapi()["paths"])


def _assert_clean(text: str) -> None:
    """One line of JSON for each record; nothing raw, nothing secret, nothing sent."""
    lines = text.splitlines()
    assert len(lines) > 300
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    for line in lines:
        assert {"time", "level", "logger", "message"} <= set(json.loads(line))
    assert KEY not in text
    assert BODY_MARK not in text
    assert "SIMPLE  =" not in text


def _assert_declared(text: str, paths: dict[str, Any]) -> None:
    """Whatever a route answered, its description has."""
    seen = {
        # A head is described where its GET is.
        (
            line["route"],
            line["method"].lower().replace("head", "get"),
            str(line["status"]),
        )
        for line in map(json.loads, text.splitlines())
        if line["logger"] == "twinjet.service.observation"
    }
    asked = [one for one in seen if one[0] in paths and one[2] != "405"]
    assert len(asked) > 30
    odd = [
        (path, method, status)
        for path, method, status in asked
        if status not in paths[path].get(method, {}).get("responses", {})
    ]
    assert not odd
