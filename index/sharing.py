"""Files of a home for machines that do not see its disk: any store of fsspec's."""

import re
import shutil
from pathlib import Path

import fsspec

from twinjet.index.durable import (
    READ_ONLY,
    half_done,
    publish_file,
    publish_folder,
)
from twinjet.index.errors import SharedStoreError

# What makes a folder whole; it goes last.
_LAST = "manifest.json"

# Stores whose objects are whole when they appear, unlike the files of a disk.
_WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "az", "adl", "oss", "oci", "memory"}


# Of a URL: the name of a parameter that is one, and what it is.
_HIDDEN = r"([?&][^=&]*(?:pass|pwd|secret|key|token|sig)[^=&]*=)[^&]*"


def without_credentials(url: str) -> str:
    """A URL as it may be shown and logged.

    Examples
    --------
    >>> without_credentials("s3://key:secret@bucket/twinjet")
    's3://...@bucket/twinjet'
    >>> without_credentials("postgresql://host/db?user=me&password=secret")
    'postgresql://host/db?user=me&password=...'
    """
    shown = re.sub(_HIDDEN, r"\1...", url, flags=re.IGNORECASE)
    return re.sub("//.*@", "//...@", shown, flags=re.DOTALL)


class SharedStore:
    """A copy of a home's files under a URL.

    Every file is whole there or not at all, and is never changed.

    Parameters
    ----------
    url
        Of the store, such as ``s3://bucket/twinjet`` or ``file:///mnt/twinjet``.
    root
        The home.

    Raises
    ------
    SharedStoreError
        No driver of this kind of store is installed, or it refuses.
    """

    def __init__(self, url: str, root: Path) -> None:
        try:
            self._files, self._there = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError, OSError) as exc:
            shown = without_credentials(url)
            msg = f"the shared store {shown!r} cannot be used: {exc}"
            raise SharedStoreError(msg, actual=shown) from exc
        self._root = root.resolve()
        self._whole = bool(_WHOLE & {*_names(self._files.protocol)})

    def put(self, path: Path) -> None:
        """Copy a file, or a folder that is whole, to the store."""
        if path.is_dir():
            for file in sorted(path.iterdir(), key=lambda f: f.name == _LAST):
                self._put(file)
        else:
            self._put(path)

    def fetch(self, path: Path) -> bool:
        """Copy a file of the store to its place; whether it was there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        written = half_done(path)
        try:
            self._files.get_file(self._name(path), str(written))
        except FileNotFoundError:
            written.unlink(missing_ok=True)
            return False
        except OSError as exc:
            written.unlink(missing_ok=True)
            raise _trouble(path, exc) from exc
        publish_file(written, path)
        return True

    def read(self, path: Path) -> bytes | None:
        """Contents of a small file of the store; None where it is not there."""
        try:
            data: bytes = self._files.cat_file(self._name(path))
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise _trouble(path, exc) from exc
        return data

    def fetch_folder(self, path: Path) -> bool:
        """Copy a folder of the store to its place; whether a whole one was there."""
        name = self._name(path)
        written = path.with_name(f"tmp-{half_done(path).stem}")
        try:
            if not self._files.exists(f"{name}/{_LAST}"):
                return False
            written.mkdir(parents=True)
            for file in self._files.ls(name, detail=False):
                place = written / file.rpartition("/")[2]
                self._files.get_file(file, str(place))
                if place.name != _LAST:
                    place.chmod(READ_ONLY)
            publish_folder(written, path)
        except OSError as exc:
            shutil.rmtree(written, ignore_errors=True)
            if path.exists():  # another process was quicker
                return True
            raise _trouble(path, exc) from exc
        return True

    def remove(self, path: Path) -> None:
        """Remove a file or folder from the store."""
        try:
            if self._files.exists(self._name(path)):
                self._files.rm(self._name(path), recursive=True)
        except OSError as exc:
            raise _trouble(path, exc) from exc

    def _put(self, path: Path) -> None:
        name = self._name(path)
        try:
            self._files.makedirs(name.rpartition("/")[0], exist_ok=True)
            written = name if self._whole else f"{name}.{half_done(path).name}"
            self._files.put_file(str(path), written)
            if written != name:
                self._files.mv(written, name)
        except OSError as exc:
            raise _trouble(path, exc) from exc

    def _name(self, path: Path) -> str:
        return f"{self._there}/{path.resolve().relative_to(self._root).as_posix()}"


def _names(protocol: str | tuple[str, ...]) -> tuple[str, ...]:
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def _trouble(path: Path, exc: OSError) -> SharedStoreError:
    return SharedStoreError(f"{path.name} cannot be shared: {exc}", actual=str(path))
