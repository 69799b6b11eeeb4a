"""A real uvicorn on a port of this machine, and requests as bytes."""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx
import uvicorn
from fastapi import FastAPI

from twinjet.service.protocol import PatientProtocol

_PATIENCE_S = 60.0

# A machine that runs other tests beside it has little time for it.
_START_S = 300.0
_LOOK_S = 0.05

_BOUNDARY = b"7d8a4c"


@dataclass
class Running:
    """An application that is being served."""

    app: FastAPI
    port: int
    server: uvicorn.Server

    @property
    def url(self) -> str:
        """Of its root."""
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def connection(self) -> Iterator[socket.socket]:
        """A connection of one's own."""
        with socket.create_connection(("127.0.0.1", self.port), _PATIENCE_S) as client:
            yield client


@contextmanager
def running(app: FastAPI, *, limit_concurrency: int | None = None) -> Iterator[Running]:
    """The application with its lifespan, in a thread, for as long as this is open."""
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            port=0,
            http=PatientProtocol,
            limit_concurrency=limit_concurrency,
            log_level="warning",
            timeout_graceful_shutdown=10,
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        assert server.started
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Running(app, port, server)
    finally:
        server.should_exit = True
        thread.join()


def wait_until(is_so: Callable[[], bool], patience_s: float = _PATIENCE_S) -> None:
    """Come back when something is so, at most a minute if nothing else is said."""
    deadline = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.002)


def wait_until_served(
    process: subprocess.Popen[bytes], root: str, *, by: str = "/readyz"
) -> None:
    """Come back when a service that was started answers.

    Parameters
    ----------
    process
        In which it is.
    root
        Its URL.
    by
        Path of what is asked for: `/livez` of a service that has nothing to serve yet.
    """

    def answers() -> bool:
        assert process.poll() is None, "the service ended at its start"
        try:
            return httpx.get(root + by, timeout=_START_S).is_success
        except httpx.TransportError:
            time.sleep(_LOOK_S)
            return False

    wait_until(answers, patience_s=_START_S)


def upload_bytes(path: str, data: bytes) -> tuple[bytes, bytes]:
    """Head and body of a POST of one file."""
    body = (
        b"--" + _BOUNDARY + b"\r\n"
        b'Content-Disposition: form-data; name="file"; filename="a.fits"\r\n'
        b"\r\n" + data + b"\r\n--" + _BOUNDARY + b"--\r\n"
    )
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY.decode()}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode(), body


def read_answer(client: socket.socket) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and JSON body of an answer."""
    with client.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        headers = {}
        while line := stream.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = stream.read(int(headers["content-length"]))
    return status, headers, json.loads(body)
