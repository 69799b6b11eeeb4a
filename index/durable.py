"""Files that are whole after a crash, or not there."""

import os
import uuid
from hashlib import sha256
from pathlib import Path

READ_ONLY = 0o444
"""Of files that are mapped into memory: whoever shortens one ends the process. Not of
a manifest, which is locked by opening it for writing."""


def fsync_path(path: Path) -> None:
    """Bring a file, or the entries of a folder, to the disk.

    A new file that was renamed without it was 0 bytes long after a power loss.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def half_done(path: Path) -> Path:
    """A name beside a file's own for while it is written; no other writer has it.

    Examples
    --------
    >>> half_done(Path("a/b.parquet")).suffix
    '.tmp'
    """
    return path.with_name(f"{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")


def publish_file(written: Path, path: Path) -> None:
    """Give a finished file its name: all of it or nothing."""
    fsync_path(written)
    written.replace(path)
    fsync_path(path.parent)


def publish_folder(half_done: Path, path: Path) -> None:
    """Give a finished folder its name, after all of its files are on the disk."""
    for file in half_done.iterdir():
        fsync_path(file)
    fsync_path(half_done)
    half_done.rename(path)
    fsync_path(path.parent)


def fsync_tree(folder: Path) -> None:
    """Bring all files below a folder to the disk, and what is in each folder."""
    for path in sorted(folder.rglob("*"), reverse=True):
        fsync_path(path)
    fsync_path(folder)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
