"""The provider of a location, as a generation's manifest names it."""

from collections.abc import Callable, Mapping
from pathlib import Path

from twinjet.index.cutouts.archive import (
    ARCHIVE_ENDINGS,
    COMPRESSED_ENDINGS,
    ArchiveProvider,
)
from twinjet.index.cutouts.folder import FolderProvider
from twinjet.index.cutouts.mosaic import SIZE_ARCSEC, MosaicProvider
from twinjet.index.cutouts.paths import split_kind, split_options
from twinjet.index.cutouts.port import CutoutProvider
from twinjet.index.cutouts.remote import open_remote
from twinjet.index.cutouts.remote_settings import KINDS as ARCHIVES
from twinjet.index.cutouts.remote_settings import is_remote
from twinjet.index.cutouts.stack import STACK_ENDINGS, ZARR_ENDINGS, StackProvider
from twinjet.index.cutouts.store import StoreProvider, is_store
from twinjet.index.errors import CutoutLocationError


def open_provider(location: str, *, fetch: bool = True) -> CutoutProvider:
    """Make the provider that has this location.

    Nothing is read yet: where pixels have gone, searches are still answered.

    Parameters
    ----------
    location
        Path of a folder, of a ``.zip`` or ``.tar``, of an HDF5 file or a Zarr store;
        ``mosaic:PATH?size_arcsec=270`` for one or many FITS images to cut from;
        ``stack:PATH?images=NAME&ids=NAME`` for arrays of these two; a URL of any
        store that fsspec knows, such as ``s3://bucket/cutouts``; a public
        archive as `twinjet.index.cutouts.remote_settings` writes it, such as
        ``first:?cache=PATH``.
    fetch
        False has only what was fetched before of a public archive: a service must
        not wait for another one.

    Raises
    ------
    CutoutLocationError
        It is none of these, or the system cannot even look for it.
    """
    try:
        return _opened(location, fetch=fetch)
    except OSError as exc:
        shown = location[:100]
        msg = f"nobody can look for {shown!r}: {exc.strerror or type(exc).__name__}"
        raise CutoutLocationError(msg, actual=shown) from exc


def _opened(location: str, *, fetch: bool) -> CutoutProvider:
    kind, rest = split_kind(location)
    if kind is None:
        return _of_path(Path(rest))
    if is_remote(location):
        return open_remote(location, fetch=fetch)
    if is_store(kind, rest):
        return StoreProvider(location)
    if kind in ARCHIVES:
        msg = f"{location!r} is no location: write {kind}:?cache=FOLDER"
        raise CutoutLocationError(msg, actual=location)
    make = _KINDS.get(kind)
    if make is None:
        msg = (
            f"{location!r} is no place of cutouts: {kind!r} is not one of "
            f"{', '.join(sorted([*_KINDS, *ARCHIVES]))}"
        )
        raise CutoutLocationError(msg, actual=location)
    return make(rest)


def _of_path(path: Path) -> CutoutProvider:
    name = path.name.lower()
    # A Zarr store is a folder, or a .zip.
    if name.endswith(ZARR_ENDINGS):
        return StackProvider(path)
    if path.is_dir():
        return FolderProvider(path)
    if name.endswith((*ARCHIVE_ENDINGS, *COMPRESSED_ENDINGS)):
        return ArchiveProvider(path)
    if name.endswith(STACK_ENDINGS):
        return StackProvider(path)
    if path.is_file():
        msg = (
            f"{path} is no folder, .zip, .tar, .h5 or .zarr of cutouts; an image "
            f"to cut sources out of is written mosaic:{path}"
        )
        raise CutoutLocationError(msg, actual=str(path))
    # A folder that is away for the moment.
    return FolderProvider(path)


def _mosaic(rest: str) -> CutoutProvider:
    path, options = split_options(rest, {"size_arcsec"})
    text = options.get("size_arcsec", str(SIZE_ARCSEC))
    try:
        size_arcsec = float(text)
    except ValueError as exc:
        msg = f"size_arcsec is {text!r}; it must be a number of arcsec"
        raise CutoutLocationError(msg, parameter="size_arcsec", actual=text) from exc
    return MosaicProvider(path, size_arcsec=size_arcsec)


def _stack(rest: str) -> CutoutProvider:
    path, options = split_options(rest, {"images", "ids"})
    return StackProvider(path, images=options.get("images"), ids=options.get("ids"))


# What comes before the colon of a location, and what makes a provider of the rest.
_KINDS: Mapping[str, Callable[[str], CutoutProvider]] = {
    "mosaic": _mosaic,
    "stack": _stack,
}
