"""PNG and JPEG pictures as cutouts.

A picture has been stretched for the eye and has no WCS: its pixels are not
brightness, and its scale is unknown unless the sender says it.
"""

import io
import re
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from twinjet.model.cutout import MAX_PIXELS, Cutout, check_shape
from twinjet.model.errors import (
    ImageTooLargeError,
    MalformedImageError,
    TruncatedFileError,
)

_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")

# Pillow's other plug-ins (FITS, EPS and the like) have no business here.
_FORMATS = ("PNG", "JPEG")


def is_picture(data: bytes) -> bool:
    """Whether the bytes begin as PNG or JPEG does."""
    return data.startswith(_MAGIC)


def read_picture(data: bytes) -> Cutout:
    """Decode a PNG or JPEG into a display cutout.

    Colours become luminance, transparency becomes NaN, and the rows are turned
    over, since the first row of a picture is the top and that of FITS the bottom.

    Raises
    ------
    MalformedImageError
        The bytes cannot be decoded.
    TruncatedFileError
        They end too early.
    ImageTooLargeError, ImageTooSmallError
        The sides are out of bounds; known before any pixel is decoded.
    """
    try:
        with warnings.catch_warnings():
            # Our own limit is lower than the one Pillow warns of, and comes next.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=_FORMATS)
        with picture:
            check_shape(picture.height, picture.width)
            pixels = _luminance(picture)
    except (UnidentifiedImageError, SyntaxError, ValueError) as exc:
        msg = "the file begins as PNG or JPEG and cannot be decoded"
        raise MalformedImageError(msg) from exc
    except Image.DecompressionBombError as exc:
        claimed = re.search(r"\d+", str(exc))
        actual = int(claimed[0]) if claimed else None
        msg = f"the picture claims {actual} pixels; at most {MAX_PIXELS}"
        raise ImageTooLargeError(msg, limit=MAX_PIXELS, actual=actual) from exc
    except (OSError, EOFError) as exc:
        msg = "the picture is truncated or damaged"
        raise TruncatedFileError(msg) from exc
    return Cutout(
        pixels=np.ascontiguousarray(pixels[::-1], dtype=np.float32),
        linear=False,
        notes=("a picture: its brightness scale is the one it was drawn with",),
    )


def _luminance(picture: Image.Image) -> np.ndarray:
    """Grey values as float32 (H, W), of 8 or 16 bits; NaN where transparent."""
    if picture.mode in {"I", "I;16", "I;16B", "F"}:
        return np.asarray(picture, dtype=np.float32)
    has_alpha = "A" in picture.getbands() or "transparency" in picture.info
    if not has_alpha:
        return np.asarray(picture.convert("L"), dtype=np.float32)
    grey, alpha = picture.convert("LA").split()
    pixels = np.asarray(grey, dtype=np.float32).copy()
    pixels[np.asarray(alpha) == 0] = np.nan
    return pixels
