"""Killed while it builds over a served generation: nobody notices."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx2 as httpx
import pytest
from commands import TWINJET, run_twinjet

pytestmark = pytest.mark.slow


class Questioner(threading.Thread):
    """Asks the same question again and again and keeps what came."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.statuses: list[int] = []
        self.numbers: list[int] = []
        self.stop = threading.Event()

    def run(self) -> None:
        with httpx.Client(timeout=30) as client:
            # The build, too, needs the machine.
            while not self.stop.wait(0.05):
                answer = client.get(self.url)
                self.statuses.append(answer.status_code)
                if answer.status_code == 200:
                    self.numbers.append(answer.json()["generation"]["number"])


def test_a_killed_build_leaves_the_served_one_and_the_next_run_goes_on(
    serve: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed three times, each time further on."""
    # The server's own worker would go on with it meanwhile.
    monkeypatch.setenv("TWINJET_WORKERS", "0")
    home = tmp_path / "home"
    run_twinjet("simulate", tmp_path / "small", "--count", 30)
    run_twinjet("simulate", tmp_path / "large", "--count", 150, "--seed", 1)
    run_twinjet("index", tmp_path / "small", home=home)
    root = serve(home)
    first = httpx.get(f"{root}/sources?limit=1").json()["sources"][0]["links"][
        "similar"
    ]
    asking = Questioner(root + first)
    asking.start()
    command = [str(TWINJET), "index", str(tmp_path / "large"), "--home", str(home)]
    try:
        for stage in ("checksums", "embed", "index"):
            process = subprocess.Popen(
                command,
                stderr=subprocess.PIPE,
                env=os.environ | {"TERM": "dumb", "COLUMNS": "200"},
            )
            kill_when(process, home, stage)
            assert httpx.get(f"{root}/readyz").json() == {
                "status": "ok",
                "generation": 1,
                "trouble": None,
            }
        run_twinjet("index", tmp_path / "large", home=home)
        wait_for_generation(root, 2)
    finally:
        asking.stop.set()
        asking.join(timeout=30)
    # The source of the small sky is not in the large one: 404 is right from then on.
    assert set(asking.statuses) <= {200, 404}
    assert set(asking.numbers) == {1}
    assert len(list((home / "generations").iterdir())) == 2


def kill_when(process: subprocess.Popen[bytes], home: Path, stage: str) -> None:
    """Kill -9 when the build's files show that the stage has begun."""
    shards = home / "shards"
    signs = {
        "checksums": lambda: any((home / "jobs").glob("*/*/sources.tmp")),
        "embed": lambda: (
            any(shards.glob("*/*.tmp")) or len(list(shards.glob("*/*"))) > 1
        ),
        "index": lambda: any((home / "generations").glob("tmp-*")),
    }
    while process.poll() is None and not signs[stage]():
        time.sleep(0.002)
    assert process.poll() is None, "the build ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.communicate()


def wait_for_generation(root: str, number: int) -> None:
    for _ in range(600):
        if httpx.get(f"{root}/readyz").json()["generation"] == number:
            return
        threading.Event().wait(0.05)
    pytest.fail(f"generation {number} was not served")
