"""What all tests share: real data, a real PostgreSQL, few threads."""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
from requirements import require

_ROOT = Path(__file__).parent.parent

# Small machines, and figures that do not depend on the size of a large one.
torch.set_num_threads(2)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real radio galaxies; beside the project or where the setting says."""
    default = _ROOT.parent / "shared" / "data"
    folder = Path(os.environ.get("TWINJET_TEST_DATA", default))
    require(
        "data",
        available=(folder / "mirabest" / "catalogue.csv").is_file(),
        reason=f"no real radio galaxies in {folder} (TWINJET_TEST_DATA)",
    )
    return folder


@dataclass
class Postgres:
    """A PostgreSQL of its own on a free port of this machine."""

    url: str
    start: Callable[[], None]
    stop: Callable[[], None]
    """At once, as if the power went."""


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb")
    initdb = Path(found) if found else (programs[-1] if programs else None)
    require(
        "postgres", available=initdb is not None, reason="PostgreSQL is not installed"
    )
    assert initdb is not None
    # The server refuses to run as root.
    as_user = ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []
    # Not below pytest's folder, which another user cannot enter.
    made = subprocess.check_output([*as_user, "mktemp", "-d"], text=True)
    folder = Path(made.strip())
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]

    def run(program: str, *arguments: str) -> None:
        command = [
            *as_user,
            str(initdb.with_name(program)),
            "-D",
            str(folder / "data"),
            *arguments,
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

    run("initdb", "-U", "twinjet", "--auth=trust", "-E", "UTF8", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c fsync=off -k {folder}"
    start = partial(
        run, "pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start"
    )
    stop = partial(run, "pg_ctl", "-w", "-m", "immediate", "stop")
    start()
    try:
        yield Postgres(
            f"postgresql+psycopg://twinjet@127.0.0.1:{port}/postgres", start, stop
        )
    finally:
        stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url(postgres: Postgres) -> str:
    return postgres.url
