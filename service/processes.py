"""A service of several processes on one port, each with the whole application.

They share the memory-mapped index; encoder, caches and limits each has of its own.
"""

import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import connection, parent_process

import uvicorn
from fastapi import FastAPI
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess, multiprocess

from twinjet.service import logs
from twinjet.service.allocator import keep_libraries
from twinjet.service.config import Config
from twinjet.service.cores import available_cores
from twinjet.service.metrics import FOLDER

_log = logging.getLogger(__name__)

APPLICATION = "twinjet.service.processes:application"

# A process answers as soon as it has imported torch, which on a busy machine takes
# far longer than the five seconds after which it would be taken for dead.
STARTING_S = 120


def serve_by_many(
    server: uvicorn.Config,
    listener: socket.socket,
    config: Config,
    options: Mapping[str, object],
) -> None:
    """Serve by several processes until told to end; one that dies is replaced.

    Parameters
    ----------
    server
        Of `APPLICATION`, with `workers`.
    listener
        Bound to the address, for all of them.
    config
        Settings.
    options
        What of them was given on the command line.

    Raises
    ------
    SystemExit
        A process cannot start at all.
    """
    logs.configure(config.log_format)
    # uvicorn's supervisor makes its processes of this name, and takes no other class.
    multiprocess.Process = _Process  # type: ignore[misc]
    with _environment(config, options):
        supervisor = Multiprocess(server, [listener])
        supervisor.run()
    if any(one.exitcode == STARTUP_FAILURE for one in supervisor.processes):
        raise SystemExit(STARTUP_FAILURE)


class _Process(multiprocess.Process):
    """One that dies while it is asked whether it lives is dead at once.

    uvicorn waits for its answer as long as for one that starts, and meanwhile neither
    replaces it nor ends.
    """

    def ping(self, timeout: float = STARTING_S) -> bool:
        """Whether it answers in so many seconds."""
        try:
            self.parent_conn.send(b"ping")
            connection.wait([self.parent_conn, self.process.sentinel], timeout)
            if not self.parent_conn.poll():
                return False
            self.parent_conn.recv()
        except (OSError, EOFError):
            return False
        return True


@contextmanager
def _environment(config: Config, options: Mapping[str, object]) -> Iterator[None]:
    """What the processes find in their environment, as long as this is open."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="twinjet-metrics-") as metrics:
        for name, value in options.items():
            os.environ[f"TWINJET_{name.upper()}"] = str(value)
        # Not all cores for each; read when torch is imported.
        share = max(1, available_cores() // config.processes)
        os.environ.setdefault("OMP_NUM_THREADS", str(share))
        os.environ.setdefault(FOLDER, metrics)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ |= before


def application() -> FastAPI:
    """The application of one of the processes, which ends with the first one."""
    # Ends and deaths are told by the first process; of this one warnings are enough.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Nothing is served yet: told to end, it does so at once and not when it is ready.
    graceful = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Here, for the first process has no use for it, nor for torch.
    from twinjet.service.app import create_app  # noqa: PLC0415

    app = create_app()
    keep_libraries()
    signal.signal(signal.SIGTERM, graceful)
    return app


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        _log.warning("the first process is gone: this one ends")
        os.kill(os.getpid(), signal.SIGTERM)
