"""Cutouts that were fetched, and refusals, on disk.

A file begins with a line of JSON (checksum, date, and the reason when there is no
image) and goes on with the bytes as the archive sent them.
"""

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from twinjet.index.cutouts.errors import NoCoverageError
from twinjet.index.durable import publish_file
from twinjet.model.decode import MAX_FILE_BYTES

# The line is some hundred bytes long, a reason among them.
_LINE_BYTES = 4096

# What a line that is not ours brings up when it is read.
_DAMAGED = (AttributeError, KeyError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True)
class Entry:
    """What an archive has answered."""

    data: bytes
    """Bytes of the cutout; none when there is a reason."""
    digest: str
    """SHA-256 of the bytes, or of the reason."""
    fetched: datetime
    """When."""
    reason: str | None = None
    """Why there is no cutout."""


class CutoutCache:
    """Answers of archives in a folder; processes and threads may share it.

    Parameters
    ----------
    folder
        Made when it is not there.
    expiry_days
        After which a refusal is asked about again: surveys grow.
    """

    def __init__(self, folder: Path, *, expiry_days: float = 30.0) -> None:
        self._folder = folder
        self._expiry = timedelta(days=expiry_days)

    def entry(self, key: str, fetch: Callable[[], bytes]) -> Entry:
        """Cutout of a key; fetched by one thread of one process when it is absent.

        Parameters
        ----------
        key
            Hexadecimal digits.
        fetch
            Gets the bytes from the archive. What it raises is passed on, and
            `NoCoverageError` is remembered.

        Raises
        ------
        NoCoverageError
            The archive has none, by itself or by what is remembered.
        OSError
            The folder cannot be used.
        """
        path = self._folder / key[:2] / key
        entry = self._read(path)
        if entry is None:
            with _locked(path.parent):
                # Another one may have fetched it while we waited.
                entry = self._read(path)
                if entry is None:
                    entry = _fetched(fetch)
                    _write(path, entry)
        if entry.reason is not None:
            msg = f"{entry.reason} (asked on {entry.fetched:%Y-%m-%d})"
            raise NoCoverageError(msg)
        return entry

    def has(self, key: str) -> bool:
        """Whether there is an answer for a key that still holds."""
        return self._read(self._folder / key[:2] / key) is not None

    def _read(self, path: Path) -> Entry | None:
        """What is there and still holds; None when it is absent, damaged or old."""
        try:
            with path.open("rb") as file:
                line = json.loads(file.readline(_LINE_BYTES))
                data = file.read(MAX_FILE_BYTES + 1)
            fetched, reason = datetime.fromisoformat(line["fetched"]), line["reason"]
            old = reason is not None and datetime.now(UTC) - fetched >= self._expiry
            if old or line["sha256"] != _digest(data, reason):
                return None
        except (FileNotFoundError, *_DAMAGED):
            return None
        return Entry(data, line["sha256"], fetched, reason)


def _fetched(fetch: Callable[[], bytes]) -> Entry:
    now = datetime.now(UTC)
    try:
        data = fetch()
    except NoCoverageError as exc:
        # So that the line stays short enough to be read again.
        reason = str(exc)[:500]
        return Entry(b"", _digest(b"", reason), now, reason)
    return Entry(data, _digest(data, None), now)


def _digest(data: bytes, reason: str | None) -> str:
    return sha256(data if reason is None else reason.encode() + data).hexdigest()


def _write(path: Path, entry: Entry) -> None:
    line = {
        "sha256": entry.digest,
        "fetched": entry.fetched.isoformat(timespec="seconds"),
        "reason": entry.reason,
    }
    # The caller holds the lock: nobody else writes, and what a killed process has
    # left under this name is written over.
    half_done = path.with_name(f"{path.name}.tmp")
    half_done.write_bytes(json.dumps(line).encode() + b"\n" + entry.data)
    publish_file(half_done, path)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the right to write in a folder; the system takes it from a dead process.

    One of 256 folders is held during one fetch, which has a deadline.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
