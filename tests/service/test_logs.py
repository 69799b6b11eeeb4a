"""The log as JSON: one line a request, its identity everywhere, nothing secret."""

import asyncio
import io
import json
import logging
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import sqlalchemy as sa
from commands import TWINJET
from fastapi import Request
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from problems import assert_problem
from scrapes import scraped, series
from servers import free_port
from serving import wait_until, wait_until_served

from twinjet.service.app import create_app
from twinjet.service.config import Config
from twinjet.service.logs import formatter, identified
from twinjet.service.scopes import PUBLIC

HIDDEN = "swordfish-0123456789"
REQUEST_LOGGER = "twinjet.service.observation"
_LOG = logging.getLogger("twinjet.tests")

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What the service writes into its log, as JSON."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(formatter("json"))
    handler.addFilter(identified)
    logger = logging.getLogger("twinjet")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield text
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def lines(written: io.StringIO) -> Lines:
    return lambda: [json.loads(line) for line in written.getvalue().splitlines()]


@pytest.fixture
def faulty(config: Config) -> Iterator[TestClient]:
    """A service with routes that fail or say something, besides its own."""
    app = create_app(
        Config(**(config.model_dump() | {"admin_key": HIDDEN, "reads": 8}))
    )
    together = threading.Barrier(8)

    @app.post("/fault", dependencies=[PUBLIC])
    async def fault(request: Request) -> None:
        await request.body()
        message = "the sky falls"
        raise RuntimeError(message)

    @app.get("/late-fault", dependencies=[PUBLIC])
    async def late_fault() -> StreamingResponse:
        async def some() -> AsyncIterator[bytes]:
            yield b"begun"
            message = "the sky falls late"
            raise RuntimeError(message)

        return StreamingResponse(some())

    @app.post("/statement", dependencies=[PUBLIC])
    def statement(value: str) -> None:
        with app.state.resources.store.engine.connect() as connection:
            connection.execute(sa.text("select lost(:value)"), {"value": value})

    @app.get("/in-a-thread", dependencies=[PUBLIC])
    def in_a_thread(word: str) -> None:
        together.wait(30)  # all requests are here at the same time
        _LOG.info("at work", extra={"word": word})
        together.wait(30)

    @app.get("/in-the-loop", dependencies=[PUBLIC])
    async def in_the_loop(word: str) -> None:
        for _ in range(3):
            _LOG.info("at work", extra={"word": word})
            await asyncio.sleep(0.01)

    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def requests(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["logger"] == REQUEST_LOGGER]


def test_a_request_is_one_line(client: TestClient, sky: Path, lines: Lines) -> None:
    cutout = (sky / "T003.fits").read_bytes()
    answer = client.post("/similar?k=3", files={"file": cutout})
    [line] = requests(lines())
    assert line["request_id"] == answer.headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{32}", line["request_id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", line["time"])
    assert (line["level"], line["method"], line["route"], line["status"]) == (
        *("INFO", "POST", "/similar", 200),
    )
    assert line["bytes_in"] == int(answer.request.headers["content-length"])
    assert line["bytes_out"] == len(answer.content)
    assert line["client"] == "testclient"
    assert line["ms"] > 0
    assert "aborted" not in line


@pytest.mark.parametrize(
    "given",
    ["ticket-17", "a" * 128, "9b2f:1/2+3=4~5_6.7@8", "01ARZ3NDEKTSV4RRFFQ69G5FAV"],
)
def test_a_sane_identity_is_kept(client: TestClient, lines: Lines, given: str) -> None:
    answer = client.get("/similar/nobody", headers={"X-Request-ID": given})
    problem = assert_problem(answer, 404, "unknown-source")
    assert problem["request_id"] == answer.headers["x-request-id"] == given
    assert [line["request_id"] for line in requests(lines())] == [given]


@pytest.mark.parametrize(
    "given",
    [
        "",
        "a" * 129,
        "two words",
        'quo"te',
        "<b>",
        "\x1b[31mred",
        "caf\xe9",
        "a,b",
        "%0a",
    ],
)
def test_another_identity_is_not(client: TestClient, lines: Lines, given: str) -> None:
    sent = {b"X-Request-ID": given.encode("latin-1")}
    answer = client.get("/similar/nobody", headers=sent)
    problem = assert_problem(answer, 404, "unknown-source")
    assert re.fullmatch(r"[0-9a-f]{32}", problem["request_id"])
    assert answer.headers["x-request-id"] == problem["request_id"]
    assert [line["request_id"] for line in requests(lines())] == [problem["request_id"]]


def test_of_two_identities_neither_is_kept(client: TestClient) -> None:
    twice = [("X-Request-ID", "one"), ("X-Request-ID", "two")]
    answer = client.get("/livez", headers=twice)
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


def test_a_fault_has_its_identity_in_answer_and_log(
    faulty: TestClient, lines: Lines
) -> None:
    answer = faulty.post("/fault", headers={"X-Request-ID": "ticket-17"})
    problem = assert_problem(answer, 500, "internal-error")
    assert problem["request_id"] == answer.headers["x-request-id"] == "ticket-17"
    assert "sky" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    told = lines()
    assert {line["request_id"] for line in told} == {"ticket-17"}
    [traceback] = [line for line in told if "exc_info" in line]
    assert traceback["level"] == "ERROR"
    assert traceback["exc_info"].startswith("Traceback (most recent call last):\n")
    assert traceback["exc_info"].endswith("RuntimeError: the sky falls")
    [line] = requests(told)
    assert (line["level"], line["status"], line["route"]) == ("WARNING", 500, "/fault")


def test_a_fault_after_the_answer_began_is_told(
    faulty: TestClient, lines: Lines
) -> None:
    answer = faulty.get("/late-fault", headers={"X-Request-ID": "ticket-18"})
    assert answer.content == b"begun"
    [traceback] = [line for line in lines() if "exc_info" in line]
    assert traceback["request_id"] == "ticket-18"
    assert "the sky falls late" in traceback["exc_info"]
    [line] = requests(lines())
    assert (line["aborted"], line["level"], line["bytes_out"]) == (True, "WARNING", 5)


@pytest.mark.parametrize("route", ["/in-a-thread", "/in-the-loop"])
def test_identities_of_concurrent_requests_do_not_mix(
    faulty: TestClient, lines: Lines, route: str
) -> None:
    words = [f"word-{number}" for number in range(8)]

    def ask(word: str) -> httpx.Response:
        headers = {"X-Request-ID": f"of-{word}"}
        return faulty.get(route, params={"word": word}, headers=headers)

    with ThreadPoolExecutor(len(words)) as threads:
        answers = list(threads.map(ask, words))
    assert [answer.status_code for answer in answers] == [200] * 8
    for word, answer in zip(words, answers, strict=True):
        assert answer.headers["x-request-id"] == f"of-{word}"
    said = [line for line in lines() if "word" in line]
    assert {line["word"] for line in said} == set(words)
    assert all(line["request_id"] == f"of-{line['word']}" for line in said)


def test_a_secret_is_in_no_log_and_no_figure(
    faulty: TestClient, written: io.StringIO
) -> None:
    headers = {
        "Authorization": f"Bearer {HIDDEN}",
        "Cookie": f"key={HIDDEN}",
        "X-API-Key": HIDDEN,
    }
    other = {"Authorization": f"Bearer {HIDDEN}x"}
    asked = {"exclude": HIDDEN}
    file = {"file": (f"{HIDDEN}.fits", HIDDEN.encode())}
    answers = [
        faulty.get("/similar/T100%2B003", params=asked, headers=headers),
        faulty.get("/jobs", params=asked, headers=headers),
        faulty.get("/jobs", headers=other),
        faulty.get(f"/{HIDDEN}", params=asked, headers=headers),
        faulty.get(f"/similar/{HIDDEN}", headers=headers),
        faulty.get("/similar/T100%2B003", params={"k": HIDDEN}, headers=headers),
        faulty.get("/similar/T100%2B003", params={"where": HIDDEN}, headers=headers),
        faulty.post("/similar", params=asked, files=file, headers=headers),
        faulty.put("/lists/mine", files=file, headers=headers),
        faulty.post("/fault", params=asked, content=HIDDEN, headers=headers),
        faulty.post("/statement", params={"value": HIDDEN}, headers=headers),
    ]
    assert [answer.status_code for answer in answers] == [
        *(200, 422, 401, 404, 404, 422, 422, 415, 422, 500, 503),
    ]
    figures = faulty.get("/metrics", headers=headers).text
    assert len(requests([json.loads(x) for x in written.getvalue().splitlines()])) == 12
    assert "no such function: lost" in written.getvalue()
    assert HIDDEN not in written.getvalue()
    assert HIDDEN not in figures


def test_what_a_client_sends_cannot_break_a_line(written: io.StringIO) -> None:
    _LOG.warning("%s", 'a\nb\x1b[31m\x00\x9b"\u2028\ud800{}')
    [line] = written.getvalue().splitlines()
    assert written.getvalue().isascii()
    assert json.loads(line)["message"] == 'a\nb\x1b[31m\x00\x9b"\u2028\ud800{}'


@pytest.fixture
def server(
    config: Config, tmp_path: Path
) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes], Path]]:
    """`twinjet serve` in a process of its own, and the file of what it writes."""
    port, log = free_port(), tmp_path / "log"
    environment = os.environ | {
        "TWINJET_LOG_FORMAT": "json",
        "TWINJET_ENCODER": str(config.encoder),
        "TWINJET_WORKERS": "0",
        "TWINJET_ADMIN_KEY": HIDDEN,
    }
    command = [str(TWINJET), "serve", "--home", str(config.home), "--port", str(port)]
    with (
        log.open("wb") as stderr,
        subprocess.Popen(command, env=environment, stderr=stderr) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        try:
            wait_until_served(process, str(client.base_url).rstrip("/"))
            yield client, process, log
        finally:
            process.send_signal(signal.SIGTERM)


def test_a_form_that_is_none_is_told_to_its_client_alone(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    form = {"content-type": "multipart/form-data; boundary=x"}
    answer = client.post("/similar", content=b"no boundary", headers=form)
    assert_problem(answer, 400, "malformed-multipart")
    foreign = [one for one in caplog.records if not one.name.startswith("twinjet")]
    assert foreign == []


def test_all_that_a_server_writes_is_json(
    server: tuple[httpx.Client, subprocess.Popen[bytes], Path],
) -> None:
    client, process, log = server
    in_flight = series("twinjet_uploads_in_flight")
    with socket.create_connection((client.base_url.host, client.base_url.port)) as raw:
        raw.sendall(
            b"POST /similar HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n"
            b"X-Request-ID: never-ends\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        )
        wait_until(lambda: scraped(client)[in_flight] == 1)
    wait_until(lambda: scraped(client)[in_flight] == 0)
    with socket.create_connection((client.base_url.host, client.base_url.port)) as raw:
        raw.sendall(b"no request at all\r\n\r\n")
        raw.recv(1000)
    asked = {"X-Request-ID": "ticket-17", "Authorization": f"Bearer {HIDDEN}"}
    assert client.get(f"/similar/T100%2B003?exclude={HIDDEN}", headers=asked).is_success
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) in {0, -signal.SIGTERM}
    text = log.read_text()
    told = [json.loads(line) for line in text.splitlines()]
    assert HIDDEN not in text
    assert all({"time", "level", "logger", "message"} <= set(line) for line in told)
    assert any(line["message"] == "serving generation 1" for line in told)
    assert any(line["logger"] == "uvicorn.error" for line in told)
    [line] = [line for line in told if line.get("request_id") == "ticket-17"]
    assert (line["route"], line["status"]) == ("/similar/{source_id}", 200)
    assert line["client"] == "127.0.0.1"
    assert any(line.get("request_id") == "never-ends" for line in requests(told))


# Says what a program must not lose: an exception in a thread, a warning, its own end.
_UNCAUGHT = """
import threading, warnings
from twinjet.service.logs import configure
configure("json")
configure("json")
def fail():
    raise ValueError("in a thread")
thread = threading.Thread(target=fail, name="reader")
thread.start()
thread.join()
warnings.warn("old ways", DeprecationWarning)
raise KeyError("at the end")
"""


def test_what_nobody_caught_is_json_too() -> None:
    command = [str(TWINJET.with_name("python")), "-W", "always", "-c", _UNCAUGHT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    thread, warning, end = map(json.loads, done.stderr.splitlines())
    assert thread["message"] == "thread reader ends: ValueError"
    assert thread["exc_info"].endswith("ValueError: in a thread")
    assert (warning["logger"], warning["level"]) == ("py.warnings", "WARNING")
    assert "old ways" in warning["message"]
    assert (end["level"], end["exc_info"][-21:]) == (
        "CRITICAL",
        "KeyError: 'at the end'"[-21:],
    )
