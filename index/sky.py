"""Directions on the sphere: unit vectors, separations, HEALPix cells.

Unit vectors know no poles and no RA 0; chords are exact for the smallest angles,
where cosines lose everything below a milliarcsecond.
"""

import math

import astropy.units as u
import numpy as np
from astropy.coordinates import Latitude, Longitude
from cdshealpix.nested import cone_search, lonlat_to_healpix
from numpy.typing import ArrayLike, NDArray

# Order of the cells that the store keeps: 13 arcsec, so that a cone of an arcmin
# reads some dozen sources and no more.
STORED_ORDER = 14

# A cone is covered by cells of about a quarter of its radius, some dozen ranges.
_CELLS_PER_RADIUS = 4


def unit_vectors(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.float64]:
    """Unit vectors of ICRS positions in degrees.

    Returns
    -------
    ndarray
        Shape (N, 3), float64.

    Examples
    --------
    >>> unit_vectors([0, 90], [0, 0]).round(3).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    longitude = np.radians(np.atleast_1d(np.asarray(ra, dtype=np.float64)))
    latitude = np.radians(np.atleast_1d(np.asarray(dec, dtype=np.float64)))
    return np.stack(
        [
            np.cos(latitude) * np.cos(longitude),
            np.cos(latitude) * np.sin(longitude),
            np.sin(latitude),
        ],
        axis=1,
    )


def chord_of(radius_arcsec: float) -> float:
    """Length of the straight line between unit vectors so far apart."""
    return 2 * math.sin(math.radians(radius_arcsec / 3600) / 2)


def separation_arcsec(chord_squared: float) -> float:
    """Angle between unit vectors from the square of their distance.

    Examples
    --------
    >>> round(separation_arcsec(chord_of(0.001) ** 2), 9)
    0.001
    """
    half = min(1.0, math.sqrt(max(0.0, chord_squared)) / 2)
    return math.degrees(2 * math.asin(half)) * 3600


def healpix_cells(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.int64]:
    """Nested HEALPix cells of the stored order for ICRS positions in degrees."""
    longitude = Longitude(np.atleast_1d(np.asarray(ra, dtype=np.float64)), unit=u.deg)
    latitude = Latitude(np.atleast_1d(np.asarray(dec, dtype=np.float64)), unit=u.deg)
    cells = lonlat_to_healpix(longitude, latitude, depth=STORED_ORDER)
    numbers: NDArray[np.int64] = cells.astype(np.int64)
    return numbers


def healpix_29(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.int64]:
    """Nested HEALPix cells of order 29, by which HATS catalogues are sorted.

    Examples
    --------
    >>> int(healpix_29(0.0, 90.0)[0] >> 2 * 29)  # of the twelve base cells
    0
    """
    longitude = Longitude(np.atleast_1d(np.asarray(ra, dtype=np.float64)), unit=u.deg)
    latitude = Latitude(np.atleast_1d(np.asarray(dec, dtype=np.float64)), unit=u.deg)
    numbers: NDArray[np.int64] = lonlat_to_healpix(longitude, latitude, depth=29)
    return numbers.astype(np.int64)


def cone_ranges(ra: float, dec: float, radius_arcsec: float) -> list[tuple[int, int]]:
    """Ranges [first, last] of stored cells that hold a whole cone, and a little more.

    Parameters
    ----------
    ra, dec
        Centre, ICRS degrees.
    radius_arcsec
        0 to 648000.

    Returns
    -------
    list
        Ascending and apart; one range for most of the sky.
    """
    whole = (0, 12 * 4**STORED_ORDER - 1)
    if radius_arcsec >= 60 * 3600:  # a quarter of the sky: ranges save nothing
        return [whole]
    # The cell of order n is about 58.6 / 2^n degrees wide.
    wanted = max(radius_arcsec / 3600 / _CELLS_PER_RADIUS, 1e-9)
    order = min(STORED_ORDER, max(0, math.floor(math.log2(58.6 / wanted))))
    # One cell wider: the search guarantees the cells that it finds, rounding aside.
    margin = 1e-6
    cells, depths, _ = cone_search(
        Longitude(ra, unit=u.deg),
        Latitude(dec, unit=u.deg),
        (radius_arcsec / 3600 + margin) * u.deg,
        depth=order,
    )
    ranges: list[tuple[int, int]] = []
    shifts = 2 * (STORED_ORDER - depths.astype(np.int64))
    firsts = cells.astype(np.int64) << shifts
    lasts = ((cells.astype(np.int64) + 1) << shifts) - 1
    for first, last in sorted(zip(firsts.tolist(), lasts.tolist(), strict=True)):
        if ranges and first <= ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], max(last, ranges[-1][1]))
        else:
            ranges.append((first, last))
    return ranges


def sky_groups(vectors: NDArray[np.float64], order: int) -> NDArray[np.int64]:
    """HEALPix cells of unit vectors (N, 3), of an order up to `STORED_ORDER`.

    Sources of one cell may be the same object or share a field; a classifier that
    is fitted to some and judged by others looks better than it is.

    Examples
    --------
    >>> first, second = sky_groups(unit_vectors([0, 360], [10, 10]), 3).tolist()
    >>> first == second
    True
    """
    ra = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])) % 360
    dec = np.degrees(np.arcsin(np.clip(vectors[:, 2], -1, 1)))
    # Each order divides a cell in four.
    return healpix_cells(ra, dec) >> 2 * (STORED_ORDER - order)
