"""A cutout: the pixels of one source and what is known of them.

`twinjet.model.decode.read_cutout` makes one of a file.
"""

from dataclasses import dataclass

import numpy as np
from astropy.coordinates import SkyCoord, angular_separation
from astropy.wcs import WCS
from numpy.typing import NDArray

from twinjet.model.errors import (
    ImageTooLargeError,
    ImageTooSmallError,
    NoUsablePixelsError,
)

# 16 Mpx float32 are 64 MiB.
MAX_PIXELS = 16 * 2**20

# The field of the shipped encoders, 144 arcsec, has 23 pixels in TGSS. In fewer than
# these there is not even a beam of sky around a source.
MIN_SIDE_PX = 16

# A cutout at the edge of a survey keeps its meaning down to about half.
MIN_FINITE_FRACTION = 0.5

# Of the frames that are brought to ICRS.
_LONGITUDES = ("RA", "GLON")


@dataclass(frozen=True)
class Beam:
    """The restoring beam, full width at half maximum."""

    major_arcsec: float
    """Major axis."""
    minor_arcsec: float
    """Minor axis."""
    pa_deg: float
    """Position angle, north through east."""


@dataclass(frozen=True)
class Cutout:
    """Pixels with celestial WCS, beam and pixel scale."""

    pixels: NDArray[np.float32]
    """Shape (H, W), float32, row 0 at the bottom as in FITS; NaN where blank."""
    linear: bool = True
    """Whether pixel values are proportional to brightness: not so for a picture."""
    unit: str | None = None
    """Brightness unit: ``"Jy/beam"`` wherever it could be brought to it."""
    wcs: WCS | None = None
    """Celestial WCS of `pixels`."""
    beam: Beam | None = None
    """Restoring beam."""
    pixel_scale_arcsec: tuple[float, float] | None = None
    """Pixel size along x and along y."""
    notes: tuple[str, ...] = ()
    """What a user should know of how the file was read."""

    def centre(self) -> SkyCoord | None:
        """Sky position of the centre of the image, ICRS; None without a WCS.

        Nor is there one where the WCS is of other frames than RA/Dec and Galactic, as
        of the ecliptic, which would be taken for ICRS.
        """
        if self.wcs is None or self.wcs.wcs.lngtyp.strip() not in _LONGITUDES:
            return None
        height, width = self.pixels.shape
        try:
            where = self.wcs.pixel_to_world((width - 1) / 2, (height - 1) / 2)
            coord: SkyCoord = where.icrs
        except Exception:  # noqa: BLE001 - astropy raises many kinds; no position then
            return None
        ok = bool(np.isfinite(coord.ra.deg) and np.isfinite(coord.dec.deg))
        return coord if ok else None

    def arcsec_from_centre(self, ra: float, dec: float) -> float | None:
        """Distance of an ICRS position in degrees from the image centre, arcsec.

        None without a WCS. FK5 of J2000 counts as ICRS, to 0.03 arcsec.
        """
        if self.wcs is None:
            return None
        axes = self.wcs.wcs
        plain = axes.radesys == "ICRS" or (
            axes.radesys == "FK5" and axes.equinox == 2000.0  # noqa: PLR2004 - J2000
        )
        if not (plain and axes.lngtyp == "RA" and axes.lattyp == "DEC"):
            centre = self.centre()
            there = SkyCoord(ra, dec, unit="deg")
            return None if centre is None else float(centre.separation(there).arcsec)
        # By hand, for the frames of astropy take as long as a tenth of the encoder.
        height, width = self.pixels.shape
        try:
            lon, lat = self.wcs.pixel_to_world_values((width - 1) / 2, (height - 1) / 2)
        except Exception:  # noqa: BLE001 - as in `centre`
            return None
        apart = angular_separation(*np.radians([lon, lat, ra, dec]))
        return float(np.degrees(apart)) * 3600 if np.isfinite(apart) else None

    def offset_of(self, ra: float, dec: float) -> tuple[float, float] | None:
        """Pixel offset (dx, dy) of an ICRS position in degrees from the centre.

        None when there is no WCS or the position is not in the image.
        """
        if self.wcs is None:
            return None
        height, width = self.pixels.shape
        try:
            x, y = self.wcs.world_to_pixel(SkyCoord(ra, dec, unit="deg"))
        except Exception:  # noqa: BLE001 - as in `centre`
            return None
        dx, dy = float(x) - (width - 1) / 2, float(y) - (height - 1) / 2
        inside = abs(dx) <= width / 2 and abs(dy) <= height / 2
        return (dx, dy) if inside else None


def check_shape(height: int, width: int) -> None:
    """Refuse an image whose sides are out of bounds, before it is decoded."""
    if height * width > MAX_PIXELS:
        msg = f"the image has {width} x {height} pixels; at most {MAX_PIXELS} in all"
        raise ImageTooLargeError(msg, limit=MAX_PIXELS, actual=height * width)
    if min(height, width) < MIN_SIDE_PX:
        msg = (
            f"the image is {width} x {height} pixels; "
            f"each side must be at least {MIN_SIDE_PX}"
        )
        raise ImageTooSmallError(msg, limit=MIN_SIDE_PX, actual=min(height, width))


def check_pixels(pixels: NDArray[np.float32]) -> None:
    """Refuse pixels that hold nothing to look at.

    Raises
    ------
    NoUsablePixelsError
        Fewer than half of the pixels are finite, or all of them are the same.
    """
    finite = np.isfinite(pixels)
    fraction = float(finite.mean())
    if fraction < MIN_FINITE_FRACTION:
        msg = (
            f"only {100 * fraction:.1f} % of the pixels are finite numbers; "
            f"at least {100 * MIN_FINITE_FRACTION:.0f} % must be"
        )
        raise NoUsablePixelsError(msg, limit=MIN_FINITE_FRACTION, actual=fraction)
    least = float(pixels.min(where=finite, initial=np.inf))
    if least == float(pixels.max(where=finite, initial=-np.inf)):
        msg = f"every pixel has the same value, {least:g}: there is no source"
        raise NoUsablePixelsError(msg, actual=least)
