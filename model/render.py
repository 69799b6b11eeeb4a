"""Pixels to PNG, for people to look at."""

import io
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twinjet.model.cutout import Cutout
from twinjet.model.preprocess import sky_and_noise

Stretch = Literal["asinh", "linear", "log", "sqrt"]

# Of the asinh and log stretches: where they turn from linear, as a part of the peak.
_SOFTENING = 0.03

# Black is this many standard deviations above the sky: a stretch that shows faint
# lobes would else show little but the grain of the noise.
_BLACK_SIGMA = 1.5


def render_png(
    cutout: Cutout,
    *,
    size_px: int = 256,
    stretch: Stretch = "asinh",
    field_arcsec: float | None = None,
) -> bytes:
    """Draw a cutout as an 8-bit grey PNG, the first row of pixels at the bottom.

    Parameters
    ----------
    cutout
        Pixels (H, W); NaN is drawn black.
    size_px
        Side of the square picture.
    stretch
        Of the brightness; pictures are drawn as they are.
    field_arcsec
        Side of the part around the centre that is drawn; all of it when None or
        when the cutout has no pixel scale.
    """
    pixels = _crop(cutout, field_arcsec)
    shown = _stretched(pixels, stretch) if cutout.linear else _levels(pixels)
    return _png(shown, size_px)


def render_input(image: NDArray[np.float32], *, size_px: int = 256) -> bytes:
    """Draw what the encoder sees: (S, S), 0 to 1, as `Preprocess` made it."""
    return _png(image, size_px)


def _crop(cutout: Cutout, field_arcsec: float | None) -> NDArray[np.float32]:
    """The square field around the centre; what is not in the image is NaN."""
    height, width = cutout.pixels.shape
    side_x = side_y = max(height, width)
    if field_arcsec is not None and cutout.pixel_scale_arcsec is not None:
        side_x, side_y = (
            # No picture gains from more than the whole image four times over.
            max(1, min(4 * side_x, round(field_arcsec / scale)))
            for scale in cutout.pixel_scale_arcsec
        )
    field = np.full((side_y, side_x), np.nan, np.float32)
    into_y, from_y = _overlap(side_y, height)
    into_x, from_x = _overlap(side_x, width)
    field[into_y, into_x] = cutout.pixels[from_y, from_x]
    return field


def _overlap(side: int, length: int) -> tuple[slice, slice]:
    """Where two centred axes overlap, in the first and in the second."""
    common = min(side, length)
    first, second = (side - common) // 2, (length - common) // 2
    return slice(first, first + common), slice(second, second + common)


def _stretched(pixels: NDArray[np.float32], stretch: Stretch) -> NDArray[np.float32]:
    sky, noise = sky_and_noise(pixels)
    black = sky + _BLACK_SIGMA * noise
    values = np.nan_to_num(pixels.astype(np.float64), nan=black)
    span = values.max() - black
    unit = np.clip((values - black) / (span if span > 0 else 1.0), 0, 1)
    if stretch == "asinh":
        unit = np.arcsinh(unit / _SOFTENING) / np.arcsinh(1 / _SOFTENING)
    elif stretch == "log":
        unit = np.log1p(unit / _SOFTENING) / np.log1p(1 / _SOFTENING)
    elif stretch == "sqrt":
        unit = np.sqrt(unit)
    shown: NDArray[np.float32] = unit.astype(np.float32)
    return shown


def _levels(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """A picture's own greys, brought to 0 to 1."""
    least, most = float(np.nanmin(pixels)), float(np.nanmax(pixels))
    span = most - least
    unit = (pixels - least) / (span if span > 0 else 1.0)
    greys: NDArray[np.float32] = np.nan_to_num(unit, nan=0.0).astype(np.float32)
    return greys


def _png(unit: NDArray[np.float32], size_px: int) -> bytes:
    """Greys 0 to 1, first row at the bottom, as a square PNG."""
    greys = np.round(unit[::-1] * 255).astype(np.uint8)
    picture = Image.fromarray(greys).resize(
        (size_px, size_px), Image.Resampling.BICUBIC
    )
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=3)
    return file.getvalue()
