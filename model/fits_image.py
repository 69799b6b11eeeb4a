"""FITS images as cutouts: which HDU, which plane, which unit, which WCS."""

import io
import math
import warnings
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import NDArray

from twinjet.model.cutout import Beam, Cutout, check_shape
from twinjet.model.errors import (
    CutoutError,
    MalformedFitsError,
    NoImageError,
    TruncatedFileError,
)

_BLOCK = 2880

# Of HDUs looked at; a cutout has one or two.
_MAX_HDUS = 16

# BUNIT as surveys write it, without blanks and in lower case, to Jy/beam.
_JY_PER_BEAM = {
    "jy/beam": 1.0,
    "jy/bm": 1.0,
    "jybeam-1": 1.0,
    "jybeam^-1": 1.0,
    "jybeam**-1": 1.0,
    "beam-1jy": 1.0,
    "mjy/beam": 1e-3,
    "mjybeam-1": 1e-3,
    "mjybeam^-1": 1e-3,
    "beam-1mjy": 1e-3,
    "ujy/beam": 1e-6,
    "ujybeam-1": 1e-6,
    "µjy/beam": 1e-6,
}

# SIP polynomials cost the square of their order; real ones stop at 9.
_MAX_SIP_ORDER = 9


def read_fits(data: bytes, *, hdu: int | None = None) -> Cutout:
    """Read the image of a FITS file.

    Parameters
    ----------
    data
        The whole file, no longer gzipped.
    hdu
        Number of the HDU with the image; the first 2-D image when None.

    Raises
    ------
    MalformedFitsError, TruncatedFileError
        The file cannot be read.
    NoImageError
        No HDU, or not the one asked for, holds a 2-D image.
    ImageTooLargeError, ImageTooSmallError
        The sides are out of bounds; known before any pixel is decoded.
    """
    try:
        with warnings.catch_warnings():
            # Surveys' headers break many small rules: only pixels and WCS matter.
            warnings.simplefilter("ignore")
            with fits.open(io.BytesIO(data), memmap=False, lazy_load_hdus=True) as hdus:
                header, pixels = _find_image(hdus, hdu, len(data))
            wcs = _celestial_wcs(header)
    except CutoutError:
        raise
    except Exception as exc:
        # astropy raised ten unlike classes on hostile files (facts of 2026).
        msg = "the file begins as FITS and cannot be read"
        raise MalformedFitsError(msg) from exc
    return _cutout(header, pixels, wcs)


def _find_image(
    hdus: fits.HDUList, wanted: int | None, size: int
) -> tuple[fits.Header, NDArray[Any]]:
    """Header and 2-D array of the wanted HDU, or of the first that is an image."""
    seen: list[str] = []
    for number in range(_MAX_HDUS):
        try:
            hdu = hdus[number]
        except IndexError:
            break
        shape = _image_shape(hdu)
        seen.append(f"{number}: {type(hdu).__name__} {shape or 'no image'}")
        if (wanted is not None and number != wanted) or shape is None:
            continue
        check_shape(shape[-2], shape[-1])
        _check_length(hdu, size)
        return hdu.header, np.asarray(hdu.data).reshape(shape[-2:])
    asked = "no HDU" if wanted is None else f"HDU {wanted} is not there or does not"
    verb = "holds" if wanted is None else "hold"
    msg = f"{asked} {verb} a two-dimensional image; found: {'; '.join(seen) or 'none'}"
    raise NoImageError(msg)


def _image_shape(hdu: Any) -> tuple[int, int] | None:
    """Rows and columns of the HDU's image; None when it is not one.

    Axes of length 1 are degenerate (Stokes, frequency) wherever they stand; an
    image with more than two real axes is a cube and not a cutout.
    """
    if not getattr(hdu, "is_image", False):
        return None
    header = hdu.header
    lengths = [int(header[f"NAXIS{i}"]) for i in range(1, int(header["NAXIS"]) + 1)]
    real = [length for length in lengths if length != 1]
    if len(lengths) >= 2 and not real:  # noqa: PLR2004 - two axes
        return 1, 1
    if len(real) == 1 and len(lengths) >= 2:  # noqa: PLR2004
        return (1, real[0]) if lengths[0] != 1 else (real[0], 1)
    if len(real) != 2 or min(real) < 1:  # noqa: PLR2004
        return None
    return real[1], real[0]


def _check_length(hdu: Any, size: int) -> None:
    """Refuse a file that ends before the pixels its header promises."""
    info = hdu.fileinfo()
    if info is None:  # pragma: no cover - only for HDUs made in memory
        return
    if isinstance(hdu, fits.CompImageHDU):
        header = hdu._bintable.header if hasattr(hdu, "_bintable") else {}  # noqa: SLF001
        rows = int(header.get("NAXIS1", 0)) * int(header.get("NAXIS2", 0))
        needed = info["datLoc"] + rows + int(header.get("PCOUNT", 0))
    else:
        header = hdu.header
        lengths = (int(header[f"NAXIS{i}"]) for i in range(1, header["NAXIS"] + 1))
        needed = info["datLoc"] + math.prod(lengths) * abs(int(header["BITPIX"])) // 8
    if size < needed:
        msg = f"the file has {size} bytes; its header promises at least {needed}"
        raise TruncatedFileError(msg, limit=needed, actual=size)


def _celestial_wcs(header: fits.Header) -> WCS | None:
    """WCS of the sky axes; None when there is none or it cannot be understood."""
    orders = ("A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER")
    try:
        if any(int(header.get(name, 0)) > _MAX_SIP_ORDER for name in orders):
            return None
        wcs = WCS(header).celestial
        usable = wcs.naxis == 2 and wcs.has_celestial  # noqa: PLR2004
    except Exception:  # noqa: BLE001 - a WCS fault never costs the pixels
        return None
    return wcs if usable else None


def _cutout(header: fits.Header, pixels: NDArray[Any], wcs: WCS | None) -> Cutout:
    notes = []
    unit, factor = _unit(header)
    scale = _pixel_scale(wcs)
    if scale is None:
        wcs = None
        notes.append("no usable celestial WCS in the FITS header")
    if not np.issubdtype(pixels.dtype, np.number):
        msg = f"pixels of type {pixels.dtype} are not numbers"
        raise MalformedFitsError(msg)
    with np.errstate(over="ignore", invalid="ignore"):
        values = (pixels.astype(np.float64) * factor).astype(np.float32)
    values[~np.isfinite(values)] = np.nan
    return Cutout(
        pixels=values,
        unit=unit,
        wcs=wcs,
        beam=_beam(header),
        pixel_scale_arcsec=scale,
        notes=tuple(notes),
    )


def _unit(header: fits.Header) -> tuple[str | None, float]:
    """Normalised BUNIT and the factor that brings the pixels to it.

    `astropy.units` does not parse ``JY/BEAM``, which most of the archives write.
    """
    text = str(header.get("BUNIT", "")).strip()
    key = "".join(text.lower().split()).replace(".", "").replace("*b", "b")
    factor = _JY_PER_BEAM.get(key)
    if factor is None:
        return text or None, 1.0
    return "Jy/beam", factor


def _pixel_scale(wcs: WCS | None) -> tuple[float, float] | None:
    """Pixel size along x and y in arcsec; None when it makes no sense."""
    if wcs is None:
        return None
    try:
        x, y = (float(s) * 3600 for s in proj_plane_pixel_scales(wcs))
    except Exception:  # noqa: BLE001 - as in `_celestial_wcs`
        return None
    # From VLBI's milliarcsecond to a single dish's degree.
    sensible = all(math.isfinite(s) and 1e-4 < s < 3600 for s in (x, y))  # noqa: PLR2004
    return (x, y) if sensible else None


def _beam(header: fits.Header) -> Beam | None:
    """BMAJ, BMIN and BPA of the header, degrees to arcsec."""
    try:
        major, minor = float(header["BMAJ"]) * 3600, float(header["BMIN"]) * 3600
        pa_deg = float(header.get("BPA", 0.0))
    except (KeyError, TypeError, ValueError):
        return None
    if not (0 < minor <= major < math.inf and math.isfinite(pa_deg)):
        return None
    return Beam(major_arcsec=major, minor_arcsec=minor, pa_deg=pa_deg)
