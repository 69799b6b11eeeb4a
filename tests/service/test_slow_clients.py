"""Clients that stall are cut off, and keep nobody waiting."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest
from fastapi import Response
from serving import Running, read_answer, running, upload_bytes, wait_until

from twinjet.service.app import create_app
from twinjet.service.config import Config
from twinjet.service.scopes import PUBLIC

_HEADERS = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"


@contextmanager
def service(
    config: Config, *, connection_stall_s: float = 30, connections: int | None = None
) -> Iterator[Running]:
    patience = {"connection_stall_s": connection_stall_s}
    app = create_app(config.model_copy(update=patience))

    @app.get("/large", dependencies=[PUBLIC])
    def large() -> Response:
        return Response(bytes(32 << 20))

    with running(app, limit_concurrency=connections) as served:
        yield served


def is_closed(client: socket.socket) -> bool:
    """Wait until the other side has closed, whatever it sends before."""
    try:
        while client.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass
    return True


def test_a_silent_connection_is_closed(config: Config) -> None:
    with service(config, connection_stall_s=0.2) as served:
        with served.connection() as client:
            assert client.recv(1) == b""
        # And one that has been of use, as soon as its next request stalls.
        with served.connection() as client:
            client.sendall(_HEADERS + b"\r\n")
            assert read_answer(client)[0] == 200
            client.sendall(b"G")
            assert client.recv(1000).startswith(b"HTTP/1.1 408 ")
            assert is_closed(client)


def test_headers_that_trickle_are_cut_off(config: Config) -> None:
    with (
        service(config, connection_stall_s=0.5) as served,
        served.connection() as client,
    ):
        client.sendall(_HEADERS)
        client.settimeout(0.02)
        answer, lines = b"", 0
        while not answer:
            try:
                answer = client.recv(1000)
            except TimeoutError:
                client.sendall(b"X-Slow: 1\r\n")
                lines += 1
            assert lines < 3000, "they were waited for"
        assert lines > 1
        assert answer.startswith(b"HTTP/1.1 408 ")
        client.settimeout(60)
        assert is_closed(client)


@pytest.mark.parametrize("end", [b"", b"\r\nX-More: "])
def test_headers_without_end_are_refused_while_they_come(
    config: Config, end: bytes
) -> None:
    with service(config) as served, served.connection() as client:
        client.sendall(_HEADERS + b"X-Long: ")
        refused = False
        for _ in range(1000):  # 4 MB, of which no one is to keep much
            try:
                client.sendall(b"x" * 4096 + end)
            except (BrokenPipeError, ConnectionResetError):
                refused = True
                break
            time.sleep(0.001)
        assert refused
        assert httpx.get(f"{served.url}/livez").status_code == 200


@pytest.mark.parametrize(
    ("head", "status", "told"),
    [
        (b"GET /livez HTTP/1.1\r\nX: " + b"x" * 20_000, 200, ""),
        (b"GET /livez HTTP/1.1\r\nX: " + b"x" * 40_000, 431, "32768 bytes"),
        (
            b"GET /livez HTTP/1.1" + b"\r\nX: ".join([b"x" * 1000] * 40)[1000:],
            *(431, "32768 bytes"),
        ),
        (b"GET /livez?" + b"x" * 60_000 + b" HTTP/1.1", 200, ""),
        (b"GET /livez?" + b"x" * 70_000 + b" HTTP/1.1", 414, "65535 bytes"),
        (b"GET /livez?" + b"x" * 10**6 + b" HTTP/1.1", 414, "65535 bytes"),
    ],
    ids=["long", "too long", "too many", "address", "too long address", "1 MB"],
)
@pytest.mark.parametrize("piece", [1460, 10**7])
def test_long_heads_are_answered_however_they_come(
    config: Config, head: bytes, status: int, told: str, piece: int
) -> None:
    asked = head + b"\r\nHost: a\r\nConnection: close\r\n\r\n"
    with service(config) as served, served.connection() as client:
        for start in range(0, len(asked), piece):
            client.sendall(asked[start : start + piece])
        answer = b"".join(iter(lambda: client.recv(1 << 16), b"")).decode()
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert told in answer


def test_a_body_right_behind_is_no_head(config: Config) -> None:
    with service(config) as served, served.connection() as client:
        client.sendall(b"POST /livez HTTP/1.1\r\nHost: a\r\n")
        time.sleep(0.05)
        client.sendall(b"Content-Length: 100000\r\n\r\n" + bytes(100_000))
        assert client.recv(100).startswith(b"HTTP/1.1 405 ")


def test_headers_in_two_pieces_are_whole(config: Config) -> None:
    with (
        service(config, connection_stall_s=30) as served,
        served.connection() as client,
    ):
        for _ in range(3):
            client.sendall(_HEADERS[:20])
            client.sendall(_HEADERS[20:] + b"\r\n")
            assert read_answer(client)[0] == 200


def test_a_request_may_take_longer_than_its_headers(config: Config, sky: Path) -> None:
    """The clock of the headers stops when they have come."""
    body = (sky / "T003.fits").read_bytes()
    with (
        service(config, connection_stall_s=0.2) as served,
        served.connection() as client,
    ):
        head, form = upload_bytes("/similar", body)
        client.sendall(head)
        began, sent = time.monotonic(), 0
        while time.monotonic() < began + 0.6:
            client.sendall(form[sent : sent + 1])
            sent += 1
        client.sendall(form[sent:])
        assert read_answer(client)[0] == 200


def test_an_answer_that_nobody_takes_is_dropped(config: Config) -> None:
    with (
        service(config, connection_stall_s=0.2) as served,
        served.connection() as client,
    ):
        client.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(1)
        wait_until(lambda: not _open(served))


def test_a_large_answer_that_is_taken_is_whole(config: Config) -> None:
    with service(config, connection_stall_s=30) as served:
        assert len(httpx.get(f"{served.url}/large", timeout=60).content) == 32 << 20


def _open(served: Running) -> int:
    return len(served.server.server_state.connections)


def test_more_connections_than_there_may_be_are_closed(config: Config) -> None:
    with service(config, connections=4) as served, ExitStack() as stack:
        clients = [stack.enter_context(served.connection()) for _ in range(3)]
        wait_until(lambda: _open(served) == 3)
        for _ in range(5):
            with served.connection() as one_more:
                assert one_more.recv(1000).startswith(b"HTTP/1.1 503 ")
        # Those that were there before go on.
        wait_until(lambda: _open(served) == 3)
        for client in clients:
            client.sendall(_HEADERS + b"\r\n")
            assert read_answer(client)[0] == 200


@pytest.mark.parametrize("part", ["nothing", "headers", "body"])
def test_many_slow_clients_keep_nobody_waiting(
    config: Config, sky: Path, part: str
) -> None:
    head, body = upload_bytes("/similar", (sky / "T003.fits").read_bytes())
    sent = {"nothing": b"", "headers": head[:40], "body": head + body[:100]}[part]
    with service(config, connection_stall_s=30) as served, ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(served.connection()).sendall(sent)
        wait_until(lambda: _open(served) == 100)
        with httpx.Client(base_url=served.url, timeout=10) as client:
            for _ in range(20):
                assert client.get("/similar/T100%2B003").status_code == 200


def test_a_refusal_comes_after_the_answers_that_are_due(config: Config) -> None:
    good = b"GET /generations HTTP/1.1\r\nHost: a\r\n\r\n"
    with service(config) as served, served.connection() as client:
        client.sendall(2 * good + b"GET /livez HTTP/1.1\r\n\r\n" + good)
        told = b""
        while piece := client.recv(65_536):
            told += piece
    statuses = re.findall(rb"HTTP/1.1 (\d+)", told)
    assert statuses == [b"200", b"200", b"400"]
    assert told.endswith(b"has one header Host\n")
