"""From a cutout to the encoder's input: one frozen recipe.

The same object serves training, indexing and querying; it is stored with the
encoder's weights and is part of the encoder's identity.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from twinjet.model.cutout import Cutout
from twinjet.model.errors import EncoderFileError, NoUsablePixelsError

# 1 / Phi^-1(3/4): standard deviation of Gaussian noise over its median
# absolute deviation.
_SIGMA_PER_MAD = 1.482602218505602

# Of a unit normal distribution cut at 3: sqrt(1 - 6 phi(3) / (2 Phi(3) - 1)).
_STD_WITHIN_3_SIGMA = 0.986578

# On a sky both estimates agree within 2 %; far sources of a field make the mean one
# larger.
_MOST_OVER_ROBUST = 1.1

# Of the border, that is padded at least if any of it is: a strip of 3 px at one side of
# 150 is a quarter, corners of a turn by 2 degrees are half.
_PADDED_BORDER = 0.05

# Sources are a few per cent of a cutout: three rounds settle the estimate.
_CLIP_ROUNDS = 3

# 2048 x 2048, and no cutout of a survey has as many: the level of the sky is known to
# 1/2000 of its noise then, and sorting 16 Mpx would take 400 MiB and seconds.
_MOST_SKY_PIXELS = 2**22

# Difference of the two second moments over their sum below which a source is round:
# then its axis would be that of the rounding errors.
_ROUND = 1e-3


def _middle(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Three by three pixels, or four where there is none at the centre."""
    rows, columns = ((side // 2 - 1, (side + 1) // 2 + 1) for side in pixels.shape)
    return pixels[slice(*rows), slice(*columns)]


@dataclass(frozen=True)
class Prepared:
    """The encoder's input and what a user should know of it."""

    image: NDArray[np.float32]
    """Shape (S, S), float32, 0 (sky) to 1 (brightest pixel of the field)."""
    noise: float
    """Standard deviation of the sky, in the cutout's unit; 0 when there is none."""
    peak_snr: float
    """Brightest pixel of the field over the noise; infinite without noise."""
    notes: tuple[str, ...]
    """In words: scale assumed, field not covered."""


@dataclass(frozen=True)
class Preprocess:
    """Centre, resample, clip at the noise, stretch; always the same shape.

    Attributes
    ----------
    size_px
        Side of the square input.
    pixel_scale_arcsec
        Its pixel size; cutouts are resampled to it by their WCS.
    clip_sigma
        Pixels below this many standard deviations of the sky become 0, after
        Slijepcevic et al. (2023, arXiv:2305.16127), who clip at 3.
    softening
        Of the asinh stretch of Lupton et al. (1999, AJ 118, 1406), as a part of
        the peak; 0 leaves the image linear, as in the paper.
    upright
        Whether the field is turned until the long axis of what stands out of the
        noise lies along x, so that a source observed at any position angle gives the
        same image, up to half turns and mirrors.
    """

    size_px: int = 80
    pixel_scale_arcsec: float = 1.8
    clip_sigma: float = 3.0
    softening: float = 0.1
    upright: bool = False

    def __call__(
        self,
        cutout: Cutout,
        *,
        offset_px: tuple[float, float] = (0.0, 0.0),
        margin_px: int = 0,
    ) -> Prepared:
        """Prepare one cutout.

        Parameters
        ----------
        cutout
            Pixels (H, W); NaN counts as sky. Without a pixel scale it is taken at
            this recipe's, and the notes say so. A picture is not stretched again.
        offset_px
            Where the source is, in cutout pixels (x, y) from the image centre.
        margin_px
            Extra pixels on each side, for training views that turn the image, which
            is then left as it lies even when the recipe is upright.

        Returns
        -------
        Prepared
            Image (size_px + 2 margin_px) square; 1 is the brightest pixel of the
            inner field.

        Raises
        ------
        NoUsablePixelsError
            Nothing in the field stands out of the noise.

        Examples
        --------
        >>> import numpy as np
        >>> pixels = np.zeros((100, 100), np.float32)
        >>> pixels[48:52, 48:52] = 1
        >>> Preprocess(size_px=8)(Cutout(pixels)).image.sum()
        np.float32(16.0)
        """
        notes = []
        scale = cutout.pixel_scale_arcsec
        if scale is None:
            scale = (self.pixel_scale_arcsec, self.pixel_scale_arcsec)
            notes.append(
                f"no pixel scale: taken at {self.pixel_scale_arcsec:g} arcsec per pixel"
            )
        sky, noise = sky_and_noise(cutout.pixels)
        upright = self.upright and not margin_px
        margin = margin_for(self.size_px) if upright else margin_px
        side = self.size_px + 2 * margin
        height, width = cutout.pixels.shape
        ratio_x, ratio_y = (self.pixel_scale_arcsec / s for s in scale)
        along_y = _Taps.of(height, side, ratio_y, offset_px[1])
        along_x = _Taps.of(width, side, ratio_x, offset_px[0])
        # Only what is seen: of a large image all of it would be 128 MiB.
        pixels = cutout.pixels[along_y.used, along_x.used].astype(np.float64)
        if not np.isfinite(_middle(pixels)).any():
            notes.append("the pixels at the centre of the image have no values")
        pixels -= sky
        np.nan_to_num(pixels, copy=False, nan=0.0)
        image = along_x.sum(along_y.sum(pixels).T).T  # (side, side)
        inner = image[margin : side - margin, margin : side - margin]
        peak = float(inner.max())
        threshold = self.clip_sigma * noise
        if not cutout.linear:
            # A picture is cut at white, often below 3 sigma of its visible noise.
            threshold = min(threshold, peak / 2)
        if peak <= max(threshold, 0.0):
            field = self.size_px * self.pixel_scale_arcsec
            msg = (
                f"nothing stands out of the noise: the brightest pixel of the central "
                f"{field:.0f} arcsec is {peak / noise if noise else 0:.1f} times the "
                f"noise; it must be above {self.clip_sigma:g}"
            )
            actual = peak / noise if noise else 0.0
            raise NoUsablePixelsError(msg, limit=self.clip_sigma, actual=actual)
        covered = min(width / ratio_x, height / ratio_y) / self.size_px
        if covered < 0.5:  # noqa: PLR2004 - half: then the sky around is missing
            notes.append(
                f"the image covers only {100 * covered:.0f} % of the field that the "
                f"encoder sees, {self.size_px * self.pixel_scale_arcsec:.0f} arcsec"
            )
        snr = peak / noise if noise > 0 else math.inf
        if upright:
            light = np.maximum(image - threshold, 0.0)
            turned = turned_upright(image, light, self.size_px)
            # A lone pixel barely above the noise may sink between the new pixels.
            image = turned if turned.max() > threshold else inner
            peak = float(image.max())
        image = np.clip((image - threshold) / (peak - threshold), 0.0, 1.0)
        if cutout.linear and self.softening > 0:
            image = np.arcsinh(image / self.softening) / math.asinh(1 / self.softening)
        return Prepared(
            image=image.astype(np.float32),
            noise=noise,
            peak_snr=snr,
            notes=tuple(notes),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the encoder card."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Inverse of `to_dict`.

        Raises
        ------
        EncoderFileError
            A field is missing or unknown: the recipe is of another version.
        """
        try:
            return cls(**data)
        except TypeError as exc:
            msg = f"not a recipe of this version of Twinjet: {sorted(data)}"
            raise EncoderFileError(msg) from exc


def margin_for(size_px: int) -> int:
    """Margin with which any rotation stays within the image.

    Examples
    --------
    >>> margin_for(80)
    17
    """
    return math.ceil(size_px * (math.sqrt(2) - 1) / 2)


def turned_upright(
    image: NDArray[np.floating], light: NDArray[np.floating], size_px: int
) -> NDArray[np.float64]:
    """The middle of an image, turned until its light's long axis lies along x.

    The axis is that of the second moments about the centroid, within the circle that
    every rotation keeps (Stobie 1980, SPIE 264, 208, eq. 7). Cubic splines, of the
    unclipped image: turned by any angle 0.98 of the ten neighbours of a source stay
    (`benchmarks/results/quality.md`).

    Parameters
    ----------
    image
        Shape (P, P), with the margin of `margin_for` around `size_px`.
    light
        Shape (P, P): what stands out of the noise, 0 elsewhere.
    size_px
        Side of the result.

    Returns
    -------
    ndarray
        Shape (size_px, size_px).

    Examples
    --------
    >>> image = np.zeros((17, 17))
    >>> image[np.arange(4, 13), np.arange(4, 13)] = 1.0
    >>> lying = turned_upright(image, image, 11)
    >>> bool(lying[5].sum() > 0.8 * lying.sum())
    True
    """
    angle = _axis(_disc(light, size_px))
    cos, sin = math.cos(angle), math.sin(angle)
    # From (y, x) of the result to (y, x) of the image, both from their centres.
    matrix = np.array([[cos, sin], [-sin, cos]])
    centre = (len(image) - 1) / 2
    offset = centre - matrix @ np.full(2, (size_px - 1) / 2)
    turned: NDArray[np.float64] = ndimage.affine_transform(
        np.asarray(image, np.float64), matrix, offset, output_shape=(size_px, size_px)
    )
    return turned


def _disc(image: NDArray[np.floating], size_px: int) -> NDArray[np.floating]:
    """The image within `size_px` across, 0 around."""
    place = np.arange(len(image)) - (len(image) - 1) / 2
    inside = place**2 + place[:, None] ** 2 <= (size_px / 2) ** 2
    return np.where(inside, image, 0.0)


def _axis(light: NDArray[np.floating]) -> float:
    """Angle of the long axis, from x to y, radians; 0 for a round source."""
    total = float(light.sum())
    if total <= 0:
        return 0.0
    place = np.arange(len(light)) - (len(light) - 1) / 2
    x = place - float((light * place).sum()) / total
    y = place - float((light * place[:, None]).sum()) / total
    xx = float((light * x**2).sum())
    yy = float((light * y[:, None] ** 2).sum())
    xy = float((light * y[:, None] * x).sum())
    if math.hypot(xx - yy, 2 * xy) <= _ROUND * (xx + yy):
        return 0.0
    return math.atan2(2 * xy, xx - yy) / 2


def sky_and_noise(pixels: NDArray[np.float32]) -> tuple[float, float]:
    """Level and standard deviation of the sky, robust against sources.

    Mean and standard deviation of the finite pixels within 3 standard deviations,
    found from the median and the median absolute deviation. The last step is a mean
    over nearly all of the sky, so that rounding of the pixels does not show. Padding
    does not count: the one value that a mosaic's edge or a rotation puts where nothing
    was observed. Both are 0 for a picture whose sky has been blackened. Of an image of
    more than 4 Mpx every second pixel along each axis is looked at.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(1).normal(5, 2, (100, 100)).astype(np.float32)
    >>> noise[:10, :10] = 1000
    >>> [round(value, 1) for value in sky_and_noise(noise)]
    [5.0, 2.0]
    """
    step = math.ceil(math.sqrt(pixels.size / _MOST_SKY_PIXELS))
    pixels = pixels[::step, ::step]
    values = pixels[np.isfinite(pixels) & ~_padding(pixels)].astype(np.float64)
    level = float(np.median(values))
    robust = sigma = _SIGMA_PER_MAD * float(np.median(np.abs(values - level)))
    if sigma == 0:
        return level, 0.0
    for _ in range(_CLIP_ROUNDS):
        values = values[np.abs(values - level) <= 3 * sigma]
        level = float(values.mean())
        sigma = float(values.std()) / _STD_WITHIN_3_SIGMA
    # A source that fills the image is no noise.
    return level, min(sigma, _MOST_OVER_ROBUST * robust)


def _padding(pixels: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where one value is repeated from the edge on, as measured ones never are.

    Counted as sky, the empty corners of turned cutouts lower their noise by a tenth.
    A value in more than half of the image is a blackened sky, and a picture in whole
    numbers repeats them all: neither is padding.
    """
    border = np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])
    values, counts = np.unique(border[np.isfinite(border)], return_counts=True)
    none = np.zeros(pixels.shape, np.bool_)
    if not len(values) or counts.max() < _PADDED_BORDER * border.size:
        return none
    padding: NDArray[np.bool_] = pixels == values[counts.argmax()]
    rest = pixels[~padding]
    some = rest[:: max(1, rest.size // 1000)]
    if rest.size < pixels.size / 2 or len(np.unique(some)) < some.size / 2:
        return none
    return padding


@dataclass(frozen=True)
class _Taps:
    """How one axis is resampled: which pixels make a new one, and how much of each.

    Linear interpolation; where the output is coarser, the triangle widens with
    it, so that nothing is skipped. Outside the input is sky.
    """

    rows: NDArray[np.int64]
    """Shape (side, taps), counted from the first that is used."""
    weights: NDArray[np.float64]
    """Shape (side, taps)."""
    used: slice
    """Of the input."""

    @classmethod
    def of(cls, length: int, side: int, ratio: float, offset_px: float) -> Self:
        """From `length` pixels to `side`, each as large as `ratio` of them."""
        radius = max(1.0, ratio)
        centre = (length - 1) / 2 + offset_px
        where = centre + (np.arange(side) - (side - 1) / 2) * ratio
        reach = math.ceil(radius)
        taps = np.floor(where)[:, None] + np.arange(-reach, reach + 2)
        weights = np.maximum(0.0, 1.0 - np.abs(where[:, None] - taps) / radius)
        weights /= weights.sum(axis=1, keepdims=True)
        weights[(taps < 0) | (taps >= length)] = 0.0
        rows = np.clip(taps, 0, length - 1).astype(np.int64)
        first, last = int(rows.min()), int(rows.max())
        return cls(rows - first, weights, slice(first, last + 1))

    def sum(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Resample the first axis: those that are used, (h, W), to (side, W).

        No matrix product: the threads of BLAS would wait in the way of those of torch
        (embedding one cutout took 67 ms instead of 14, November 2026).
        """
        image = np.zeros((len(self.rows), pixels.shape[1]))
        for tap in np.flatnonzero(self.weights.any(axis=0)):
            image += self.weights[:, tap, None] * pixels[self.rows[:, tap]]
        return image
