"""Directions on the sphere: unit vectors, separations, HEALPix cells.

Unit vectors know no poles and no RA 0; chords are exact for the smallest angles,
where cosines lose everything below a milliarcsecond.
"""

import math
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import Latitude, Longitude
from cdshealpix.nested import cone_search, healpix_to_lonlat, lonlat_to_healpix
from numpy.typing import ArrayLike, NDArray

# Order of the cells that the store keeps: 13 arcsec, so that a cone of an arcmin
# reads some dozen sources and no more.
STORED_ORDER = 14

# [first, last] of each run of stored cells, ascending and apart.
Ranges = list[tuple[int, int]]

# Runs of cells that one statement asks for: more save little.
_MOST_RANGES = 200

# The search for a cone guarantees the cells that it finds, rounding aside.
_MARGIN_DEG = 1e-6

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


def cone_ranges(ra: float, dec: float, radius_arcsec: float) -> Ranges:
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
    order = order_for(radius_arcsec / 3600 / _CELLS_PER_RADIUS)
    cells, orders, _ = cone_search(
        Longitude(ra, unit=u.deg),
        Latitude(dec, unit=u.deg),
        (radius_arcsec / 3600 + _MARGIN_DEG) * u.deg,
        depth=order,
    )
    return ranges_of(cells, orders)


def order_for(size_deg: float) -> int:
    """Order, up to the stored one, of cells about so wide, or wider.

    Examples
    --------
    >>> order_for(1.0), order_for(1e-9), order_for(180.0)
    (5, 14, 0)
    """
    # The cell of order n is about 58.6 / 2^n degrees wide.
    order = math.floor(math.log2(58.6 / max(size_deg, 1e-9)))
    return min(STORED_ORDER, max(0, order))


def cone_cells(
    centre: NDArray[np.float64], radius: float, order: int
) -> NDArray[np.int64]:
    """Nested cells of an order that hold all within `radius` radians of a place."""
    ra, dec = degrees_of(centre[None])
    cells, _, _ = cone_search(
        Longitude(ra[0], unit=u.deg),
        Latitude(dec[0], unit=u.deg),
        math.degrees(radius) * u.deg + _MARGIN_DEG * u.deg,
        depth=order,
        flat=True,
    )
    return cells.astype(np.int64)  # type: ignore[no-any-return] # of cdshealpix


def cell_centres(cells: NDArray[np.int64], order: int) -> NDArray[np.float64]:
    """Unit vectors of the centres of nested cells, shape (N, 3)."""
    longitude, latitude = healpix_to_lonlat(cells.astype(np.uint64), order)
    return unit_vectors(longitude.deg, latitude.deg)


def cell_radius(order: int) -> float:
    """Radians from the centre of any cell of an order to its farthest corner.

    That of the cells between the equator's belt and the caps, which are the longest.

    Examples
    --------
    >>> round(math.degrees(cell_radius(0)), 1), round(math.degrees(cell_radius(10)), 3)
    (48.2, 0.06)
    """
    side = 2.0**order
    middle = unit_vectors(45 / side, math.degrees(math.asin(2 / 3)))[0]
    rise = 1 - (1 - 1 / side) ** 2 / 3
    corner = unit_vectors(0, math.degrees(math.asin(rise)))[0]
    return 2 * math.asin(math.dist(middle, corner) / 2)


def degrees_of(
    vectors: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """RA, 0 to 360, and Dec in degrees of unit vectors, shape (N, 3).

    Examples
    --------
    >>> [float(part[0]) for part in degrees_of(unit_vectors(350, -64))]
    [350.0, -64.0]
    """
    ra = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])) % 360
    flat = np.hypot(vectors[:, 0], vectors[:, 1])
    return ra, np.degrees(np.arctan2(vectors[:, 2], flat))


def ranges_of(cells: NDArray[Any], orders: NDArray[Any]) -> Ranges:
    """Ranges of stored cells that hold nested cells of orders up to `STORED_ORDER`.

    Examples
    --------
    >>> ranges_of(np.array([0, 4]), np.array([1, 0]))
    [(0, 67108863), (1073741824, 1342177279)]
    """
    shifts = 2 * (STORED_ORDER - orders.astype(np.int64))
    firsts = cells.astype(np.int64) << shifts
    lasts = ((cells.astype(np.int64) + 1) << shifts) - 1
    return merged(firsts, lasts)


def merged(firsts: NDArray[np.int64], lasts: NDArray[np.int64]) -> Ranges:
    """The same ranges in order, joined where they touch, or where they are too many.

    Of too many the smallest gaps are closed: then they hold some cells more.
    """
    if len(firsts) == 0:
        return []
    order = np.argsort(firsts)
    firsts, lasts = firsts[order], np.maximum.accumulate(lasts[order])
    gaps = firsts[1:] - lasts[:-1] - 1
    least = 0
    if np.count_nonzero(gaps > 0) >= _MOST_RANGES:
        least = int(np.partition(gaps, -_MOST_RANGES)[-_MOST_RANGES])
    kept = np.flatnonzero(gaps > least)
    starts, ends = np.append(0, kept + 1), np.append(kept, len(firsts) - 1)
    return list(zip(firsts[starts].tolist(), lasts[ends].tolist(), strict=True))


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
    # Each order divides a cell in four.
    return healpix_cells(*degrees_of(vectors)) >> 2 * (STORED_ORDER - order)
