"""Cutouts in one archive: ``.zip`` or ``.tar``, read where they are."""

import lzma
import os
import stat
import struct
import tarfile
import weakref
import zipfile
import zlib
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Protocol

from twinjet.index.cutouts.opened import Opened
from twinjet.index.errors import CutoutLocationError, CutoutUnavailableError
from twinjet.index.source import Source, cutout_name
from twinjet.model.decode import MAX_FILE_BYTES

ARCHIVE_ENDINGS = (".zip", ".tar")

# One stream: the last cutout costs unpacking all before it, for every source.
COMPRESSED_ENDINGS = {
    ".tar.gz": "gunzip",
    ".tgz": "gunzip",
    ".tar.bz2": "bunzip2",
    ".tar.xz": "unxz",
    ".tar.zst": "unzstd",
}

# All that zipfile, tarfile and their decompressors raised on damaged files.
_DAMAGE = (
    *(OSError, EOFError, RuntimeError, ValueError, struct.error),
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
)


class ArchiveProvider:
    """Members of one archive, by name; nothing is ever unpacked to the disk.

    Where one folder holds all members, as ``zip -r sky.zip sky`` makes it, names
    within that folder are understood too. Of members with the same name the last
    counts, as it would when unpacked.

    Parameters
    ----------
    path
        A ``.zip`` or an uncompressed ``.tar``.

    Raises
    ------
    CutoutLocationError
        It is a compressed tar, or has another ending.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()
        name = self._path.name.lower()
        for ending, command in COMPRESSED_ENDINGS.items():
            if name.endswith(ending):
                msg = (
                    f"{path} is compressed as a whole, so each cutout would cost "
                    f"reading all before it; unpack it to a plain .tar with "
                    f"`{command}` and give that, or make a .zip"
                )
                raise CutoutLocationError(msg, actual=str(path))
        if not name.endswith(ARCHIVE_ENDINGS):
            msg = f"{path} is no archive; it must end in {' or '.join(ARCHIVE_ENDINGS)}"
            raise CutoutLocationError(msg, actual=str(path))
        self._members: Opened[_Members] = Opened(
            self._path, _Zip if name.endswith(".zip") else _Tar
        )

    @property
    def location(self) -> str:
        """Path of the archive."""
        return str(self._path)

    @property
    def by_name(self) -> bool:
        """Files are known by their names alone."""
        return True

    def read(self, source: Source) -> bytes:
        """Bytes of a member, one more than the decoder takes where it is larger.

        Raises
        ------
        CutoutUnavailableError
            The archive or the member is absent, damaged, encrypted, a link or a
            folder, or the name leads out of the archive.
        """
        return self.member(cutout_name(source), MAX_FILE_BYTES + 1)

    def digest(self, source: Source) -> str:
        """SHA-256 of what `read` gives: a CRC of 32 bits meets its like too soon."""
        return sha256(self.read(source)).hexdigest()

    def names(self) -> list[str]:
        """Names of all members that can be read, in order."""
        members = self._members.get().names
        return sorted(name for name, reason in members.items() if reason is None)

    @property
    def top(self) -> str:
        """The one folder that holds all members; empty when there is none."""
        return self._members.get().top

    def member(self, name: str, limit: int) -> bytes:
        """At most `limit` bytes of a member; raises as `read` does."""
        members = self._members.get()
        clean = _clean(name)
        if clean is None:
            msg = f"cutout {name!r} leads out of its archive"
            raise CutoutUnavailableError(msg, actual=name)
        if clean not in members.names:
            clean = f"{members.top}/{clean}"
        if clean not in members.names:
            msg = f"cutout {name!r} is not in {self._path.name}"
            raise CutoutUnavailableError(msg, actual=name)
        reason = members.names[clean]
        if reason is None:
            try:
                return members.read(clean, limit)
            except _DAMAGE as exc:
                reason = f"cannot be read from {self._path.name}: {exc}"
        msg = f"cutout {name!r} {reason}"
        raise CutoutUnavailableError(msg, actual=name)


class _Members(Protocol):
    """An open archive; reads from any number of threads."""

    @property
    def names(self) -> Mapping[str, str | None]:
        """Members; the reason for one that is never read."""

    top: str
    """The one folder that holds all of them; empty when there is none."""

    def read(self, name: str, limit: int) -> bytes:
        """At most so many bytes of a member."""


class _Zip:
    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except _DAMAGE as exc:
            raise _unreadable(path, exc) from exc
        # Opening and closing a member count users without a lock of their own.
        self._lock = Lock()
        self._infos: dict[str, zipfile.ZipInfo] = {}
        self.names: dict[str, str | None] = {}
        for info in self._zip.infolist():
            name = _clean(info.filename)
            if name is not None and not info.is_dir():
                link = stat.S_ISLNK(info.external_attr >> 16)
                self.names[name] = "is a link; links are not followed" if link else None
                self._infos[name] = info
        self.top = _top(self.names)

    def read(self, name: str, limit: int) -> bytes:
        with self._lock:
            member = self._zip.open(self._infos[name])
        try:
            return member.read(limit)
        finally:
            with self._lock:
                member.close()


class _Tar:
    def __init__(self, path: Path) -> None:
        self._places: dict[str, tuple[int, int]] = {}
        self.names: dict[str, str | None] = {}
        try:
            with tarfile.open(path, "r:") as archive:
                while (info := archive.next()) is not None:
                    self._add(info)
                    # It keeps a kilobyte of each member, which nobody needs.
                    archive.members.clear()  # type: ignore[attr-defined]
            # Not by `seek`: reads at a place of their own need no lock.
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except _DAMAGE as exc:
            raise _unreadable(path, exc) from exc
        weakref.finalize(self, os.close, self._file)
        self.top = _top(self.names)

    def _add(self, info: tarfile.TarInfo) -> None:
        name = _clean(info.name)
        if name is None or info.isdir():
            return
        self.names[name] = None
        self._places[name] = (info.offset_data, info.size)
        if not info.isreg() or info.issparse():
            kind = "a link" if info.issym() or info.islnk() else "no plain file"
            self.names[name] = f"is {kind}; only files that are whole are read"

    def read(self, name: str, limit: int) -> bytes:
        start, size = self._places[name]
        wanted = min(size, limit)
        data = os.pread(self._file, wanted, start)
        if len(data) < wanted:
            msg = f"the archive ends {wanted - len(data)} bytes too early"
            raise EOFError(msg)
        return data


def _unreadable(path: Path, exc: Exception) -> CutoutUnavailableError:
    msg = f"the archive {path} cannot be read: {exc}"
    return CutoutUnavailableError(msg, actual=str(path))


def _clean(name: str) -> str | None:
    """A name as members are kept by; None for one that leads out of the archive."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        return None
    return str(path)


def _top(names: Mapping[str, str | None]) -> str:
    tops = {name.partition("/")[0] for name in names if not name.startswith("__MACOSX")}
    # A member at the root is its own top, and no folder.
    return tops.pop() if len(tops) == 1 and not tops & set(names) else ""
