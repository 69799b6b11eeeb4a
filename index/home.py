"""Where one installation keeps its files."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from twinjet.index.errors import BuildInProgressError


@dataclass(frozen=True)
class Home:
    """The folder that holds shards, generations and, by default, the database."""

    path: Path
    """Its root."""

    @property
    def generations(self) -> Path:
        """One folder a generation, ``g000001`` and so on."""
        return self.path / "generations"

    @property
    def shards(self) -> Path:
        """Embeddings by encoder; used again by every later build."""
        return self.path / "shards"

    @property
    def database_url(self) -> str:
        """The SQLite database beside them."""
        return f"sqlite:///{self.path.resolve() / 'twinjet.sqlite'}"

    @contextmanager
    def building(self) -> Iterator[None]:
        """Hold the right to build; the system takes it back from a dead process.

        Raises
        ------
        BuildInProgressError
            Another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "build.lock").open("a+", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
                msg = f"another build is at work in {self.path} (process {holder})"
                raise BuildInProgressError(msg, actual=holder) from exc
            lock.truncate(0)
            lock.write(json.dumps(os.getpid()))
            lock.flush()
            yield
