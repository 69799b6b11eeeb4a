"""Which part of the sky trains and which part judges.

Catalogues share sources, so a split by row leaks. Here the sky itself is split:
the answer depends on the position alone and is the same for every catalogue.
"""

import astropy.units as u
import numpy as np
from astropy.coordinates import Latitude, Longitude, SkyCoord
from cdshealpix.nested import lonlat_to_healpix
from numpy.typing import ArrayLike, NDArray

# HEALPix cells of 7.3 degrees (order 3): large against any source, small enough
# for FIRST to have about 200 of them.
_ORDER = 3

# Every fifth cell, in the order of a multiplicative hash (Knuth), validates.
FOLDS = 5
_HASH = 2654435761

# Judges, and is never trained on; the others may judge each other while a recipe is
# chosen.
HELD_OUT = 0

# Two catalogues may place the same source this far apart.
BUFFER_ARCSEC = 30.0


def sky_fold(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.int64]:
    """Fold 0 to 4 of positions; fold 0 is held out and never trained on.

    Parameters
    ----------
    ra, dec
        ICRS degrees, shape (N,).

    Returns
    -------
    ndarray
        Shape (N,), int64.
    """
    longitude = Longitude(np.atleast_1d(ra), unit=u.deg)
    latitude = Latitude(np.atleast_1d(dec), unit=u.deg)
    cell = lonlat_to_healpix(longitude, latitude, depth=_ORDER).astype(np.uint64)
    hashed = (cell * np.uint64(_HASH)) % np.uint64(2**32)
    folds: NDArray[np.int64] = (hashed >> np.uint64(16)).astype(np.int64) % FOLDS
    return folds


def clear_of(ra: ArrayLike, dec: ArrayLike, fold: int) -> NDArray[np.bool_]:
    """Whether positions are outside a fold and its border of 30 arcsec."""
    allowed: NDArray[np.bool_] = sky_fold(ra, dec) != fold
    here = SkyCoord(np.atleast_1d(ra), np.atleast_1d(dec), unit="deg")
    for angle in range(0, 360, 45):
        there = here.directional_offset_by(angle * u.deg, BUFFER_ARCSEC * u.arcsec)
        allowed &= sky_fold(there.ra.deg, there.dec.deg) != fold
    return allowed


def may_train(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.bool_]:
    """Whether positions are outside of the held-out fold and its border.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> ra, dec = rng.uniform(0, 360, 9000), rng.uniform(-80, 80, 9000)
    >>> bool(0.75 < may_train(ra, dec).mean() < 0.85)
    True
    """
    return clear_of(ra, dec, HELD_OUT)
