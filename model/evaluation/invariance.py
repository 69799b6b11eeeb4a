"""Whether neighbours stay when only the observation changes, not the source.

Each change is made to the cutout's pixels before anything else sees them.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from twinjet.model.cutout import Cutout
from twinjet.model.evaluation.intervals import Figure, mean_of
from twinjet.model.evaluation.methods import Method
from twinjet.model.evaluation.retrieve import ranked
from twinjet.model.preprocess import sky_and_noise

Rng = np.random.Generator
Change = Callable[[Cutout, Rng], Cutout]

_NEIGHBOURS = 10


def _with_pixels(
    cutout: Cutout, pixels: NDArray[np.floating], *, scale: float = 1.0
) -> Cutout:
    """Other pixels at the same scale, or one so many times as coarse; no WCS."""
    arcsec = cutout.pixel_scale_arcsec
    return Cutout(
        np.ascontiguousarray(pixels, np.float32),
        pixel_scale_arcsec=arcsec and (arcsec[0] * scale, arcsec[1] * scale),
        linear=cutout.linear,
    )


def _whole(cutout: Cutout) -> NDArray[np.float32]:
    """Pixels with sky where there are none: splines spread a NaN over everything."""
    sky, _ = sky_and_noise(cutout.pixels)
    return np.nan_to_num(cutout.pixels, nan=sky).astype(np.float32)


def turn(cutout: Cutout, rng: Rng) -> Cutout:
    """By any angle about the centre, cubic splines."""
    sky, _ = sky_and_noise(cutout.pixels)
    angle = rng.uniform(0, 360)
    turned = ndimage.rotate(_whole(cutout), angle, reshape=False, order=3, cval=sky)
    return _with_pixels(cutout, turned)


def quarter_turn(cutout: Cutout, rng: Rng) -> Cutout:
    """By a right angle, once to three times."""
    return _with_pixels(cutout, np.rot90(cutout.pixels, int(rng.integers(1, 4))))


def flip(cutout: Cutout, rng: Rng) -> Cutout:  # noqa: ARG001 - all changes are called so
    """East and west exchanged."""
    return _with_pixels(cutout, cutout.pixels[:, ::-1])


def shift(cutout: Cutout, rng: Rng) -> Cutout:
    """By up to 5 pixels along each axis, linear between pixels."""
    sky, _ = sky_and_noise(cutout.pixels)
    moved = ndimage.shift(_whole(cutout), rng.uniform(-5, 5, 2), order=1, cval=sky)
    return _with_pixels(cutout, moved)


def noise_at(low: float, high: float) -> Change:
    """White noise added until the peak is so many times the noise."""

    def change(cutout: Cutout, rng: Rng) -> Cutout:
        sky, _ = sky_and_noise(cutout.pixels)
        height, width = cutout.pixels.shape
        centre = cutout.pixels[
            height // 4 : height - height // 4, width // 4 : width - width // 4
        ]
        level = (float(np.nanmax(centre)) - sky) / rng.uniform(low, high)
        return _with_pixels(
            cutout, cutout.pixels + rng.normal(0, level, cutout.pixels.shape)
        )

    return change


def brighter(cutout: Cutout, rng: Rng) -> Cutout:
    """Flux and noise multiplied by 0.01 to 100."""
    return _with_pixels(cutout, cutout.pixels * np.exp(rng.uniform(-4.6, 4.6)))


def resample(cutout: Cutout, rng: Rng) -> Cutout:
    """To pixels 0.7 to 1.3 times as large, linear between pixels."""
    factor = rng.uniform(0.7, 1.3)
    pixels = _whole(cutout)
    side = [round(n / factor) for n in pixels.shape]
    # Centre on centre, whatever the rounding of the sides.
    offset = [
        (n - 1) / 2 - factor * (m - 1) / 2
        for n, m in zip(pixels.shape, side, strict=True)
    ]
    resampled = ndimage.affine_transform(
        pixels,
        [factor, factor],
        offset,
        output_shape=tuple(side),
        order=1,
        mode="nearest",
    )
    return _with_pixels(cutout, resampled, scale=factor)


CHANGES: dict[str, Change] = {
    "any rotation": turn,
    "quarter turn": quarter_turn,
    "mirror": flip,
    "shift up to 5 px": shift,
    "noise to S/N 5-10": noise_at(5, 10),
    "noise to S/N 10-50": noise_at(10, 50),
    "flux x 0.01-100": brighter,
    "pixels x 0.7-1.3": resample,
}


def overlaps(
    method: Method,
    cutouts: Sequence[Cutout],
    database: NDArray[np.float32],
    rows: NDArray[np.int64],
    *,
    seed: int = 0,
) -> dict[str, Figure]:
    """Part of the ten neighbours that stay under each change.

    Parameters
    ----------
    method
        What embeds.
    cutouts
        Q queries.
    database
        Shape (N, D): the same method's vectors of all sources, unit norm.
    rows
        Shape (Q,): where the queries are in the database; they are no answer.
    seed
        Of the changes.
    """
    before = ranked(database[rows], database, without=rows)[:, :_NEIGHBOURS]
    figures = {}
    for name, change in CHANGES.items():
        rng = np.random.default_rng(seed)
        images = [method.preprocess(change(cutout, rng)).image for cutout in cutouts]
        vectors = method.vectors(np.stack(images))
        after = ranked(vectors, database, without=rows)[:, :_NEIGHBOURS]
        figures[name] = mean_of(
            [
                len(set(one) & set(other)) / _NEIGHBOURS
                for one, other in zip(before.tolist(), after.tolist(), strict=True)
            ]
        )
    return figures


def mixing(
    one: NDArray[np.float32], other: NDArray[np.float32], *, neighbours: int = 10
) -> dict[str, Figure]:
    """How far two surveys share a space.

    Parameters
    ----------
    one, other
        Vectors of the two surveys, unit norm; as many are taken of the larger as
        the smaller has, the first of them.

    Returns
    -------
    dict
        Part of the neighbours of each survey's sources that are of the other: 0.5
        when the survey does not matter, 0 when the embedding keeps them apart.
    """
    count = min(len(one), len(other))
    vectors = np.concatenate([one[:count], other[:count]])
    survey = np.repeat([False, True], count)
    ranks = ranked(vectors, vectors, without=np.arange(2 * count))[:, :neighbours]
    crossed = (survey[ranks] != survey[:, None]).mean(axis=1)
    return {
        "of the first": mean_of(crossed[:count]),
        "of the second": mean_of(crossed[count:]),
    }
