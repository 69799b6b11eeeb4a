"""Builds that are killed at any of their calls, forked from one prepared process.

What is counted are calls of functions that write: of files, of FAISS, of tables of
Parquet, and of the database, each as it begins and as it ends. Nothing was computed
before the fork, for torch and FAISS hang when it was.
"""

import os
import signal
import subprocess
import sys
from collections import deque
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType, GeneratorType
from typing import Any

from editions import catalogue_of
from skies import Quiet

from twinjet.index import plan
from twinjet.index.cutouts.folder import FolderProvider
from twinjet.index.home import Home
from twinjet.index.opening import open_store
from twinjet.index.reindex import Report, Workshop, build
from twinjet.model.encoder import Encoder, load_encoder

# Of `os`, of files, of arrays, of FAISS, of sqlite3.
_CALLS = {
    *("open", "write", "flush", "truncate", "close", "fsync", "mkdir", "chmod"),
    *("rename", "replace", "unlink", "remove", "rmdir", "flock", "tofile"),
    *("write_index", "execute", "executemany", "commit"),
}

# Of these, methods of such names write nothing, and a thread that waits calls some.
_OTHERS = (str, datetime, list, set, deque, GeneratorType)

# Of pyarrow: these are of Python, and what they call is not seen.
_OF_PARQUET = {"write_table", "close"}


@dataclass(frozen=True)
class Finished:
    """What a build that was not killed says."""

    calls: int
    """How many it took."""
    number: int
    """Of the generation that is now current."""
    reused: int
    """Embeddings that were there."""


class Dying:
    """The parent's side: has builds made, and killed.

    Parameters
    ----------
    card
        Of the encoder; the cutouts are beside it.
    """

    def __init__(self, card: Path) -> None:
        self._nursery = subprocess.Popen(
            [sys.executable, __file__, str(card)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def build(self, home: Path, edition: int, *, die_at: int = 0) -> Finished | None:
        """Build and publish an edition of the catalogue.

        Returns
        -------
        Finished or None
            None where it was killed at that call.
        """
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write(f"{die_at} {edition} {home}\n")
        self._nursery.stdin.flush()
        said = self._nursery.stdout.readline().split()
        assert said, "the build failed"
        return None if said == ["killed"] else Finished(*map(int, said))

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

    def __call__(self, frame: FrameType, event: str, function: Any) -> None:
        if event in {"c_call", "c_return"}:
            counts = function.__name__ in _CALLS and not isinstance(
                getattr(function, "__self__", None), _OTHERS
            )
        else:
            counts = frame.f_code.co_name in _OF_PARQUET and (
                frame.f_globals["__name__"] == "pyarrow.parquet.core"
            )
        if counts:
            self.seen += 1
            if self.seen == self._die_at:
                os.kill(os.getpid(), signal.SIGKILL)


def _nursery(card: Path) -> None:
    # A shard for each new cutout, for a build to die between two.
    plan._LEAST_ROWS = 1
    encoder = load_encoder(card)
    for line in sys.stdin:
        die_at, edition, home = line.strip().split(" ", maxsplit=2)
        child = os.fork()
        if child == 0:
            counter = _Counter(int(die_at))
            sys.setprofile(counter)
            report = _build(Home(Path(home)), int(edition), encoder, card.parent)
            sys.setprofile(None)
            sys.stdout.write(f"{counter.seen} {report.number} {report.reused}\n")
            sys.stdout.flush()
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            sys.stdout.write("killed\n")
            sys.stdout.flush()
        elif status:
            return


def _build(home: Home, edition: int, encoder: Encoder, cutouts: Path) -> Report:
    """Build and publish: what a job does in steps, in one go."""
    with closing(open_store(home, home.database_url)) as store:
        return build(
            catalogue_of(edition),
            Workshop(home, store, encoder, FolderProvider(cutouts)),
            watcher=Quiet(),
        )


if __name__ == "__main__":
    _nursery(Path(sys.argv[1]))
