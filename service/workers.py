"""Worker processes that a server runs itself, and starts again when they die."""

import logging
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

_log = logging.getLogger(__name__)

# A worker that dies at its start is not started again at once, and ever later.
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0

# A worker that ran so long is healthy: the next wait is the first one again.
_HEALTHY_S = 60.0

_COMMAND = "from twinjet.service.cli import main; main()"


class Workers:
    """Some processes of ``twinjet worker``.

    They end with this process, whatever ends it: each reads a pipe whose other end is
    held here.

    Parameters
    ----------
    count
        How many.
    home
        Of the installation.
    environment
        Of the processes, the settings among it.
    """

    def __init__(self, count: int, home: Path, environment: Mapping[str, str]) -> None:
        self._home = home
        self._environment = dict(environment)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep, daemon=True) for _ in range(count)
        ]

    def start(self) -> None:
        """Start them."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End them; what they were at is gone on with at the next start."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _keep(self) -> None:
        """Have one worker, whatever happens to it."""
        while not self._stop.is_set():
            try:
                self._keep_one()
            except OSError as exc:  # no memory or no processes left, for the moment
                _log.warning("a worker cannot be started: %s", exc)
                self._stop.wait(_LONGEST_WAIT_S)

    def _keep_one(self) -> None:
        wait = _FIRST_WAIT_S
        while not self._stop.is_set():
            process = subprocess.Popen(  # noqa: S603 - our own program
                [
                    *(sys.executable, "-c", _COMMAND, "worker", "--with-parent"),
                    *("--home", str(self._home)),
                ],
                stdin=subprocess.PIPE,
                env=self._environment,
            )
            lived = 0.0
            while process.poll() is None and not self._stop.wait(0.2):
                lived += 0.2
            assert process.stdin is not None  # noqa: S101 - asked for above
            process.stdin.close()  # it ends by itself
            if self._stop.is_set():
                process.wait()
                return
            healthy = lived > _HEALTHY_S
            wait = _FIRST_WAIT_S if healthy else min(2 * wait, _LONGEST_WAIT_S)
            _log.warning(
                "a worker ended with status %s; the next one starts in %.0f s",
                process.returncode,
                wait,
            )
            self._stop.wait(wait)
