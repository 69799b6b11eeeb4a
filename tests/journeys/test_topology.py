"""The services of docker-compose.yml as processes: api, two workers, PostgreSQL."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx2 as httpx
import pytest
import yaml
from commands import TWINJET, run_twinjet
from skies import small_encoder

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
KEY = "a key of sixteen characters or more"
ADMIN = {"Authorization": f"Bearer {KEY}"}


def default(value: str) -> str:
    """What compose makes of it where nothing is set."""
    return re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value)


@pytest.fixture
def settings(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the file, for every process of the test."""
    small_encoder(views=1).save(tmp_path)
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    given = services["api"]["environment"]
    values = {name: default(value) for name, value in given.items()} | {
        "TWINJET_DATABASE_URL": postgres_url,
        "TWINJET_ENCODER": str(tmp_path / "small.json"),
        "TWINJET_ADMIN_KEY": KEY,
    }
    assert {*values} == {*given}
    assert services["worker"]["command"] == ["twinjet", "worker"]
    assert services["worker"]["deploy"]["replicas"] == 2
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts a worker; gives it when it is ready."""
    with ExitStack() as stack:

        def start() -> subprocess.Popen[str]:
            command = [str(TWINJET), "worker", "--home", str(tmp_path / "home")]
            process = stack.enter_context(
                subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            )
            stack.callback(process.kill)
            assert process.stderr is not None
            assert "is ready" in process.stderr.readline()
            return process

        yield start


@pytest.mark.usefixtures("settings")
def test_a_job_outlives_a_worker_and_the_api_serves_it(
    serve: Callable[[Path], str],
    worker: Callable[[], subprocess.Popen[str]],
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    run_twinjet("simulate", tmp_path / "sky", "--count", 120)
    root = serve(home)
    assert httpx.get(f"{root}/readyz").status_code == 503
    job = httpx.post(
        f"{root}/jobs/reindex", json={"cutouts": str(tmp_path / "sky")}, headers=ADMIN
    ).json()
    assert job["state"] == "queued"
    first, second = worker(), worker()
    seen = job
    # One dies as soon as something is embedded.
    with httpx.stream(
        "GET", root + job["links"]["events"], headers=ADMIN, timeout=120
    ) as stream:
        for line in stream.iter_lines():
            if not line.startswith("data:"):
                continue
            seen = json.loads(line.removeprefix("data:"))
            embedding = seen["progress"] and seen["progress"]["stage"] == "embed"
            if embedding and first.poll() is None:
                # Whichever holds the job, its work is taken up.
                holder = first if str(first.pid) in seen["worker"] else second
                holder.send_signal(signal.SIGKILL)
                holder.wait()
                if holder is second:
                    first, second = second, first
    assert seen["state"] == "succeeded", seen
    assert seen["report"]["count"] >= 120
    deadline = time.monotonic() + 60
    while httpx.get(f"{root}/readyz").json()["generation"] != 1:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    source = httpx.get(f"{root}/sources?limit=1").json()["sources"][0]
    assert httpx.get(root + source["links"]["similar"]).status_code == 200
    listed = run_twinjet("jobs", "list", "--json", home=home)
    assert [json.loads(line)["id"] for line in listed.splitlines()] == [job["id"]]
    second.send_signal(signal.SIGTERM)
    assert second.wait(timeout=90) == 0


def test_a_server_has_a_worker_of_its_own(
    serve: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one machine nothing else is started; killed, the worker is started again."""
    small_encoder(views=1).save(tmp_path)
    monkeypatch.setenv("TWINJET_ENCODER", str(tmp_path / "small.json"))
    monkeypatch.setenv("TWINJET_ADMIN_KEY", KEY)
    run_twinjet("simulate", tmp_path / "sky", "--count", 30)
    home = tmp_path / "home"
    root = serve(home)
    for name in ("one", "two"):
        job = httpx.post(
            f"{root}/jobs/reindex",
            json={"cutouts": str(tmp_path / "sky"), "name": name},
            headers=ADMIN,
        ).json()
        deadline = time.monotonic() + 120
        while job["state"] not in {"succeeded", "failed"}:
            assert time.monotonic() < deadline, job
            time.sleep(0.2)
            job = httpx.get(root + job["links"]["self"], headers=ADMIN).json()
        assert job["state"] == "succeeded", job
        for lock in (home / "workers").glob("*.lock"):
            with suppress(ProcessLookupError):
                os.kill(int(lock.stem.split("-")[-2]), signal.SIGKILL)
