"""Arrays of a Zarr store, as `twinjet.index.cutouts.stack` reads them."""

import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from twinjet.index.errors import CutoutUnavailableError

# What unpacks numbers and texts, and does nothing else: numcodecs has pickles, too,
# which run code when they are read.
_CODECS = {
    *("bytes", "vlen-bytes", "vlen-utf8", "transpose", "sharding_indexed"),
    *("blosc", "bz2", "gzip", "lz4", "lzma", "zfpy", "zlib", "zstd"),
    *("adler32", "crc32", "crc32c", "fletcher32"),
    *("astype", "bitround", "delta", "fixedscaleoffset", "packbits", "quantize"),
    "shuffle",
}


class ZarrFile:
    """An open store of format 2 or 3, a folder or a ``.zip`` of one.

    Each image unpacks its chunk: chunks of one image are the fastest.
    """

    def __init__(self, path: Path) -> None:
        try:
            import zarr  # noqa: PLC0415 - an extra
            from zarr.storage import ZipStore  # noqa: PLC0415 - an extra
        except ImportError as exc:
            msg = f"{path}: Zarr needs zarr: pip install 'twinjet[stacks]'"
            raise CutoutUnavailableError(msg) from exc
        self._path = path
        store = path if path.is_dir() else ZipStore(path, mode="r")
        with warnings.catch_warnings():
            # Types of text that zarr has and its specification has not yet.
            warnings.simplefilter("ignore")
            self._root: Any = zarr.open(store, mode="r")
            nodes = (
                [("", self._root)]
                if hasattr(self._root, "shape")
                else sorted(self._root.members(max_depth=None))
            )
            self._arrays = {
                name: node for name, node in nodes if hasattr(node, "shape")
            }
        self._check_links()

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Of the store's root."""
        return dict(self._root.attrs)

    def arrays(self) -> Iterator[tuple[str, Any]]:
        """Path of each array and the array."""
        yield from self._arrays.items()

    def beside(self, path: str) -> list[str]:
        """Paths of what is in the same group."""
        group = path.rpartition("/")[0]
        return [name for name in self._arrays if name.rpartition("/")[0] == group]

    def array(self, path: str) -> Any:
        """One array; KeyError where there is none.

        Raises
        ------
        CutoutUnavailableError
            It is packed by what is not known to be harmless.
        """
        array = self._arrays[path.strip("/")]
        odd = sorted(set(_codecs_of(array.metadata.to_dict())) - _CODECS)
        if odd:
            msg = f"{path} of {self._path.name} is packed by {odd[0]}, which is refused"
            raise CutoutUnavailableError(msg, actual=odd[0])
        return array

    def _check_links(self) -> None:
        """Refuse links: a store may point to any file that this process can read."""
        if not self._path.is_dir():
            return
        for folder, folders, files in os.walk(self._path):
            links = (n for n in (*folders, *files) if (Path(folder) / n).is_symlink())
            for link in links:
                msg = f"{link} of {self._path.name} is a link, which is refused"
                raise CutoutUnavailableError(msg, actual=link)


def _codecs_of(described: Any) -> Iterator[str]:
    """Names of all codecs in the metadata of an array, of format 2 or 3."""
    if described.get("zarr_format") == 2:  # noqa: PLR2004 - the format before
        for codec in (described["compressor"], *(described["filters"] or ())):
            if codec is not None:
                yield _bare(codec["id"])
        return
    for codec in described["codecs"]:
        yield _bare(codec["name"])
        within = codec.get("configuration") or {}
        for key in ("codecs", "index_codecs"):
            yield from _codecs_of({"codecs": within.get(key, ())})


def _bare(name: str) -> str:
    return name.removeprefix("numcodecs.")
