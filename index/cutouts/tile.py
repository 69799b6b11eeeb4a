"""One large FITS image, of which only the rows of a cutout are ever read."""

import io
import math
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import NDArray

from twinjet.index.errors import CutoutUnavailableError
from twinjet.index.sky import unit_vectors

# Of HDUs looked at for the image.
_MAX_HDUS = 16

_TYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}

# Cards that a cutout keeps beside its WCS; the beam in degrees.
_KEPT = ("BUNIT", "BMAJ", "BMIN", "BPA", "TELESCOP", "OBJECT")

# Points along each edge of which the footprint's radius is taken, and the part that
# an edge may bulge out between them.
_EDGE_POINTS = 9
_BULGE = 1.05

# A footprint beyond it is taken for the whole sky: its edge may be nearer to the
# centre than its corners are, or not be on the sky at all.
_WHOLE_SKY_DEG = 60.0


class TileChangedError(CutoutUnavailableError):
    """A tile is another than when its header was read."""


@dataclass(frozen=True, eq=False)
class Tile:
    """An image on disk and what of its header a cutout needs."""

    name: str
    """For messages."""
    path: Path
    shape: tuple[int, int]
    """Rows and columns, without the degenerate axes."""
    wcs: WCS
    """Celestial; not for two threads at once."""
    scale_arcsec: tuple[float, float]
    """Pixel size along x and y."""
    centre: NDArray[np.float64]
    """Unit vector, ICRS."""
    chord: float
    """Length, on the unit sphere, from the centre to beyond all of the corners."""
    _header: fits.Header
    _start: int
    """Of the pixels, bytes."""
    _type: np.dtype[Any]
    _scaling: tuple[float, float, int | None]
    """BSCALE, BZERO, BLANK."""
    _state: tuple[int, int]
    """Size and time of change when the header was read."""

    def pixels(
        self, left: int, bottom: int, width: int, height: int
    ) -> NDArray[np.float32]:
        """Pixels from a corner on, shape (height, width); NaN beyond the edge.

        The rows are read and not mapped: a map of a tile that somebody rewrites
        shorter kills the process, and one map a tile soon meets the system's limit.

        Raises
        ------
        CutoutUnavailableError
            The tile is absent.
        TileChangedError
            It is not what it was.
        """
        rows, columns = self.shape
        found = np.full((height, width), np.nan, np.float32)
        first, last = max(0, left), min(columns, left + width)
        try:
            with self.path.open("rb", buffering=0) as file:
                stat = os.fstat(file.fileno())
                if (stat.st_size, stat.st_mtime_ns) != self._state:
                    msg = f"tile {self.name} has changed since its header was read"
                    raise TileChangedError(msg, actual=self.name)
                for y in range(max(0, bottom), min(rows, bottom + height)):
                    place = (y * columns + first) * self._type.itemsize
                    size = (last - first) * self._type.itemsize
                    data = os.pread(file.fileno(), size, self._start + place)
                    row = np.frombuffer(data, self._type)
                    found[y - bottom, first - left : last - left] = self._physical(row)
        except (OSError, ValueError) as exc:
            msg = f"tile {self.name} cannot be read: {exc}"
            raise CutoutUnavailableError(msg, actual=self.name) from exc
        return found

    def fits(self, pixels: NDArray[np.float32], left: int, bottom: int) -> bytes:
        """FITS of pixels that begin at a corner, with WCS, unit and beam."""
        header = self._header.copy()
        header["CRPIX1"] -= left
        header["CRPIX2"] -= bottom
        file = io.BytesIO()
        fits.PrimaryHDU(pixels, header).writeto(file)
        return file.getvalue()

    def _physical(self, row: NDArray[Any]) -> NDArray[np.float32]:
        scale, zero, blank = self._scaling
        # A survey's pixel beyond float32 is infinite, and no number to the decoder.
        with np.errstate(over="ignore", invalid="ignore"):
            if self._type.kind == "f" and (scale, zero) == (1.0, 0.0):
                return row.astype(np.float32)
            values = (row * scale + zero).astype(np.float32)
        if blank is not None and self._type.kind != "f":
            values[row == blank] = np.nan
        return values


def open_tile(path: Path, name: str) -> Tile:
    """Read the header of a tile.

    Raises
    ------
    CutoutUnavailableError
        It has no single, uncompressed, whole image with celestial WCS.
    """
    try:
        with warnings.catch_warnings():
            # Surveys' headers break many small rules: only pixels and WCS matter.
            warnings.simplefilter("ignore")
            stat = path.stat()
            header, start = _image(path, name)
            wcs = WCS(header).celestial
            return _tile(path, name, header, start=start, stat=stat, wcs=wcs)
    except CutoutUnavailableError:
        raise
    except Exception as exc:
        # astropy raises many unlike classes on damaged files.
        msg = f"{name} cannot be read as FITS: {exc}"
        raise CutoutUnavailableError(msg, actual=name) from exc


def _image(path: Path, name: str) -> tuple[fits.Header, int]:
    """Header of the first image of two real axes, and the place of its pixels."""
    with path.open("rb") as file:
        if file.read(2) == b"\x1f\x8b":
            msg = f"{name} is gzipped, so any part costs all of it: gunzip it"
            raise CutoutUnavailableError(msg, actual=name)
    with fits.open(path, memmap=True, lazy_load_hdus=True) as hdus:
        for number in range(_MAX_HDUS):
            try:
                hdu = hdus[number]
            except IndexError:
                break
            if isinstance(hdu, fits.CompImageHDU):
                msg = f"{name} is tile-compressed: unpack it with funpack"
                raise CutoutUnavailableError(msg, actual=name)
            if hdu.is_image and len(_axes(hdu.header)) == 2:  # noqa: PLR2004
                return hdu.header.copy(), int(hdu.fileinfo()["datLoc"])
    msg = f"{name} holds no image of two axes"
    raise CutoutUnavailableError(msg, actual=name)


def _axes(header: fits.Header) -> list[int]:
    """Lengths of the axes, x first, without the degenerate ones."""
    lengths = (int(header[f"NAXIS{i}"]) for i in range(1, int(header["NAXIS"]) + 1))
    return [length for length in lengths if length != 1]


def _tile(
    path: Path,
    name: str,
    header: fits.Header,
    *,
    start: int,
    stat: os.stat_result,
    wcs: WCS,
) -> Tile:
    width, height = _axes(header)
    kind = np.dtype(_TYPES[int(header["BITPIX"])])
    needed = start + width * height * kind.itemsize
    if min(width, height) < 1 or stat.st_size < needed:
        msg = f"{name} has {stat.st_size} bytes; its header promises {needed}"
        raise CutoutUnavailableError(msg, limit=needed, actual=stat.st_size)
    if not wcs.has_celestial or wcs.naxis != 2:  # noqa: PLR2004
        msg = f"{name} has no celestial WCS, so nothing in it has a place"
        raise CutoutUnavailableError(msg, actual=name)
    kept = wcs.to_header(relax=True)
    # Cards of value 0 are left out by wcslib, and are needed to be counted from.
    kept["CRPIX1"], kept["CRPIX2"] = (float(value) for value in wcs.wcs.crpix)
    kept.update({key: header[key] for key in _KEPT if key in header})
    x, y = (float(scale) * 3600 for scale in proj_plane_pixel_scales(wcs))
    centre, chord = _footprint(wcs, width, height)
    blank = header.get("BLANK")
    return Tile(
        name=name,
        path=path,
        shape=(height, width),
        wcs=wcs,
        scale_arcsec=(x, y),
        centre=centre,
        chord=chord,
        _header=kept,
        _start=start,
        _type=kind,
        _scaling=(
            float(header.get("BSCALE", 1.0)),
            float(header.get("BZERO", 0.0)),
            None if blank is None else int(blank),
        ),
        _state=(stat.st_size, stat.st_mtime_ns),
    )


def _footprint(wcs: WCS, width: int, height: int) -> tuple[NDArray[np.float64], float]:
    """Centre as a unit vector, and the chord to beyond the farthest edge."""
    along = np.linspace(-0.5, 0.5, _EDGE_POINTS)
    ones = np.full(_EDGE_POINTS, 0.5)
    x = np.concatenate([[0.0], along, along, -ones, ones])
    y = np.concatenate([[0.0], -ones, ones, along, along])
    places: SkyCoord = wcs.pixel_to_world(
        x * width + (width - 1) / 2, y * height + (height - 1) / 2
    ).icrs
    vectors = unit_vectors(places.ra.deg, places.dec.deg)
    chords = np.linalg.norm(vectors - vectors[0], axis=1)
    limit = 2 * math.sin(math.radians(_WHOLE_SKY_DEG) / 2)
    if not np.isfinite(vectors).all() or chords.max() > limit:
        centre = vectors[0] if np.isfinite(vectors[0]).all() else unit_vectors(0, 0)[0]
        return centre, 2.0
    return vectors[0], float(chords.max()) * _BULGE
