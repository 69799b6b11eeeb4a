"""Clients that go away in the middle leave nothing behind."""

import select
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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

# At a time: more would be refused, and never be in the middle of anything.
_AT_ONCE = 8

# Of an upload, more than a form keeps in memory.
_IN_A_FILE = 3 << 19

# Threads and connections that are kept for later, if a busier moment wanted more.
_KEPT = 10


def reset(client: socket.socket) -> None:
    """Close as a process that dies does: the other side has a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def is_answered(client: socket.socket) -> bool:
    return bool(select.select([client], [], [], 0)[0])


@dataclass(frozen=True)
class Held:
    """What this process has, with the server in it."""

    descriptors: int
    threads: int
    processes: int
    files: int
    """Temporary ones, those that are open and have no name among them."""

    @classmethod
    def of(cls, temporary: Path) -> "Held":
        me = psutil.Process()
        return cls(
            me.num_fds(),
            me.num_threads(),
            len(me.children(recursive=True)),
            files_in(temporary),
        )

    def is_back_at(self, before: "Held") -> bool:
        kept = max(self.descriptors - before.descriptors, self.threads - before.threads)
        return kept <= _KEPT and self.processes <= before.processes and self.files == 0


def files_in(temporary: Path) -> int:
    """Of this process; a form's has no name from the beginning, no folder lists it."""
    targets = map(target_of, Path("/proc/self/fd").iterdir())
    inside = {target for target in targets if target.startswith(f"{temporary}/")}
    return len(inside.union(map(str, temporary.iterdir())))


def target_of(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # closed meanwhile
        return ""


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


@pytest.mark.parametrize(
    "clients", [100, pytest.param(1000, marks=pytest.mark.torture)]
)
@pytest.mark.parametrize("part", ["upload", "answer", "search"])
def test_clients_that_go_away_leave_nothing_behind(
    config: Config,
    sky: Path,
    *,
    part: str,
    clients: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    # Larger than what a form keeps in memory: it is a temporary file.
    cutout = (sky / "T003.fits").read_bytes() + bytes(2 << 20)
    head, body = upload_bytes("/similar", cutout)
    get = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n"
    asked: dict[str, Callable[[int], bytes]] = {
        "upload": lambda number: head + body[: number * len(body) // clients],
        "answer": lambda _: get % b"/large",
        "search": lambda number: get % b"/similar/T100%%2B%03d" % (number % 40),
    }
    app = create_app(config)

    @app.get("/large", dependencies=[PUBLIC])
    def large() -> Response:
        return StreamingResponse(bytes(1 << 20) for _ in range(32))

    with running(app) as served:
        files = [0]

        def leave(number: int) -> None:
            client = socket.create_connection(("127.0.0.1", served.port), 60)
            said = asked[part](number)
            client.sendall(said)
            if part == "answer":
                client.recv(100)
            elif len(said) > _IN_A_FILE:
                # What has not been read yet, the reset would take back.
                wait_until(lambda: files_in(tmp_path) > 0 or is_answered(client))
            files.append(files_in(tmp_path))
            reset(client)

        def is_over() -> bool:
            state = served.server.server_state
            return not state.connections and not state.tasks

        def all_leave(numbers: range) -> None:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(leave, numbers))
            wait_until(is_over)

        # Threads and connections to the database that are kept come with the first.
        all_leave(range(0, clients, clients // 50))
        httpx.get(f"{served.url}/similar/T100%2B003", timeout=60)
        wait_until(is_over)
        before = Held.of(tmp_path)
        all_leave(range(clients))
        wait_until(lambda: connections_of_pool(served) == 0)
        wait_until(lambda: Held.of(tmp_path).is_back_at(before))
        after = Held.of(tmp_path)
        assert (max(files) > 0) == (part == "upload")
        lines = lines_of(app)
        wait_until(lambda: all(one.taken == one.waiting == 0 for one in lines))
        with httpx.Client(base_url=served.url, timeout=60) as client:
            assert client.get("/similar/T100%2B003").status_code == 200
            small = {"file": (sky / "T003.fits").read_bytes()}
            assert client.post("/similar", files=small).status_code == 200
    record_property(
        "disconnects",
        f"{clients} clients left in the middle of their {part}, {_AT_ONCE} at a time: "
        f"{before.descriptors} descriptors before and {after.descriptors} after, "
        f"{before.threads} threads and {after.threads}, {before.processes} processes "
        f"below and {after.processes}; {max(files)} temporary files at most and "
        f"{after.files} after; no connection to the database and no place in use",
    )
