"""Arrays of an HDF5 file, as `twinjet.index.cutouts.stack` reads them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from twinjet.index.errors import CutoutUnavailableError

# Of the unpacked chunks. Stacks are packed in chunks of some megabytes; with HDF5's
# own 1 MB each image of a chunk would unpack it again.
_CHUNK_CACHE_BYTES = 64 * 2**20


class Hdf5File:
    """An open file; h5py itself lets one thread at a time into HDF5."""

    def __init__(self, path: Path) -> None:
        try:
            import h5py  # noqa: PLC0415 - an extra
        except ImportError as exc:
            msg = f"{path}: HDF5 needs h5py: pip install 'twinjet[stacks]'"
            raise CutoutUnavailableError(msg) from exc
        # Unlocked: a service that reads for months must not stop a writer.
        self._file = h5py.File(path, "r", locking=False, rdcc_nbytes=_CHUNK_CACHE_BYTES)
        self._name = path.name

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Of the file itself."""
        return dict(self._file.attrs)

    def arrays(self) -> Iterator[tuple[str, Any]]:
        """Path of each dataset and the dataset; no links are followed."""
        found: list[tuple[str, Any]] = []

        def look(path: str, node: Any) -> None:
            if hasattr(node, "shape"):
                found.append((path, node))

        self._file.visititems(look)
        yield from found

    def beside(self, path: str) -> list[str]:
        """Paths of what is in the same group."""
        group = self._file[path].parent
        return [f"{group.name.rstrip('/')}/{key}" for key in group]

    def array(self, path: str) -> Any:
        """One dataset; KeyError where there is none.

        Raises
        ------
        CutoutUnavailableError
            It is kept in other files: a stack made by a stranger may point to any file
            that this process can read.
        """
        node = self._file[path]
        elsewhere = node.file.filename != self._file.filename
        if elsewhere or node.external or node.is_virtual:
            msg = f"{path} of {self._name} is kept in other files, which is refused"
            raise CutoutUnavailableError(msg, actual=path)
        return node
