"""A backup: a folder with a list of all that is in it.

::

    backup/
        backup.json                what it is, with size and SHA-256 of the other files
        twinjet.sqlite             the metadata; of PostgreSQL it is twinjet.dump
        jobs.sqlite                jobs, where they have a database of their own
        home.id
        generations/g000007/       those that are kept
        jobs/                      plans of jobs
        shards/                    embeddings, where they were asked for
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Self

from twinjet.index.durable import file_digest
from twinjet.index.errors import BackupError

FORMAT = 1

NAME = "backup.json"

SQLITE, DUMP, JOBS = "twinjet.sqlite", "twinjet.dump", "jobs.sqlite"

_BLOCK = 2**20


@dataclass(frozen=True)
class Backup:
    """What a backup holds."""

    made_at: str
    """UTC, ISO 8601."""
    version: str
    """Of Twinjet."""
    revision: str
    """Of the tables."""
    home_id: str
    current: int | None
    """Generation that was in force."""
    generations: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By folder: number, encoder and sources."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Generations that were damaged already, and how."""
    with_shards: bool = False
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Size in bytes and SHA-256 of each file, by its path."""
    format: int = FORMAT

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file["size"] for file in self.files.values())

    def write(self, folder: Path) -> None:
        """Write it into its folder."""
        text = json.dumps(asdict(self), indent=1) + "\n"
        whole = sha256(text.encode()).hexdigest()
        (folder / NAME).write_text(text, encoding="utf-8")
        (folder / f"{NAME}.sha256").write_text(f"{whole}  {NAME}\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read it from its folder.

        Raises
        ------
        BackupError
            It is absent, damaged, of another format, or names files elsewhere.
        """
        path = folder / NAME
        try:
            data = path.read_bytes()
            sealed = (folder / f"{NAME}.sha256").read_text(encoding="utf-8")
            if sha256(data).hexdigest() != sealed.split()[0]:
                msg = f"{path} is not what was written: its checksum differs"
                raise BackupError(msg)
            members = json.loads(data)
            if members["format"] != FORMAT:
                msg = f"{path}: format {members['format']!r}, not {FORMAT}"
                raise BackupError(msg, limit=FORMAT, actual=str(members["format"]))
            found = cls(**members)
        except (OSError, ValueError, KeyError, TypeError, IndexError) as exc:
            msg = f"{folder} is no backup: {exc}"
            raise BackupError(msg) from exc
        for name in found.files:
            place = PurePosixPath(name)
            if place.is_absolute() or ".." in place.parts or not place.parts:
                msg = f"{path} names {name!r}, which is no file of a backup"
                raise BackupError(msg, actual=name)
        return found


def copy_file(source: Path, place: Path) -> dict[str, Any]:
    """Copy a file; gives the size and SHA-256 of what was copied.

    Raises
    ------
    OSError
        It cannot be read.
    BackupError
        The copy cannot be written.
    """
    digest, size = sha256(), 0
    with source.open("rb") as read, _written(place) as written:
        while block := read.read(_BLOCK):
            digest.update(block)
            written(block)
            size += len(block)
    return {"size": size, "sha256": digest.hexdigest()}


@contextmanager
def _written(place: Path) -> Iterator[Callable[[bytes], None]]:
    """What writes a new file; its errors are not those of the file that is read."""

    def refuse(exc: OSError) -> BackupError:
        return BackupError(f"{place} cannot be written: {exc}", actual=str(place))

    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        file = place.open("wb", buffering=0)
    except OSError as exc:
        raise refuse(exc) from exc

    def write(block: bytes) -> None:
        left = memoryview(block)
        try:
            while left:
                left = left[file.write(left) :]
        except OSError as exc:
            raise refuse(exc) from exc

    with file:
        yield write


def listed(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file, as in the list of a backup."""
    return {"size": path.stat().st_size, "sha256": file_digest(path)}
