"""Where one installation keeps its files."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from twinjet.index.errors import BuildInProgressError
from twinjet.index.sharing import SharedStore


@dataclass(frozen=True)
class Home:
    """The folder that holds shards, generations and, by default, the database."""

    path: Path
    """Its root."""
    shared: str | None = None
    """URL of a store with copies of its files, for other machines."""

    @property
    def generations(self) -> Path:
        """One folder a generation, ``g000001`` and so on."""
        return self.path / "generations"

    @property
    def shards(self) -> Path:
        """Embeddings by encoder; used again by every later build."""
        return self.path / "shards"

    @property
    def jobs(self) -> Path:
        """Plans of builds, one folder each."""
        return self.path / "jobs"

    @property
    def unfinished(self) -> Path:
        """Names the database while what a restore puts in place is not all there."""
        return self.path / "restore.unfinished"

    @property
    def database_url(self) -> str:
        """The SQLite database beside them."""
        return f"sqlite:///{self.path.resolve() / 'twinjet.sqlite'}"

    def share(self, path: Path) -> None:
        """Have other machines see a file or folder of the home that is whole."""
        if self.shared is not None:
            SharedStore(self.shared, self.path).put(path)

    def fetched(self, path: Path) -> Path:
        """A file of the home, from another machine where it is not here."""
        if self.shared is not None and not path.exists():
            SharedStore(self.shared, self.path).fetch(path)
        return path

    def fetched_again(self, path: Path) -> bool:
        """Take a file that is damaged here from another machine; whether it had it."""
        if self.shared is None:
            return False
        path.unlink(missing_ok=True)
        return SharedStore(self.shared, self.path).fetch(path)

    def generation(self, folder: str) -> Path:
        """Folder of a generation, from another machine where it is not here."""
        path = self.generations / folder
        if self.shared is not None and not path.exists():
            SharedStore(self.shared, self.path).fetch_folder(path)
        return path

    def forget(self, path: Path) -> None:
        """Have no machine see a file or folder any more that has none of it."""
        if self.shared is not None:
            SharedStore(self.shared, self.path).remove(path)

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


def system_url(metadata_url: str, folder: Path) -> str:
    """Database of the engine under the jobs: the metadata store, or its own file."""
    if sa.make_url(metadata_url).get_backend_name() == "postgresql":
        return metadata_url
    return f"sqlite:///{(folder / 'jobs.sqlite').resolve()}"
