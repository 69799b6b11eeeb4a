"""Clients that go away in the middle leave nothing behind."""

import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psutil
import pytest
from fastapi import FastAPI, Response
from fastapi.responses import StreamingResponse
from serving import Running, running, upload_bytes, wait_until
from sqlalchemy.pool import QueuePool

from twinjet.service.admission import Admission
from twinjet.service.app import create_app
from twinjet.service.config import Config
from twinjet.service.line import Line
from twinjet.service.scopes import PUBLIC

_CLIENTS = 100


def reset(client: socket.socket) -> None:
    """Close as a process that dies does: the other side has a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def descriptors() -> int:
    count: int = psutil.Process().num_fds()
    return count


def lines_of(app: FastAPI) -> tuple[Line, Line]:
    """In which requests stand for a place."""
    layer: Any = app.middleware_stack
    while not isinstance(layer, Admission):
        layer = getattr(layer, "_app", None) or layer.app
    return layer.reads, layer.others


def connections_of_pool(served: Running) -> int:
    pool = served.app.state.resources.store.engine.pool
    assert isinstance(pool, QueuePool)
    return pool.checkedout()


@pytest.mark.parametrize("part", ["upload", "answer", "search"])
def test_clients_that_go_away_leave_nothing_behind(
    config: Config,
    sky: Path,
    part: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    # Larger than what a form keeps in memory: it is a temporary file.
    cutout = (sky / "T003.fits").read_bytes() + bytes(2 << 20)
    head, body = upload_bytes("/similar", cutout)
    get = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n"
    asked: dict[str, Callable[[int], bytes]] = {
        "upload": lambda number: head + body[: number * len(body) // _CLIENTS],
        "answer": lambda _: get % b"/large",
        "search": lambda number: get % b"/similar/T100%%2B%03d" % (number % 40),
    }
    app = create_app(config)

    @app.get("/large", dependencies=[PUBLIC])
    def large() -> Response:
        return StreamingResponse(bytes(1 << 20) for _ in range(32))

    with running(app) as served:

        def leave(number: int, *, take: bool) -> None:
            client = socket.create_connection(("127.0.0.1", served.port), 60)
            client.sendall(asked[part](number))
            if take:
                client.recv(100)
            reset(client)

        def is_over() -> bool:
            state = served.server.server_state
            return not state.connections and not state.tasks

        # Threads and connections to the database that are kept come with the first.
        for number in range(20):
            leave(number, take=part == "answer")
        httpx.get(f"{served.url}/similar/T100%2B003", timeout=60)
        wait_until(is_over)
        before = descriptors()
        for number in range(_CLIENTS):
            leave(number, take=part == "answer")
        wait_until(is_over)
        wait_until(lambda: connections_of_pool(served) == 0)
        wait_until(lambda: descriptors() <= before + 10)
        lines = lines_of(app)
        wait_until(lambda: all(one.taken == one.waiting == 0 for one in lines))
        assert not os.listdir(tmp_path)  # noqa: PTH208 - names are enough
        assert threading.active_count() < 60
        with httpx.Client(base_url=served.url, timeout=60) as client:
            assert client.get("/similar/T100%2B003").status_code == 200
            small = {"file": (sky / "T003.fits").read_bytes()}
            assert client.post("/similar", files=small).status_code == 200
