"""A server of its own process, pinned to its cores, and what it takes."""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from load_home import TWINJET

_START_S = 300.0
_END_S = 60.0

# Of the times in a line of /proc/stat.
_STEAL = 7


@dataclass
class Server:
    """`twinjet serve` on a port of this machine."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        return self.process.pid


def cores() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of the server, and of the load: half of what there is for each.

    On a machine of one core both share it.
    """
    there = sorted(os.sched_getaffinity(0))
    half = max(1, len(there) // 2)
    return tuple(there[:half]), tuple(there[half:] or there)


def stolen_ms(of: Sequence[int]) -> float:
    """Time since the start of the machine in which its host had these cores.

    As Linux counts it, in hundredths of a second; 0 elsewhere.
    """
    names = {f"cpu{core}" for core in of}
    ticks = 0
    with contextlib.suppress(FileNotFoundError):
        for line in Path("/proc/stat").read_text().splitlines():
            name, *times = line.split()
            if name in names:
                ticks += int(times[_STEAL])
    return 1e3 * ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(
    home: Path,
    on: Sequence[int],
    *options: str,
    log: Path | None = None,
    niceness: int = 0,
    **settings: str,
) -> Iterator[Server]:
    """Serve a home on these cores, until this is closed; jobs elsewhere.

    Parameters
    ----------
    home
        What is served.
    on
        Cores.
    options
        Of `twinjet serve`.
    log
        Where standard error goes.
    niceness
        Of the server.
    settings
        ``TWINJET_…``, besides those of the environment.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    command = [TWINJET, "serve", "--home", str(home), "--port", str(port), *options]

    def pinned() -> None:
        os.sched_setaffinity(0, on)
        os.nice(niceness)

    given = {f"TWINJET_{name.upper()}": value for name, value in settings.items()}
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(log.open("wb")) if log else subprocess.DEVNULL
        process = subprocess.Popen(
            command,
            env={"TWINJET_WORKERS": "0"} | os.environ | given,
            stdout=subprocess.DEVNULL,
            stderr=out,
            preexec_fn=pinned,  # noqa: PLW1509 - no threads yet
        )
        server = Server(process, port)
        try:
            _wait(server)
            yield server
        finally:
            process.terminate()
            process.wait(timeout=_END_S)


def _wait(server: Server) -> None:
    deadline = time.monotonic() + _START_S
    while status(server.port, "/readyz") != http.client.OK:
        if time.monotonic() > deadline or server.process.poll() is not None:
            sys.exit("the server did not become ready")
        time.sleep(0.1)


def status(port: int, path: str, timeout_s: float = 10.0) -> int:
    """Of the answer to a GET; 0 where there is none."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        client.request("GET", path)
        return client.getresponse().status
    except OSError:
        return 0
    finally:
        client.close()
