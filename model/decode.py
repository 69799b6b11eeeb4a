"""The bytes of a file to a `Cutout`.

`read_cutout` goes by the first bytes of a file, never by its name, and hands
FITS to `twinjet.model.fits_image` and pictures to `twinjet.model.picture`.
"""

import zlib
from dataclasses import replace
from pathlib import Path

from twinjet.model.cutout import Cutout, check_pixels
from twinjet.model.errors import (
    DecompressionLimitError,
    EmptyFileError,
    ImageTooLargeError,
    MalformedFitsError,
    TruncatedFileError,
    UnsupportedFormatError,
)
from twinjet.model.fits_image import read_fits
from twinjet.model.picture import is_picture, read_picture

# A file as it is sent. Cutouts are below 1 MB; 16 MiB is a 2048 x 2048 float32.
MAX_FILE_BYTES = 16 * 2**20

# After gzip is undone. Four times the above, so that a bomb stays small.
MAX_UNPACKED_BYTES = 64 * 2**20


def read_cutout(
    source: bytes | Path,
    *,
    pixel_scale_arcsec: float | None = None,
    hdu: int | None = None,
) -> Cutout:
    """Read a cutout from the bytes or the path of a file.

    FITS (plain, gzip, tile-compressed, the image in any HDU, degenerate axes,
    scaled integers), PNG and JPEG.

    Parameters
    ----------
    source
        The bytes, or the path, of the file.
    pixel_scale_arcsec
        Pixel size for a file that has no WCS of its own.
    hdu
        Number of the HDU that holds the image; chosen as `read_fits` says when None.

    Raises
    ------
    CutoutError
        One of its kinds, which see: the file is empty, of another format,
        damaged, truncated, too large, too small, ambiguous, or without usable pixels.
    """
    data = _bytes_of(source)
    if data[:2] == b"\x1f\x8b":
        data = _gunzip(data)
    if data[:6] == b"SIMPLE":
        cutout = read_fits(data, hdu=hdu)
    elif is_picture(data):
        cutout = read_picture(data)
    else:
        msg = (
            "the file is neither FITS nor PNG nor JPEG: it begins with "
            f"{data[:8]!r}; send one of these (FITS may be gzipped)"
        )
        raise UnsupportedFormatError(msg)
    check_pixels(cutout.pixels)
    if pixel_scale_arcsec is not None and cutout.pixel_scale_arcsec is None:
        scale = (pixel_scale_arcsec, pixel_scale_arcsec)
        cutout = replace(cutout, pixel_scale_arcsec=scale)
    return cutout


def _bytes_of(source: bytes | Path) -> bytes:
    if isinstance(source, bytes):
        data = source
    else:
        with source.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    if not data:
        msg = "the file is empty (0 bytes)"
        raise EmptyFileError(msg, actual=0)
    if len(data) > MAX_FILE_BYTES:
        msg = f"the file is larger than {MAX_FILE_BYTES} bytes; send a smaller cutout"
        raise ImageTooLargeError(msg, limit=MAX_FILE_BYTES, actual=len(data))
    return data


def _gunzip(data: bytes) -> bytes:
    """Undo one layer of gzip, at most `MAX_UNPACKED_BYTES` long."""
    unzip = zlib.decompressobj(wbits=31)
    try:
        unpacked = unzip.decompress(data, MAX_UNPACKED_BYTES + 1)
    except zlib.error as exc:
        msg = f"the gzip layer is damaged: {exc}"
        raise MalformedFitsError(msg) from exc
    if len(unpacked) > MAX_UNPACKED_BYTES:
        msg = f"the file unpacks to more than {MAX_UNPACKED_BYTES} bytes"
        raise DecompressionLimitError(
            msg, limit=MAX_UNPACKED_BYTES, actual=len(unpacked)
        )
    if not unzip.eof:
        msg = f"the gzip layer ends early, after {len(unpacked)} unpacked bytes"
        raise TruncatedFileError(msg, actual=len(unpacked))
    if not unpacked:
        msg = "the file inside the gzip layer is empty (0 bytes)"
        raise EmptyFileError(msg, actual=0)
    if unzip.unused_data.startswith(b"\x1f\x8b"):
        msg = "the gzip layer has several members; compress the file as one"
        raise MalformedFitsError(msg, limit=1)
    return unpacked
