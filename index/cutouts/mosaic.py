"""Cutouts out of large FITS images: one mosaic, or a folder of a survey's tiles."""

import math
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Lock

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from twinjet.index.cutouts.opened import Opened
from twinjet.index.cutouts.paths import quoted_path
from twinjet.index.cutouts.tile import Tile, TileChangedError, open_tile
from twinjet.index.errors import CutoutLocationError, CutoutUnavailableError
from twinjet.index.sky import unit_vectors
from twinjet.index.source import Source
from twinjet.model.decode import MAX_FILE_BYTES

# What FIRST cutouts cover, 150 pixels of 1.8 arcsec: the encoder sees the middle.
SIZE_ARCSEC = 270.0

_TILE_ENDINGS = (".fits", ".fit", ".fts", ".fits.gz", ".fits.fz")

# Where a pixel covers so much less or more sky than at the tile's reference point,
# its header no longer tells its size, and the encoder would see another galaxy.
_STRETCHED = 1.2


class MosaicProvider:
    """Cut each source out of the tile in which it is farthest from the edge.

    Headers are read once, of all tiles; of the pixels only those of the cutouts. A
    tile that is blank about the source gives way to the next best.

    Parameters
    ----------
    path
        A FITS image, uncompressed, or a folder with any number of them.
    size_arcsec
        Side of the cutouts.

    Raises
    ------
    CutoutLocationError
        The size is no positive number.
    """

    def __init__(self, path: Path, *, size_arcsec: float = SIZE_ARCSEC) -> None:
        if not (math.isfinite(size_arcsec) and size_arcsec > 0):
            msg = f"size_arcsec is {size_arcsec:g}; it must be a positive number"
            raise CutoutLocationError(
                msg, parameter="size_arcsec", limit=0, actual=size_arcsec
            )
        self._path = path.resolve()
        self._size_arcsec = size_arcsec
        self._tiles = Opened(self._path, _find_tiles)
        # astropy's WCS changes itself while it converts.
        self._wcs_lock = Lock()

    @property
    def location(self) -> str:
        """``mosaic:``, the path, and the size."""
        size = f"{self._size_arcsec!r}".removesuffix(".0")
        return f"mosaic:{quoted_path(self._path)}?size_arcsec={size}"

    @property
    def by_name(self) -> bool:
        """Sources are cut out by their positions."""
        return False

    def read(self, source: Source) -> bytes:
        """FITS of the pixels about a source's position; NaN beyond the tile's edge.

        Raises
        ------
        CutoutUnavailableError
            No tile can be used, the source is on none of them or only on blank
            pixels, or the cutout would be larger than the decoder takes.
        """
        try:
            return self._cut(source)
        except TileChangedError:
            # A survey's new version, written in place: its header must be read again.
            self._tiles.forget()
            return self._cut(source)

    def _cut(self, source: Source) -> bytes:
        best: tuple[Tile, _Box, NDArray[np.float32]] | None = None
        most = 0
        tiles = self._tiles.get()
        boxes = self._boxes(source, tiles)
        for tile, box in boxes:
            pixels = tile.pixels(box.left, box.bottom, box.width, box.height)
            finite = int(np.isfinite(pixels).sum())
            if finite > most:
                best, most = (tile, box, pixels), finite
            if finite == pixels.size:
                break
        where = f"{source.source_id} at {source.ra:.5f} {source.dec:+.5f}"
        if best is not None:
            tile, box, pixels = best
            return tile.fits(pixels, box.left, box.bottom)
        if boxes:
            names = ", ".join(tile.name for tile, _ in boxes)
            msg = f"{where} is on blank pixels only, of {names}"
        else:
            msg = f"{where} is outside of the {len(tiles.tiles)} tiles of {self._path}"
            if tiles.faults:
                msg += f" ({len(tiles.faults)} more cannot be used; {tiles.faults[0]})"
        raise CutoutUnavailableError(msg, actual=source.source_id)

    def digest(self, source: Source) -> str:
        """SHA-256 of what `read` gives.

        Not of the tile, or its time of change: an edit far away, a copy, or a new
        tile elsewhere leaves the pixels, and so the embeddings, as they were; and a
        survey of terabytes is not read through for some thousand sources.
        """
        return sha256(self.read(source)).hexdigest()

    def _boxes(self, source: Source, tiles: "_Tiles") -> list[tuple[Tile, "_Box"]]:
        """Tiles that the source is in and its box there, the deepest first.

        Empty when there are none; raises when there are and none can be cut.
        """
        position = SkyCoord(source.ra, source.dec, unit="deg")
        vector = unit_vectors(source.ra, source.dec)[0]
        distances = np.linalg.norm(tiles.centres - vector, axis=1)
        found: list[tuple[float, Tile, _Box]] = []
        fault: CutoutUnavailableError | None = None
        for number in np.flatnonzero(distances <= tiles.chords):
            tile = tiles.tiles[number]
            try:
                with self._wcs_lock:
                    place = _place(tile, position)
                if place is not None:
                    found.append((_depth(tile, place), tile, self._box(tile, place)))
            except CutoutUnavailableError as exc:
                fault = exc
        if fault is not None and not found:
            raise fault
        # Stable: of tiles as deep, the first by name.
        found.sort(key=lambda each: -each[0])
        return [(tile, box) for _, tile, box in found]

    def _box(self, tile: Tile, place: tuple[float, float]) -> "_Box":
        width, height = (
            max(1, round(self._size_arcsec / scale)) for scale in tile.scale_arcsec
        )
        if width * height * 4 > MAX_FILE_BYTES - 2**16:  # the header aside
            msg = (
                f"a cutout of {self._size_arcsec:g} arcsec has {width} x {height} "
                f"pixels of {tile.name}, more than {MAX_FILE_BYTES} bytes; ask for "
                "a smaller one"
            )
            raise CutoutUnavailableError(msg, limit=MAX_FILE_BYTES)
        x, y = place
        return _Box(
            math.floor(x - width / 2 + 1),
            math.floor(y - height / 2 + 1),
            width,
            height,
        )


@dataclass(frozen=True)
class _Box:
    """Pixels of a tile, from 0; they may lie beyond its edge."""

    left: int
    bottom: int
    width: int
    height: int


@dataclass(frozen=True, eq=False)
class _Tiles:
    tiles: list[Tile]
    centres: NDArray[np.float64]
    """Shape (N, 3)."""
    chords: NDArray[np.float64]
    """Shape (N,)."""
    faults: list[str]
    """Why other files are no tiles."""


def _find_tiles(path: Path) -> _Tiles:
    files = [path]
    if path.is_dir():
        files = [
            file
            for file in sorted(path.rglob("*"))
            if file.name.lower().endswith(_TILE_ENDINGS)
            and not file.name.startswith((".", "catalogue."))
            and file.is_file()
        ]
    tiles: list[Tile] = []
    faults: list[str] = []
    for file in files:
        name = file.relative_to(path).as_posix() if file != path else file.name
        try:
            tiles.append(open_tile(file, name))
        except CutoutUnavailableError as exc:
            faults.append(str(exc))
    if not tiles:
        first = faults[0] if faults else "it has no .fits"
        msg = f"no tile of {path} can be used; {first}"
        raise CutoutUnavailableError(msg, actual=str(path))
    return _Tiles(
        tiles,
        np.stack([tile.centre for tile in tiles]),
        np.array([tile.chord for tile in tiles]),
        faults,
    )


def _place(tile: Tile, position: SkyCoord) -> tuple[float, float] | None:
    """Pixel of a position, from 0; None outside of the tile.

    Raises
    ------
    CutoutUnavailableError
        The projection is stretched there.
    """
    try:
        x, y = (float(value) for value in tile.wcs.world_to_pixel(position))
    except Exception:  # noqa: BLE001 - astropy raises many kinds; not on this tile then
        return None
    height, width = tile.shape
    # The centre of the first pixel is 0, its edge half a pixel before.
    if not (0 <= x + 0.5 <= width and 0 <= y + 0.5 <= height):
        return None
    sky = tile.wcs.wcs_pix2world([[x, y], [x + 1, y], [x, y + 1]], 0)
    vectors = unit_vectors(sky[:, tile.wcs.wcs.lng], sky[:, tile.wcs.wcs.lat])
    steps = np.degrees(np.linalg.norm(vectors[1:] - vectors[0], axis=1)) * 3600
    ratios = np.array(tile.scale_arcsec) / steps
    if not ((ratios < _STRETCHED) & (ratios > 1 / _STRETCHED)).all():
        msg = (
            f"pixels of {tile.name} cover {steps[0]:.3g} x {steps[1]:.3g} arcsec about "
            f"the source and {tile.scale_arcsec[0]:.3g} x {tile.scale_arcsec[1]:.3g} "
            "by its header: its projection is stretched there; reproject the tile"
        )
        raise CutoutUnavailableError(msg, actual=tile.name)
    return x, y


def _depth(tile: Tile, place: tuple[float, float]) -> float:
    """Distance of a pixel from the nearest edge, arcsec."""
    sides = zip(place, tile.shape[::-1], tile.scale_arcsec, strict=True)
    return min((min(at, side - 1 - at) + 0.5) * scale for at, side, scale in sides)
