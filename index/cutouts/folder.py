"""Cutouts in a local folder."""

from pathlib import Path

from twinjet.index.durable import file_digest
from twinjet.index.errors import CutoutUnavailableError
from twinjet.index.source import Source, cutout_name
from twinjet.model.decode import MAX_FILE_BYTES


class FolderProvider:
    """Files below one folder; nothing outside of it is ever read.

    Parameters
    ----------
    root
        The folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    @property
    def location(self) -> str:
        """Path of the folder."""
        return str(self._root)

    @property
    def by_name(self) -> bool:
        """Files are known by their names alone."""
        return True

    def read(self, source: Source) -> bytes:
        """Bytes of a file below the folder.

        Raises
        ------
        CutoutUnavailableError
            It is absent, unreadable, too large or outside of the folder.
        """
        name = cutout_name(source)
        path = self._path(name)
        try:
            with path.open("rb") as file:
                # One byte more than the limit: the decoder then says so.
                return file.read(MAX_FILE_BYTES + 1)
        except OSError as exc:
            msg = f"cutout {name!r} cannot be read: {exc.strerror}"
            raise CutoutUnavailableError(msg, actual=name) from exc

    def digest(self, source: Source) -> str:
        """SHA-256 of a file below the folder; raises as `read` does."""
        name = cutout_name(source)
        try:
            return file_digest(self._path(name))
        except OSError as exc:
            msg = f"cutout {name!r} cannot be read: {exc.strerror}"
            raise CutoutUnavailableError(msg, actual=name) from exc

    def _path(self, name: str) -> Path:
        path = (self._root / name).resolve()
        if not path.is_relative_to(self._root):
            msg = f"cutout {name!r} leads out of its folder"
            raise CutoutUnavailableError(msg, actual=name)
        return path
