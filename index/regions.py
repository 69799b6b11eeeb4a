"""Parts of the sky: cones, ranges of RA and Dec.

Each is asked of the database as ranges of HEALPix cells, which hold all of it and a
little more; then every source in them is tested. Positions are ICRS degrees. Polygons
are in `twinjet.index.polygons`, MOCs in `twinjet.index.moc`, how a region is written in
`twinjet.index.region_text`.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from twinjet.index.errors import RegionError
from twinjet.index.schema import SourceRow
from twinjet.index.sky import Ranges, chord_of, cone_ranges, unit_vectors

Mask = NDArray[np.bool_]

_ROUND_DEG = 360.0


class Region(Protocol):
    """A part of the sky."""

    @property
    def exact_in_sql(self) -> bool:
        """Whether `condition` alone tells which sources are in it."""

    def condition(self) -> sa.ColumnElement[bool]:
        """What holds for each `SourceRow` in the region, and for few others."""

    def contains(self, vectors: NDArray[np.float64]) -> Mask:
        """Which unit vectors, shape (N, 3), are in it; on its very edge, either."""


@dataclass(frozen=True)
class Cone:
    """All within a radius of a position.

    Raises
    ------
    RegionError
        RA outside 0 to 360 degrees, Dec outside -90 to 90, or the radius outside 0 to
        180.
    """

    ra: float
    dec: float
    radius_deg: float

    exact_in_sql = True

    def __post_init__(self) -> None:
        """Refuse what is not on the sky."""
        check_position(self.ra, self.dec)
        check_within("the radius", self.radius_deg, 0, 180)

    def condition(self) -> sa.ColumnElement[bool]:
        """See `Region`."""
        radius_arcsec = self.radius_deg * 3600
        cells = in_cells(cone_ranges(self.ra, self.dec, radius_arcsec))
        return sa.and_(cells, self.chord_squared() <= self._greatest)

    def chord_squared(self) -> sa.ColumnElement[float]:
        """Square of the straight line from a `SourceRow` to the centre."""
        x, y, z = unit_vectors(self.ra, self.dec)[0].tolist()
        dx, dy, dz = SourceRow.x - x, SourceRow.y - y, SourceRow.z - z
        squared: sa.ColumnElement[float] = dx * dx + dy * dy + dz * dz
        return squared

    def contains(self, vectors: NDArray[np.float64]) -> Mask:
        """See `Region`."""
        gaps = ((vectors - unit_vectors(self.ra, self.dec)[0]) ** 2).sum(axis=1)
        return np.asarray(gaps <= self._greatest)

    @property
    def _greatest(self) -> float:
        # Rounding of the vectors, 1e-16, is 0.00003 arcsec: within even for radius 0.
        return chord_of(self.radius_deg * 3600) ** 2 + 1e-30


@dataclass(frozen=True)
class Range:
    """All between two meridians and two parallels, which are part of it.

    From `ra_min` eastwards to `ra_max`, over RA 0 where that is the smaller one; 0 to
    360 is all round.

    Raises
    ------
    RegionError
        A bound is not on the sky, or `dec_min` is above `dec_max`.
    """

    ra_min: float
    ra_max: float
    dec_min: float
    dec_max: float

    exact_in_sql = True

    def __post_init__(self) -> None:
        """Refuse what is not on the sky."""
        check_position(self.ra_min, self.dec_min)
        check_position(self.ra_max, self.dec_max)
        if self.dec_min > self.dec_max:
            msg = f"the range's Dec begins at {self.dec_min} and ends at {self.dec_max}"
            raise RegionError(msg, limit=self.dec_max, actual=self.dec_min)

    def condition(self) -> sa.ColumnElement[bool]:
        """See `Region`; by the positions as they are catalogued."""
        between = SourceRow.dec.between(self.dec_min, self.dec_max)
        pieces: list[sa.ColumnElement[bool]]
        if self.ra_min <= self.ra_max:
            pieces = [SourceRow.ra.between(self.ra_min, self.ra_max)]
        else:
            pieces = [SourceRow.ra >= self.ra_min, SourceRow.ra <= self.ra_max]
        # 360 is 0, however it is catalogued.
        if 0.0 in {self.ra_min % _ROUND_DEG, self.ra_max % _ROUND_DEG}:
            pieces += [SourceRow.ra == 0.0, SourceRow.ra == _ROUND_DEG]
        return sa.and_(between, sa.or_(*pieces))

    def contains(self, vectors: NDArray[np.float64]) -> Mask:
        """See `Region`."""
        ra = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])) % _ROUND_DEG
        dec = np.degrees(np.arcsin(np.clip(vectors[:, 2], -1, 1)))
        east = ((ra - self.ra_min) % _ROUND_DEG) <= (
            self.ra_max - self.ra_min
        ) % _ROUND_DEG
        if self.ra_max - self.ra_min == _ROUND_DEG:
            east[:] = True
        return np.asarray(east & (self.dec_min <= dec) & (dec <= self.dec_max))


def in_cells(ranges: Ranges) -> sa.ColumnElement[bool]:
    """Whether a source is in one of some ranges [first, last] of stored cells."""
    if not ranges:
        return sa.false()
    return sa.or_(*(SourceRow.healpix.between(first, last) for first, last in ranges))


def check_position(ra: float, dec: float) -> None:
    """Refuse a position that is not on the sky.

    Raises
    ------
    RegionError
        RA outside 0 to 360 degrees or Dec outside -90 to 90.
    """
    check_within("RA", ra, 0, 360)
    check_within("Dec", dec, -90, 90)


def check_within(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number of degrees that is out of bounds.

    Raises
    ------
    RegionError
        It is, or it is no number.
    """
    if not low <= value <= high:  # also when it is NaN
        msg = f"{name} of the region must be {low:g} to {high:g} degrees; it is {value}"
        raise RegionError(msg, limit=f"{low:g} to {high:g}", actual=str(value))
