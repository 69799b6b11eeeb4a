"""`twinjet serve --processes`: one service of several processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import psutil
import pytest
from commands import TWINJET
from scrapes import scraped, series
from servers import free_port
from serving import wait_until, wait_until_served

from twinjet.index.api_keys import ApiKeys
from twinjet.index.database import create_engine
from twinjet.service.config import Config
from twinjet.service.metrics import FOLDER
from twinjet.service.processes import STARTING_S

_PROCESSES = 2
_BOUND_S = 300


class Served:
    """A service, and the processes it is made of."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    def below(self, *words: str) -> list[psutil.Process]:
        """Processes of the service with these words in their commands."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        return [one for one in found if all(w in one.cmdline() for w in words)]

    def answering(self) -> list[psutil.Process]:
        """Those that answer, or soon will."""
        spawned = psutil.Process(self.process.pid).children()
        return [one for one in spawned if "spawn_main" in " ".join(_words(one))]


def _words(process: psutil.Process) -> list[str]:
    try:
        words: list[str] = process.cmdline()
    except psutil.Error:  # it is just ending
        return []
    return words


@contextmanager
def serving(config: Config, log: Path, **environment: str) -> Iterator[Served]:
    port = free_port()
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            [
                *(str(TWINJET), "serve", "--home", str(config.home)),
                *("--port", str(port), "--processes", str(_PROCESSES)),
            ],
            env={
                **{k: v for k, v in os.environ.items() if k != FOLDER},
                "TWINJET_ENCODER": str(config.encoder),
                "TWINJET_LOG_FORMAT": "json",
                **environment,
            },
            stderr=stderr,
        ) as process,
    ):
        served = Served(process, port)
        started = psutil.Process(process.pid)
        try:
            wait_until_served(process, served.url)
            yield served
        finally:
            left = [started, *_children(started)]
            process.terminate()
            _, alive = psutil.wait_procs(left, timeout=60)
            for one in alive:
                one.kill()
            assert not alive, "processes outlived their service"


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return found


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def ask_until(served: Served, done: Callable[[], bool]) -> int:
    """Ask, by a new connection each time, until something is so; gives how often."""
    asked = 0

    def ask() -> bool:
        nonlocal asked
        answer = httpx.get(f"{served.url}/similar/T100%2B003", timeout=30)
        assert answer.status_code == 200
        asked += 1
        return done()

    wait_until(ask, patience_s=_BOUND_S)
    return asked


@pytest.mark.slow
def test_several_processes_are_one_service(config: Config, log: Path) -> None:
    with serving(config, log) as served:
        assert len(served.answering()) == _PROCESSES
        assert len(served.below("worker", "--with-parent")) == 1
        share = max(1, len(os.sched_getaffinity(0)) // _PROCESSES)
        threads = os.environ.get("OMP_NUM_THREADS", str(share))
        folders = set()
        for one in served.answering():
            assert one.environ()["OMP_NUM_THREADS"] == threads
            assert one.environ()["TWINJET_HOME"] == str(config.home)
            folders.add(one.environ()[FOLDER])
        [folder] = folders
        # What a worker of jobs computes with is its own affair.
        [worker] = served.below("worker", "--with-parent")
        assert worker.environ().get("OMP_NUM_THREADS") == os.environ.get(
            "OMP_NUM_THREADS"
        )

        def both_have_answered() -> bool:
            return len(list(Path(folder).glob("counter_*.db"))) == _PROCESSES

        asked = ask_until(served, both_have_answered)
        with httpx.Client(base_url=served.url, timeout=30) as client:
            told = scraped(client)
        name = "twinjet_http_requests_total"
        route = "/similar/{source_id}"
        assert told[series(name, method="GET", route=route, status="200")] == asked
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(60) == 0
        assert not Path(folder).exists()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    mine = [line for line in lines if line.get("route") == route]
    assert len(mine) == asked
    assert any("Received SIGTERM" in line["message"] for line in lines)


@pytest.mark.slow
def test_a_process_that_dies_is_replaced(config: Config, log: Path) -> None:
    with serving(config, log, TWINJET_WORKERS="0") as served:
        before = {one.pid for one in served.answering()}
        killed = served.answering()[0]
        # It dies while it is asked whether it lives, which is twice in a second.
        killed.suspend()
        time.sleep(2)
        killed.kill()
        wait_until(
            lambda: len({one.pid for one in served.answering()} - before) == 1,
            patience_s=STARTING_S / 2,
        )
        ask_until(served, lambda: True)
        # Though it does not serve yet, it ends when it is told to.
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(60) == 0
    assert f"[{killed.pid}] died" in log.read_text()


@pytest.mark.slow
def test_keys_and_limits_hold_in_every_process(config: Config, log: Path) -> None:
    engine = create_engine(config.metadata_url)
    keys = ApiKeys(engine)
    key, token = keys.create("test", "read", requests_per_minute=10_000)

    def statuses(process: psutil.Process, times: int, **headers: str) -> list[int]:
        """Of requests to one process: the others do not run."""
        others = [one for one in served.answering() if one != process]
        for one in others:
            one.suspend()
        try:
            return [
                httpx.get(
                    f"{served.url}/similar/T100%2B003",
                    headers=headers | {"X-Forwarded-For": f"192.0.2.{n}"},
                    timeout=60,
                ).status_code
                for n in range(times)
            ]
        finally:
            for one in others:
                one.resume()

    with serving(config, log, TWINJET_REQUESTS_PER_MINUTE="4") as served:
        wait_until(lambda: len(served.answering()) == _PROCESSES)
        each = served.answering()
        bearer = f"Bearer {token}"
        for one in each:
            assert statuses(one, 2, Authorization=bearer) == [200, 200]
        keys.revoke(key.prefix)
        time.sleep(1)
        started = time.monotonic()
        # These count as requests of the one who makes them, and leave two.
        for one in each:
            assert statuses(one, 1, Authorization=bearer) == [401]
        # No proxy is trusted: whoever they say they are, they are one.
        found = [statuses(one, 4) for one in each]
        there = 2 + int((time.monotonic() - started) * 4 / 60)
        assert {*found[0], *found[1]} == {200, 429}
        assert found[1][-1] == 429
        assert 2 <= [*found[0], *found[1]].count(200) <= there
    engine.dispose()


@pytest.mark.slow
def test_processes_end_when_the_first_one_is_killed(config: Config, log: Path) -> None:
    with serving(config, log, TWINJET_WORKERS="0") as served:
        left = served.answering()
        served.process.kill()
        served.process.wait()
        _, alive = psutil.wait_procs(left, timeout=60)
        assert not alive


def test_libraries_are_not_looked_through_for_garbage(tmp_path: Path) -> None:
    program = """
import gc
from twinjet.service.processes import application
application()
print(gc.get_freeze_count())
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"TWINJET_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        check=True,
    )
    # There are several hundred thousand objects.
    assert int(done.stdout) > 100_000
