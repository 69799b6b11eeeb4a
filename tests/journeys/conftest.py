"""A real server in a process of its own, over real or simulated galaxies."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import TWINJET, run_twinjet
from filelock import FileLock
from serving import wait_until_served

# Another process of tests has the index by then, or never.
_INDEX_S = 900


@contextmanager
def servers() -> Iterator[Callable[[Path], str]]:
    """Start servers over homes; each gives its address when it is ready."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(home: Path) -> str:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        command = [str(TWINJET), "serve", "--home", str(home), "--port", str(port)]
        processes.append(
            subprocess.Popen(command, env=os.environ | {"TWINJET_REFRESH_S": "0.1"})
        )
        root = f"http://127.0.0.1:{port}"
        wait_until_served(processes[-1], root, by="/livez")
        return root

    yield start
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        assert process.wait(timeout=60) == 0 or process.returncode == -signal.SIGTERM


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Servers that end with the test: each has a worker that looks for work."""
    with servers() as start:
        yield start


@pytest.fixture(scope="session")
def mirabest_home(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiraBest's 1,091 training sources, indexed with the shipped encoder.

    Several processes of tests index it once, and each has a copy.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    original = folder / "mirabest"
    with FileLock(folder / "mirabest.lock", timeout=_INDEX_S):
        if not original.is_dir():
            making = tmp_path_factory.mktemp("making") / "mirabest"
            run_twinjet("index", shared_data / "mirabest", home=making)
            making.rename(original)
    return Path(shutil.copytree(original, tmp_path_factory.mktemp("home") / "mirabest"))


@pytest.fixture(scope="session")
def mirabest_server(mirabest_home: Path) -> Iterator[str]:
    with servers() as start:
        yield start(mirabest_home)
