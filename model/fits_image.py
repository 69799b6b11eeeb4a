"""FITS images as cutouts: which HDU, which plane, which unit, which WCS."""

import io
import math
import re
import warnings
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import NDArray

from twinjet.model.cutout import Beam, Cutout, check_shape
from twinjet.model.errors import (
    MalformedFitsError,
    UnsupportedPixelsError,
)
from twinjet.model.fits_choice import chosen_image, image_shape, is_compressed
from twinjet.model.fits_headers import BLOCK, HeaderBlock, value_cards, walk
from twinjet.model.fits_tiles import check_tiles

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

# Of the source of wcslib, before its own words.
_PLACE = re.compile(r"ERROR \d+ in \w+\(\) at line \d+ of file \S+: ?")

# Beyond it there is no pixel and no degree.
_MOST = 1e15

# Of the angle between the axes of an image.
_LEAST_SINE = 1e-3

# wcslib allocates the square of it; as many axes as an image may have, and some.
_MAX_WCS_AXES = 9

# Cards of the WCS that are numbers.
_NUMBERS = re.compile(
    r"CRVAL[1-9]|CRPIX[1-9]|CDELT[1-9]|CROTA[1-9]|(PC|CD)[1-9]_[1-9]|PC00[1-9]00[1-9]"
    r"|PV[1-9]_\d{1,2}|LONPOLE|LATPOLE|[AB]P?_\d_\d"
)

# What is read of a header: brightness, beam, and the WCS without its alternates.
_CARDS = re.compile(
    r"BUNIT|BSCALE|BZERO|BLANK|BMAJ|BMIN|BPA|WCSAXES|CTYPE[1-9]|CUNIT[1-9]"
    r"|PS[1-9]_\d{1,2}|EQUINOX|EPOCH|RADESYS|RADECSYS|DATE-OBS|MJD-OBS|RESTFRQ"
    rf"|RESTFREQ|RESTWAV|SPECSYS|VELREF|[AB]P?_ORDER|{_NUMBERS.pattern}"
)

# Of a tile-compressed image besides.
_TILE_CARDS = re.compile(
    r"(TTYPE|TFORM|TZERO|TSCAL|TNULL|TDIM|TUNIT)\d{1,2}|THEAP|ZIMAGE|ZTENSION|ZSIMPLE"
    r"|ZCMPTYPE|ZBITPIX|ZNAXIS\d?|ZTILE\d|ZPCOUNT|ZGCOUNT|Z(NAME|VAL)\d{1,2}|ZSCALE"
    r"|ZZERO|ZBLANK|ZQUANTIZ|ZDITHER0|ZMASKCMP"
)


def read_fits(data: bytes, *, hdu: int | None = None) -> Cutout:
    """Read the image of a FITS file.

    Without `hdu` it is that of the primary HDU; else that of the only extension
    which has one and is no weight, noise or mask of another.

    Parameters
    ----------
    data
        The whole file, no longer gzipped.
    hdu
        Number of the HDU with the image.

    Raises
    ------
    MalformedFitsError, TruncatedFileError, TooManyHdusError
        The file cannot be read.
    NoImageError
        No HDU, or not the one asked for, holds a 2-D image.
    AmbiguousImageError
        Several extensions hold one.
    DecompressionLimitError
        A compressed image unpacks to more than its header says.
    ImageTooLargeError, ImageTooSmallError, UnsupportedPixelsError
        Sides or numbers are out of bounds; known before any pixel is decoded.
    """
    blocks = walk(data)
    block, notes = chosen_image(blocks, hdu)
    shape = image_shape(block)
    assert shape is not None  # noqa: S101 - for the type checker: chosen for having one
    check_shape(*shape)
    if block.trouble is not None:
        raise block.trouble
    _check_scaling(block)
    if is_compressed(block):
        check_tiles(block, data)
    header, pixels, (wcs, fault) = _decoded(block, data, shape)
    if {"CPDIS1", "CPDIS2", "D2IMDIS1"} & block.cards.keys():
        notes.append("distortion tables of the WCS are not applied")
    return _cutout(header, pixels, wcs, fault, notes)


def _decoded(
    block: HeaderBlock, data: bytes, shape: tuple[int, int]
) -> tuple[fits.Header, NDArray[Any], tuple[WCS | None, str]]:
    """Header, pixels and WCS. A function of its own lets go of its copies early."""
    try:
        with warnings.catch_warnings():
            # Surveys' headers break many small rules: only pixels and WCS matter.
            warnings.simplefilter("ignore")
            if _is_plain(block):
                # As it stands in the file, without the three copies of a reader.
                header = fits.Header.fromstring(_headers(block))
                kind = np.dtype(f">f{-block.bitpix() // 8}")
                count = shape[0] * shape[1]
                pixels = np.frombuffer(data, kind, count, block.data_start)
                return header, pixels.reshape(shape), _celestial_wcs(header)
            # As unsigned integers, BLANK would be passed over.
            with fits.open(
                io.BytesIO(_alone(block, data)), memmap=False, uint=False
            ) as hdus:
                image = hdus[1 if is_compressed(block) else 0]
                header, pixels = image.header, np.asarray(image.data).reshape(shape)
            return header, pixels, _celestial_wcs(header)
    except MemoryError:
        raise  # what was too little is not the file's
    except Exception as exc:
        # astropy raised ten unlike classes on hostile files (facts of 2026).
        msg = f"the image of HDU {block.number} cannot be decoded"
        raise MalformedFitsError(msg) from exc


def _check_scaling(block: HeaderBlock) -> None:
    """Refuse pixels whose brightness the header leaves unknown."""
    for name in ("BSCALE", "BZERO"):
        text = block.text(name)
        try:
            known = text is None or math.isfinite(float(text.upper().replace("D", "E")))
        except ValueError:
            known = False
        if not known or block.is_quoted(name):
            msg = f"{name} of HDU {block.number} is {str(text)[:30]!r}, not a number"
            raise MalformedFitsError(msg, actual=str(text)[:30])
        if text is not None:
            _check_range(block, name, abs(float(text.upper().replace("D", "E"))))
    if block.bitpix() > 0 and not is_compressed(block):
        block.integer("BLANK", 0)  # else it would be passed over


def _check_range(block: HeaderBlock, name: str, size: float) -> None:
    """Refuse a scale or a zero that makes numbers which float32 does not have."""
    limits = np.finfo(np.float32)
    most = float(limits.max)
    if name == "BSCALE" and block.bitpix() > 0 and not is_compressed(block):
        most /= 2.0 ** (block.bitpix() - 1)
    least = float(limits.tiny)
    if size > most or (name == "BSCALE" and 0 < size < least):
        msg = f"with {name} of HDU {block.number}, {size:g}, pixels do not fit 32-bit "
        msg += f"floating point; it may be {least:g} to {most:g}"
        limit = most if size > most else least
        raise UnsupportedPixelsError(msg, limit=limit, actual=size)


def _is_plain(block: HeaderBlock) -> bool:
    """Whether the pixels are floating point without a scale."""
    scaled = {"BSCALE", "BZERO"} & block.cards.keys()
    return not (is_compressed(block) or scaled) and block.bitpix() < 0


def _alone(block: HeaderBlock, data: bytes) -> bytes:
    """A FITS file of this HDU alone."""
    end = block.data_start + block.data_bytes
    pixels = memoryview(data)[block.data_start : end]
    return b"".join([_headers(block), pixels, bytes(-len(pixels) % BLOCK)])


def _headers(block: HeaderBlock) -> bytes:
    """Header of a FITS file of this HDU alone, of what was checked.

    astropy meets no other HDU, no history, no keyword that is not known here.
    """
    names = [f"NAXIS{axis}" for axis in range(1, block.integer("NAXIS") + 1)]
    sizes = [_card(name, block.integer(name)) for name in ("BITPIX", "NAXIS", *names)]
    if is_compressed(block):
        empty = [_card("SIMPLE", "T"), _card("BITPIX", 8), _card("NAXIS", 0)]
        first = _header(empty)
        cards = ["XTENSION= 'BINTABLE'".ljust(80), *sizes]
        counts = ("PCOUNT", "GCOUNT", "TFIELDS")
        cards += [_card(name, block.integer(name, 1)) for name in counts]
        cards += value_cards(block, _TILE_CARDS)
    else:
        first = b""
        cards = [_card("SIMPLE", "T"), *sizes]
    cards += value_cards(block, _CARDS)
    return first + _header(cards)


def _card(keyword: str, value: int | str) -> str:
    return f"{keyword:8}= {value:>20}".ljust(80)


def _header(cards: list[str]) -> bytes:
    text = "".join([*cards, "END".ljust(80)])
    return text.ljust(-(-len(text) // BLOCK) * BLOCK).encode("ascii")


def _celestial_wcs(header: fits.Header) -> tuple[WCS | None, str]:
    """WCS of the sky axes, or None and why there is none that can be used."""
    try:
        fault = _fault_of(header)
        if fault is not None:
            return None, fault
        wcs = WCS(header).celestial
        if wcs.naxis == 2 and wcs.has_celestial:  # noqa: PLR2004
            return wcs, ""
    except Exception as exc:  # noqa: BLE001 - a WCS fault never costs the pixels
        words = _PLACE.sub("", " ".join(str(exc).split()))[:120]
        return None, "".join(filter(str.isprintable, words)) or type(exc).__name__
    if "CTYPE1" not in header and "CTYPE2" not in header:
        return None, "it has no CTYPE1 and CTYPE2"
    return None, "its axes are not those of the sky"


def _fault_of(header: fits.Header) -> str | None:
    """What a WCS is not to be made of, for it would cost much or mean nothing."""
    limits = dict.fromkeys(
        ("A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER"), _MAX_SIP_ORDER
    )
    limits["WCSAXES"] = _MAX_WCS_AXES
    for name, limit in limits.items():
        value = int(header.get(name, 0))
        if not 0 <= value <= limit:
            return f"{name} is {value}; it may be 0 to {limit}"
    for name in filter(_NUMBERS.fullmatch, header):
        value = header[name]
        if type(value) not in {int, float} or not abs(value) < _MOST:
            return f"{name} is {str(value)[:30]!r}, no sensible number"
    if any("-TAB" in str(header.get(f"CTYPE{axis}", "")) for axis in range(1, 10)):
        return "its positions are in a table (-TAB), which is not read"
    return None


def _cutout(
    header: fits.Header,
    pixels: NDArray[Any],
    wcs: WCS | None,
    fault: str,
    notes: list[str],
) -> Cutout:
    unit, factor = _unit(header, notes)
    beam = _beam(header, notes)
    scale = _pixel_scale(wcs)
    if scale is None:
        wcs = None
        fault = fault or "its pixel scale makes no sense"
        notes.append(f"no usable celestial WCS in the FITS header: {fault}")
    return Cutout(
        pixels=_as_float32(pixels, factor),
        unit=unit,
        wcs=wcs,
        beam=beam,
        pixel_scale_arcsec=scale,
        notes=tuple(notes),
    )


def _as_float32(pixels: NDArray[Any], factor: float) -> NDArray[np.float32]:
    """Pixels times a factor; NaN for what is not finite. By rows, to save memory."""
    values = np.empty(pixels.shape, np.float32)
    lost, largest, least = 0, 0.0, math.inf
    step = max(1, 2**18 // pixels.shape[1])
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for row in range(0, len(pixels), step):
            some = pixels[row : row + step].astype(np.float64) * factor
            small = some.astype(np.float32)
            changed = np.isfinite(some) & (
                ~np.isfinite(small) | ((small == 0) & (some != 0))
            )
            if changed.any():
                lost += int(changed.sum())
                sizes = np.abs(some[changed])
                largest = max(largest, float(sizes.max()))
                least = min(least, float(sizes.min()))
            small[~np.isfinite(small)] = np.nan
            values[row : row + step] = small
    if lost > pixels.size / 2:
        limits = np.finfo(np.float32)
        high = largest > float(limits.max)
        msg = (
            f"{lost} of {pixels.size} pixels do not fit 32-bit floating point: "
            f"they have sizes of {least:g} to {largest:g}"
        )
        limit = float(limits.max if high else limits.tiny)
        raise UnsupportedPixelsError(
            msg, limit=limit, actual=largest if high else least
        )
    return values


def _optional(
    header: fits.Header, name: str, notes: list[str], *, default: Any = None
) -> Any:
    """Of a card without which there is an answer; None when it cannot be read."""
    try:
        return header.get(name, default)
    except fits.VerifyError:
        notes.append(f"{name} of the FITS header cannot be read")
        return None


def _unit(header: fits.Header, notes: list[str]) -> tuple[str | None, float]:
    """Normalised BUNIT and the factor that brings the pixels to it.

    `astropy.units` does not parse ``JY/BEAM``, which most of the archives write.
    """
    value = _optional(header, "BUNIT", notes)
    text = value.strip() if isinstance(value, str) else ""
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
        with np.errstate(all="ignore"):
            x, y = (float(s) * 3600 for s in proj_plane_pixel_scales(wcs))
        area = abs(float(np.linalg.det(wcs.pixel_scale_matrix))) * 3600**2
    except Exception:  # noqa: BLE001 - as in `_celestial_wcs`
        return None
    # From VLBI's milliarcsecond to a single dish's degree.
    sensible = all(math.isfinite(s) and 1e-4 < s < 3600 for s in (x, y))  # noqa: PLR2004
    # Axes that run along each other leave most of the sky without a pixel.
    return (x, y) if sensible and area > _LEAST_SINE * x * y else None


def _beam(header: fits.Header, notes: list[str]) -> Beam | None:
    """BMAJ, BMIN and BPA of the header, degrees to arcsec."""
    try:
        major, minor = (float(_optional(header, x, notes)) for x in ("BMAJ", "BMIN"))
        pa_deg = float(_optional(header, "BPA", notes, default=0.0))
    except (TypeError, ValueError):
        return None
    major, minor = 3600 * major, 3600 * minor
    if not (0 < minor <= major < math.inf and math.isfinite(pa_deg)):
        return None
    return Beam(major_arcsec=major, minor_arcsec=minor, pa_deg=pa_deg)
