"""Cutouts in one HDF5 file or Zarr store: an array of shape (N, H, W)."""

import io
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from twinjet.index.cutouts.hdf5_file import Hdf5File
from twinjet.index.cutouts.opened import Opened
from twinjet.index.cutouts.paths import quoted_path
from twinjet.index.cutouts.zarr_file import ZarrFile
from twinjet.index.errors import CutoutUnavailableError
from twinjet.index.source import Source, cutout_name
from twinjet.model.decode import MAX_FILE_BYTES

ZARR_ENDINGS = (".zarr", ".zarr.zip")
STACK_ENDINGS = (".h5", ".hdf5", ".hdf", *ZARR_ENDINGS)

# Names of an array of images, where a file has several; of one of IDs beside it.
_IMAGES = ("images", "cutouts", "image", "data")
_IDS = ("ids", "id", "source_ids", "source_id", "names")

# Unpacked, for one image.
_MAX_CHUNK_BYTES = 256 * 2**20

# What h5py, zarr and numpy raised on damaged files and odd attributes.
_DAMAGE = (
    *(OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError),
    *(zipfile.BadZipFile, zlib.error),
)

# FITS keywords (degrees, degrees, degrees, unit) that an attribute may give.
_KEYWORDS = ("BMAJ", "BMIN", "BPA", "BUNIT")


class StackFile(Protocol):
    """An open file of arrays, of any format; what is found damaged may raise much."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Of the file itself."""

    def arrays(self) -> Iterator[tuple[str, Any]]:
        """Path of each array and the array; no links are followed."""

    def beside(self, path: str) -> list[str]:
        """Paths of what is in the same group."""

    def array(self, path: str) -> Any:
        """One array, which is safe to read; LookupError where there is none.

        Raises
        ------
        CutoutUnavailableError
            It is not safe to read.
        """


class StackProvider:
    """Images of an HDF5 dataset or a Zarr array, as FITS.

    A source's ``cutout`` (its ID where the catalogue names none) is looked up in an
    array of IDs when there is one beside the images; when there is none, ``cutout``
    is the number of the image, from 0, and must be given. The attribute
    ``pixel_scale_arcsec`` of the array or the file gives the image a WCS with the
    source at its centre, rows upwards to the north; ``BUNIT``, ``BMAJ``, ``BMIN`` and
    ``BPA`` (degrees) go to its header.

    Parameters
    ----------
    path
        The file; a folder or ``.zip`` where its name ends in ``.zarr``.
    images
        Array of the images; the only one of three axes, or the one called
        ``images``, ``cutouts``, ``image`` or ``data``, when None.
    ids
        Array of one ID an image; ``ids``, ``source_id`` and so on in the same
        group when None.
    """

    def __init__(
        self, path: Path, *, images: str | None = None, ids: str | None = None
    ) -> None:
        self._path = path.resolve()
        self._chosen = {
            key: name for key, name in (("images", images), ("ids", ids)) if name
        }
        self._stack = Opened(self._path, lambda path: _Stack(path, images, ids))

    @property
    def location(self) -> str:
        """Path of the file, and which arrays when they were chosen."""
        if not self._chosen:
            return str(self._path)
        return f"stack:{quoted_path(self._path)}?{urlencode(self._chosen)}"

    @property
    def by_name(self) -> bool:
        """Sources are looked up by their own IDs, where there are IDs."""
        return False

    def read(self, source: Source) -> bytes:
        """FITS of one image, float32.

        Raises
        ------
        CutoutUnavailableError
            The file or the image is absent or damaged, it is not clear which array
            holds the images, or h5py or zarr is not installed.
        """
        return self._stack.get().read(source)

    def digest(self, source: Source) -> str:
        """SHA-256 of what `read` gives."""
        return sha256(self.read(source)).hexdigest()


class _Stack:
    """What is known of an open file."""

    def __init__(self, path: Path, images: str | None, ids: str | None) -> None:
        self._name = path.name
        is_zarr = path.name.lower().endswith(ZARR_ENDINGS)
        try:
            file: StackFile = ZarrFile(path) if is_zarr else Hdf5File(path)
            place = _place_of_images(file, images, path.name)
            self._images = _checked_images(file.array(place), path.name)
            self._count = int(self._images.shape[0])
            self._rows = _rows(file, place, self._count, ids, path.name)
            self._header = _header({**file.attributes, **self._images.attrs})
        except _DAMAGE as exc:
            msg = f"the stack {path} cannot be read: {exc}"
            raise CutoutUnavailableError(msg, actual=str(path)) from exc

    def read(self, source: Source) -> bytes:
        if source.cutout is None and self._rows is not None:
            name = source.source_id
        else:
            # Without IDs a catalogue numbered from 1 would get its neighbours' images.
            name = cutout_name(source)
        row = self._row(name)
        try:
            # Beyond float32 is infinite, and no number to the decoder.
            with np.errstate(over="ignore", invalid="ignore"):
                pixels = np.asarray(self._images[row], np.float32)
        except _DAMAGE as exc:
            msg = f"image {row} of {self._name} cannot be read: {exc}"
            raise CutoutUnavailableError(msg, actual=name) from exc
        pixels = pixels.reshape([n for n in pixels.shape if n != 1])
        header = self._header.copy()
        if "CDELT2" in header:
            header["CRVAL1"], header["CRVAL2"] = source.ra, source.dec
            header["CRPIX1"] = (pixels.shape[-1] + 1) / 2
            header["CRPIX2"] = (pixels.shape[0] + 1) / 2
        file = io.BytesIO()
        fits.PrimaryHDU(pixels, header).writeto(file)
        return file.getvalue()

    def _row(self, name: str) -> int:
        count = self._count
        if self._rows is not None:
            row = self._rows.get(name)
            if row is None:
                msg = f"cutout {name!r} is none of the {count} IDs of {self._name}"
                raise CutoutUnavailableError(msg, actual=name)
            return row
        # Not `int`, which takes 1_000 and Arabic digits, nor -1 for the last.
        if not (name.isascii() and name.isdigit() and int(name) < count):
            msg = (
                f"cutout {name!r} is no image of {self._name}, which has no IDs; its "
                f"images are 0 to {count - 1}"
            )
            raise CutoutUnavailableError(msg, actual=name, limit=count - 1)
        return int(name)


def _place_of_images(file: StackFile, wanted: str | None, name: str) -> str:
    """Path of the array of images."""
    found = {
        path: array.shape
        for path, array in file.arrays()
        if _is_stack(array.shape) and array.dtype.kind in "fiu"
    }
    usual = [path for path in found if path.rpartition("/")[2].lower() in _IMAGES]
    paths = [wanted.strip("/")] if wanted else usual if len(usual) == 1 else list(found)
    if len(paths) != 1 or paths[0] not in found:
        shown = ", ".join(f"{path} {shape}" for path, shape in found.items()) or "none"
        asked = f"{wanted} of {name} is" if wanted else f"{name} does not say which is"
        msg = (
            f"{asked}{' no' if wanted else ' the'} dataset of images (N, H, W); there "
            f"are: {shown}; name one: stack:PATH?images=NAME"
        )
        raise CutoutUnavailableError(msg, actual=wanted)
    return paths[0]


def _checked_images(images: Any, name: str) -> Any:
    """The array of images, none of which takes too much memory."""
    for what, shape in (("image", images.shape[1:]), ("chunk", images.chunks or (0,))):
        size = math.prod(shape) * max(4, images.dtype.itemsize)
        limit = MAX_FILE_BYTES if what == "image" else _MAX_CHUNK_BYTES
        if size > limit:
            msg = f"an {what} of {name} has {size} bytes; at most {limit}"
            raise CutoutUnavailableError(msg, limit=limit, actual=size)
    return images


def _is_stack(shape: tuple[int, ...]) -> bool:
    """Whether each entry along the first axis is an image, degenerate axes aside."""
    return len(shape) > 2 and len([n for n in shape[1:] if n != 1]) == 2  # noqa: PLR2004


def _rows(
    file: StackFile, place: str, count: int, wanted: str | None, name: str
) -> Mapping[str, int] | None:
    """Row of each ID; None when there are no IDs."""
    usual = [p for p in file.beside(place) if p.rpartition("/")[2].lower() in _IDS]
    for path in [wanted] if wanted else usual:
        ids = file.array(path)
        if ids.shape != (count,):
            msg = f"{path} of {name} has {ids.shape} IDs for {count} images"
            raise CutoutUnavailableError(msg, actual=path)
        texts = [_text(value) for value in ids[:].tolist()]
        rows = {text: row for row, text in enumerate(texts)}
        if len(rows) < len(texts):
            msg = f"{path} of {name} has {len(texts) - len(rows)} IDs more than once"
            raise CutoutUnavailableError(msg, actual=path)
        return rows
    return None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _header(attributes: Mapping[str, Any]) -> fits.Header:
    """What the attributes tell, as FITS has it; the position is each source's."""
    header = fits.Header()
    scale = attributes.get("pixel_scale_arcsec")
    if scale is not None:
        degrees: NDArray[np.float64] = np.asarray(scale, np.float64).ravel() / 3600
        if degrees.size != 1 or not (np.isfinite(degrees[0]) and degrees[0] > 0):
            msg = f"pixel_scale_arcsec is {scale}; it must be one positive number"
            raise ValueError(msg)
        header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
        header["CDELT1"], header["CDELT2"] = -float(degrees[0]), float(degrees[0])
        header["RADESYS"] = "ICRS"
    for keyword in _KEYWORDS:
        value = attributes.get(keyword, attributes.get(keyword.lower()))
        if value is not None:
            header[keyword] = (
                _text(value) if keyword == "BUNIT" else float(np.ravel(value)[0])
            )
    return header
