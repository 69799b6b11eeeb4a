"""Builds that are killed at any of their calls, forked from one prepared process.

What is counted are calls of functions that write: of files, of FAISS, and of the
database, each as it begins and as it ends.
"""

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any

from homes import add_generation

from twinjet.index.home import Home
from twinjet.index.opening import open_store
from twinjet.index.retention import clear_leftovers, retire

# Of `os`, of files, of arrays, of FAISS, of sqlite3.
_CALLS = {
    *("open", "write", "flush", "truncate", "close", "fsync", "mkdir", "chmod"),
    *("rename", "replace", "unlink", "remove", "rmdir", "flock", "tofile"),
    *("write_index", "execute", "executemany", "commit", "rollback"),
}

KEEP = 2


class Dying:
    """The parent's side: has builds made, and killed."""

    def __init__(self) -> None:
        self._nursery = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def build(self, home: Path, *, die_at: int = 0) -> int | None:
        """Build and publish one more generation of a home.

        Returns
        -------
        int or None
            How many calls it took; None where it was killed at that call.
        """
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write(f"{die_at} {home}\n")
        self._nursery.stdin.flush()
        said = self._nursery.stdout.readline().split()
        assert said, "the build failed"
        return None if said == ["killed"] else int(said[0])

    def close(self) -> None:
        """End it all."""
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.close()
        self._nursery.wait(timeout=30)
        self._nursery.stdout.close()


class _Counter:
    """Counts calls, and dies at one."""

    def __init__(self, die_at: int) -> None:
        self.seen = 0
        self._die_at = die_at

    def __call__(self, _: FrameType, event: str, function: Any) -> None:
        if event in {"c_call", "c_return"} and function.__name__ in _CALLS:
            self.seen += 1
            if self.seen == self._die_at:
                os.kill(os.getpid(), signal.SIGKILL)


def _nursery() -> None:
    for line in sys.stdin:
        die_at, _, home = line.strip().partition(" ")
        child = os.fork()
        if child == 0:
            counter = _Counter(int(die_at))
            sys.setprofile(counter)
            _build(Home(Path(home)))
            sys.setprofile(None)
            sys.stdout.write(f"{counter.seen}\n")
            sys.stdout.flush()
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            sys.stdout.write("killed\n")
            sys.stdout.flush()
        elif status:
            return


def _build(home: Home) -> None:
    with (
        closing(open_store(home, home.database_url)) as store,
        home.building(),
    ):
        clear_leftovers(home, store, job_id=None)
        add_generation(home, store)
        retire(home, store, keep=KEEP)


if __name__ == "__main__":
    _nursery()
