"""HEAD of every route that has a GET, from a real server."""

import socket
from collections.abc import Iterator

import httpx2 as httpx
import pytest
from fastapi.responses import StreamingResponse
from serving import Running, running

from twinjet.service.app import create_app
from twinjet.service.config import Config
from twinjet.service.scopes import READ


@pytest.fixture(scope="module")
def served(config: Config) -> Iterator[Running]:
    app = create_app(config)

    @app.get("/endless", dependencies=[READ])
    def endless() -> StreamingResponse:
        def parts() -> Iterator[bytes]:
            while True:
                yield b"more"

        return StreamingResponse(parts(), headers={"X-Kind": "endless"})

    with running(app) as served:
        yield served


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/docs", "/openapi.json", "/static/js/api.js", "/livez", "/metrics"),
        *("/similar/T100%2B003", "/sources?limit=2", "/sources/none", "/nowhere"),
        "/sources/T100%2B003/cutout",
    ],
)
def test_a_head_is_that_of_the_get(served: Running, path: str) -> None:
    differing = {"date", "x-request-id", "server-timing"}
    with httpx.Client(base_url=served.url, timeout=60) as client:
        got, head, again = client.get(path), client.head(path), client.get(path)
    assert head.status_code == got.status_code == again.status_code
    assert head.content == b""
    wanted = {*got.headers} - differing
    # What the server measures may have another number of digits.
    wanted -= {"content-length"} if path == "/metrics" or "/similar" in path else set()
    for name in wanted:
        assert head.headers[name] == got.headers[name], name


def test_what_would_be_streamed_is_not_made(served: Running) -> None:
    with socket.create_connection(("127.0.0.1", served.port), 60) as client:
        for _ in range(2):  # by one connection: nothing of a body is in between
            client.sendall(b"HEAD /endless HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                answer += client.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"x-kind: endless" in answer


def test_a_head_of_what_is_only_posted_is_refused(served: Running) -> None:
    answer = httpx.head(f"{served.url}/embeddings", timeout=60)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
