"""Workers that are killed: forked from one process that has imported everything.

A worker of its own takes four seconds to import torch; a hundred of them are killed
here. Nothing was computed before the fork, for torch and FAISS hang when it was.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from dbos import DBOS

from twinjet.index.database import create_engine
from twinjet.index.embeddings import Embeddings
from twinjet.index.home import Home, system_url
from twinjet.index.jobs import workflows
from twinjet.index.jobs.worker import Worker
from twinjet.index.shards import Shard, shard_name
from twinjet.index.store import SourceStore
from twinjet.model.encoder import load_encoder

T = TypeVar("T")


class Killed:
    """The parent's side: starts workers and kills them."""

    def __init__(self, home: Path, database_url: str, card: Path) -> None:
        self._nursery = subprocess.Popen(
            [sys.executable, __file__, str(home), database_url, str(card)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def start(self, *, boundary: int = 0) -> int:
        """Start a worker; returns its process.

        With a boundary it kills itself there, in whichever workflow comes so far: at
        the first before a step, at the second when the step has done its work and
        nobody knows, at the third when it is recorded, and so on.
        """
        self._say(f"start {boundary}")
        return int(self._hear())

    def wait(self, process: int) -> None:
        """Wait until a worker has ended."""
        self._say(f"wait {process}")
        assert self._hear() == "ended"

    def kill(self, process: int) -> None:
        """Kill -9."""
        os.kill(process, signal.SIGKILL)
        self.wait(process)

    def has_ended(self, process: int) -> bool:
        """Whether a worker has ended by itself."""
        self._say(f"poll {process}")
        return self._hear() == "ended"

    def close(self) -> None:
        """End it all."""
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.close()
        self._nursery.wait(timeout=30)
        self._nursery.stdout.close()

    def _say(self, text: str) -> None:
        assert self._nursery.stdin is not None
        self._nursery.stdin.write(text + "\n")
        self._nursery.stdin.flush()

    def _hear(self) -> str:
        assert self._nursery.stdout is not None
        return self._nursery.stdout.readline().strip()


def _nursery(home: Path, database_url: str, card: Path) -> None:
    ended: set[int] = set()
    for line in sys.stdin:
        word, number = line.split()
        if word == "start":
            child = os.fork()
            if child == 0:
                _work(home, database_url, card, int(number))
            sys.stdout.write(f"{child}\n")
            sys.stdout.flush()
            continue
        options = 0 if word == "wait" else os.WNOHANG
        process = int(number)
        if process not in ended and os.waitpid(process, options)[0]:
            ended.add(process)
        sys.stdout.write("ended\n" if process in ended else "alive\n")
        sys.stdout.flush()


def _work(home: Path, database_url: str, card: Path, boundary: int) -> None:
    """Be a worker until somebody kills it."""
    sys.stdin.close()
    if boundary:
        _die_at(boundary)
    _note_shards(home / "made.log")
    with closing(SourceStore(create_engine(database_url))) as store:
        worker = Worker(
            Home(home),
            store,
            system_url(database_url, home),
            encoder=lambda: load_encoder(card),
            # They are killed all the time: nobody waits to be sure.
            patience_s=0,
            poll_s=0.1,
        )
        with worker:
            while True:
                time.sleep(60)


def _die_at(boundary: int) -> None:
    original = workflows._step
    passed: Counter[str | None] = Counter()

    def pass_by() -> None:
        # Each for itself: a worker has two shards, of which one waits.
        name = DBOS.workflow_id
        passed[name] += 1
        if passed[name] == boundary:
            os.kill(os.getpid(), signal.SIGKILL)

    def step(
        name: str, function: Callable[[], T], **options: tuple[type[Exception], ...]
    ) -> T:
        done = []

        def whole() -> T:
            pass_by()
            result = function()
            pass_by()
            done.append(True)
            return result

        result = original(name, whole, **options)
        if done:  # now, and not before a worker died
            pass_by()
        return result

    workflows._step = step


def _note_shards(path: Path) -> None:
    """A line for each shard that was made and is whole on the disk."""
    original = Embeddings.add

    def add(self: Embeddings, shard: Shard) -> None:
        original(self, shard)
        with path.open("a", encoding="utf-8") as log:
            log.write(shard_name(self._encoder_id, shard.keys) + "\n")

    Embeddings.add = add  # type: ignore[method-assign]


if __name__ == "__main__":
    _nursery(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
