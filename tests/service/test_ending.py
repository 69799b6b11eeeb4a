"""A service that is told to end says so, and finishes what it has begun."""

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import TWINJET
from servers import free_port
from serving import read_answer, upload_bytes, wait_until, wait_until_served

from twinjet.service.config import Config

_BOUND_S = 300
_READY = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextmanager
def serving(
    config: Config, **settings: str
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`twinjet serve` in a process of its own."""
    port = free_port()
    environment = os.environ | {
        "TWINJET_ENCODER": str(config.encoder),
        "TWINJET_WORKERS": "0",
        **{f"TWINJET_{name.upper()}": value for name, value in settings.items()},
    }
    command = [str(TWINJET), "serve", "--home", str(config.home), "--port", str(port)]
    with subprocess.Popen(command, env=environment) as process:
        try:
            wait_until_served(process, f"http://127.0.0.1:{port}")
            yield process, port
        finally:
            process.kill()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=_BOUND_S)


def test_it_says_that_it_ends_and_goes_on_for_a_moment(config: Config) -> None:
    with (
        serving(config, drain_s="600") as (process, port),
        connect(port) as client,
    ):
        client.sendall(_READY)
        status, headers, _ = read_answer(client)
        assert (status, headers.get("connection")) == (200, None)
        process.send_signal(signal.SIGTERM)

        def told() -> bool:
            with connect(port) as one:  # none is refused
                one.sendall(_READY)
                status, _, body = read_answer(one)
            return status == 503 and body["trouble"] == "the service is ending"

        wait_until(told)
        # The connection from before hears of it with its next answer, which it has.
        client.sendall(b"GET /similar/T100%2B003 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        status, headers, answer = read_answer(client)
        assert (status, headers["connection"]) == (200, "close")
        assert answer["neighbours"]
        assert client.recv(1) == b""
        # Told again, it does not wait any longer.
        process.send_signal(signal.SIGTERM)
        assert process.wait(_BOUND_S) in {0, -signal.SIGTERM}


def test_what_has_begun_is_finished(config: Config, sky: Path) -> None:
    head, body = upload_bytes("/similar", (sky / "T003.fits").read_bytes())
    with (
        serving(config, drain_s="0") as (process, port),
        connect(port) as client,
        connect(port) as idle,
    ):
        idle.sendall(_READY)
        assert read_answer(idle)[0] == 200
        client.sendall(head + body[:-1])
        process.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b""  # it has begun to end
        client.sendall(body[-1:])
        status, headers, answer = read_answer(client)
        assert (status, headers["connection"]) == (200, "close")
        assert answer["neighbours"][0]["source"]["source_id"] == "T100+003"
        assert process.wait(_BOUND_S) in {0, -signal.SIGTERM}


@pytest.mark.slow
def test_a_request_that_never_ends_does_not_keep_it(config: Config, sky: Path) -> None:
    head, body = upload_bytes("/similar", (sky / "T003.fits").read_bytes())
    with (
        serving(config, drain_s="0", body_stall_s="3600") as (process, port),
        connect(port) as client,
    ):
        client.sendall(head + body[:-1])
        process.send_signal(signal.SIGTERM)
        # It could have said so for an hour; the client is still there.
        assert process.wait(_BOUND_S) in {0, -signal.SIGTERM}


def test_under_load_no_request_is_lost(config: Config) -> None:
    """Of clients that ask on as long as their connection is not said to end."""
    lost: list[str] = []
    # The system resets who stands in its queue when nobody listens any more; which of
    # four that is can be one or two, and not all.
    unaccepted: list[str] = []
    answered = [0]
    over = threading.Event()

    def ask_on(port: int) -> None:
        while not over.is_set():
            try:
                client = connect(port)
            except ConnectionError:  # nobody listens any more: it was never accepted
                return
            with client:
                asked = 0
                while not over.is_set():
                    try:
                        client.sendall(_READY)
                        _, headers, _ = read_answer(client)
                    except (OSError, IndexError) as exc:
                        first = asked == 0 and isinstance(exc, ConnectionResetError)
                        (unaccepted if first else lost).append(repr(exc))
                        return
                    asked += 1
                    answered[0] += 1
                    if headers.get("connection") == "close":
                        break

    # On a busy machine it may be long until each has asked once more.
    with serving(config, drain_s="5") as (process, port):
        asking = [threading.Thread(target=ask_on, args=(port,)) for _ in range(4)]
        for one in asking:
            one.start()
        wait_until(lambda: answered[0] > 50)
        process.send_signal(signal.SIGTERM)
        assert process.wait(_BOUND_S) in {0, -signal.SIGTERM}
        over.set()
        for one in asking:
            one.join()
    assert not lost
    assert len(unaccepted) <= 2
