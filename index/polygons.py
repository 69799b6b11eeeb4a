"""Parts of the sky whose sides are great circles.

In the gnomonic projection great circles are straight lines: what is known of polygons
in a plane holds there.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
import sqlalchemy as sa
from numpy.typing import NDArray

from twinjet.index.errors import RegionError
from twinjet.index.regions import Mask, check_position, check_within, in_cells
from twinjet.index.sky import (
    STORED_ORDER,
    cell_centres,
    cell_radius,
    cone_cells,
    order_for,
    ranges_of,
    unit_vectors,
)

# A test of 10^5 sources takes some 50 ms at so many corners (2026-11).
MAX_VERTICES = 1000

# A polygon's inside is its smaller side, which must be plain.
MAX_POLYGON_RADIUS_DEG = 80.0

# Corners of the largest box are 68 degrees from its centre.
MAX_BOX_DEG = 120.0

# A polygon is covered by cells of about a part of its radius, and along its sides by
# some that are so many orders finer. (cdshealpix's own search loses some at the poles.)
_CELLS_PER_RADIUS = 8
_FINER = 2


@dataclass(frozen=True)
class Polygon:
    """All within sides that are great circles: the smaller of the two parts.

    Parameters
    ----------
    vertices
        (RA, Dec) in degrees, `MAX_VERTICES` of them at most, either way round; that
        the last is the first again does no harm.

    Raises
    ------
    RegionError
        Fewer than three corners or too many; sides that cross or touch; no area; or
        corners that do not lie within `MAX_POLYGON_RADIUS_DEG` of some place.
    """

    vertices: Sequence[tuple[float, float]]

    exact_in_sql = False

    def __post_init__(self) -> None:
        """Refuse what has no plain inside."""
        if len(self.vertices) > MAX_VERTICES:
            count = len(self.vertices)
            msg = f"the polygon has {count} vertices; at most {MAX_VERTICES}"
            raise RegionError(msg, limit=MAX_VERTICES, actual=count)
        for ra, dec in self.vertices:
            check_position(ra, dec)
        count = len(self._corners)
        if count < 3:  # noqa: PLR2004 - a triangle
            msg = f"the polygon has {count} different vertices; at least 3"
            raise RegionError(msg, limit=3, actual=count)
        radius_deg = math.degrees(self._cap[1])
        if not radius_deg <= MAX_POLYGON_RADIUS_DEG:
            reach, most = round(radius_deg, 3), MAX_POLYGON_RADIUS_DEG
            msg = (
                f"the polygon reaches {reach:g} degrees from its middle; at most "
                f"{most:g}: of a whole hemisphere and more nobody knows the inside"
            )
            raise RegionError(msg, limit=most, actual=reach)
        self._check_sides()

    def condition(self) -> sa.ColumnElement[bool]:
        """See `Region`."""
        centre, radius = self._cap
        order = order_for(math.degrees(radius) / _CELLS_PER_RADIUS)
        cells = cone_cells(centre, radius, order)
        found = []
        last = min(STORED_ORDER, order + _FINER)
        for depth in range(order, last + 1):
            middles = cell_centres(cells, depth)
            # Farther from every side than their corners, cells are in or out as one.
            near = self._gaps(middles) <= 1.01 * cell_radius(
                depth
            )  # rounding, and more
            whole = near if depth == last else ~near & self.contains(middles)
            if depth == last:
                whole |= self.contains(middles)
            found.append((cells[whole], np.full(whole.sum(), depth)))
            cells = (4 * cells[near][:, None] + np.arange(4)).ravel()
        return in_cells(
            ranges_of(*(np.concatenate(part) for part in zip(*found, strict=True)))
        )

    def contains(self, vectors: NDArray[np.float64]) -> Mask:
        """See `Region`."""
        near = np.flatnonzero(vectors @ self._cap[0] > math.cos(self._cap[1] + 1e-6))
        inside = np.zeros(len(vectors), dtype=bool)
        places = self._project(vectors[near])
        inside[near] = shapely.intersects_xy(self._plane, places[:, 0], places[:, 1])
        return inside

    def _gaps(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Radians from unit vectors, shape (N, 3), to the nearest side."""
        starts, ends = self._corners, np.roll(self._corners, -1, axis=0)
        normals = np.cross(starts, ends)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        # Between the two planes through the ends of a side it is the distance to its
        # great circle that counts, elsewhere that to the ends.
        beside = (vectors @ np.cross(normals, starts).T >= 0) & (
            vectors @ np.cross(ends, normals).T >= 0
        )
        sine = np.where(beside, np.abs(vectors @ normals.T), 1.0).min(axis=1)
        cosine = (vectors @ starts.T).max(axis=1)
        gaps: NDArray[np.float64] = np.minimum(
            np.arcsin(np.minimum(sine, 1)), np.arccos(np.minimum(cosine, 1))
        )
        return gaps

    def _check_sides(self) -> None:
        places = self._project(self._corners)
        long, wide = np.linalg.svd(places - places.mean(axis=0), compute_uv=False)
        # A strip of 0.01 arcsec is a polygon, rounding is none.
        if wide <= 1e-12 * long:
            msg = "the vertices of the polygon lie on one great circle: it has no area"
            raise RegionError(msg)
        if self._plane.is_valid:
            return
        reason = shapely.is_valid_reason(self._plane)
        numbers = re.search(r"\[(\S+) (\S+)\]", reason)
        place = ""
        if numbers is not None:
            centre, east, north = self._axes
            x, y = float(numbers[1]), float(numbers[2])
            at = centre + x * east + y * north
            ra = math.degrees(math.atan2(at[1], at[0])) % 360
            dec = math.degrees(math.atan2(at[2], math.hypot(at[0], at[1])))
            place = f" near RA {ra:.5f}, Dec {dec:+.5f}"
        msg = f"the sides of the polygon cross or touch{place}"
        raise RegionError(msg, actual=place.removeprefix(" near ") or None)

    @cached_property
    def _corners(self) -> NDArray[np.float64]:
        """Unit vectors of the vertices, each once in a row and the first not again."""
        if not self.vertices:
            return np.empty((0, 3))
        ra, dec = np.array(self.vertices, dtype=np.float64).T
        vectors = unit_vectors(ra, dec)
        differs = ((vectors - np.roll(vectors, 1, axis=0)) ** 2).sum(axis=1) > 1e-30  # noqa: PLR2004 - rounding
        kept: NDArray[np.float64] = vectors[differs]
        return kept

    @cached_property
    def _cap(self) -> tuple[NDArray[np.float64], float]:
        """Centre and radius, radians, of about the smallest cap around the corners.

        By Badoiu & Clarkson (2003): again and again a step towards the farthest.
        """
        centre = self._corners.mean(axis=0)
        if np.linalg.norm(centre) < 1e-6:  # noqa: PLR2004 - it points nowhere
            centre = self._corners[0]
        for step in range(500):
            farthest = self._corners[np.argmin(self._corners @ centre)]
            centre = centre + (farthest - centre) / (step + 2)
            centre = centre / max(float(np.linalg.norm(centre)), 1e-12)
        # Chords, for angles that are tiny.
        chord = np.sqrt(((self._corners - centre) ** 2).sum(axis=1).max())
        return centre, 2 * math.asin(min(1.0, float(chord) / 2))

    @cached_property
    def _axes(self) -> tuple[NDArray[np.float64], ...]:
        centre = self._cap[0]
        aside = np.eye(3)[np.argmin(np.abs(centre))]
        east = np.cross(aside, centre)
        east /= np.linalg.norm(east)
        return centre, east, np.cross(centre, east)

    @cached_property
    def _plane(self) -> shapely.Polygon:
        """The polygon in the gnomonic projection, where great circles are straight."""
        polygon = shapely.Polygon(self._project(self._corners))
        shapely.prepare(polygon)
        return polygon

    def _project(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        centre, east, north = self._axes
        depth = vectors @ centre
        return np.stack([vectors @ east / depth, vectors @ north / depth], axis=1)


def box(
    ra: float, dec: float, width_deg: float, height_deg: float, angle_deg: float = 0.0
) -> Polygon:
    """A rectangle about a position, of which the middle of each side is that far.

    Parameters
    ----------
    ra, dec
        Centre, degrees.
    width_deg, height_deg
        From side to side through the centre, 0 (excluded) to `MAX_BOX_DEG`.
    angle_deg
        By which the height is turned from north to east.

    Raises
    ------
    RegionError
        One of these is out of bounds.
    """
    check_position(ra, dec)
    for name, size in (("width", width_deg), ("height", height_deg)):
        if size <= 0:
            msg = f"the {name} of the box is {size} degrees; it must be more than 0"
            raise RegionError(msg, limit=0, actual=size)
        check_within(f"the {name}", size, 0, MAX_BOX_DEG)
    check_within("the angle", angle_deg, -360, 360)
    turn, x, y = (math.radians(a) for a in (angle_deg, width_deg / 2, height_deg / 2))
    x, y = math.tan(x), math.tan(y)
    lon, lat = math.radians(ra), math.radians(dec)
    centre = unit_vectors(ra, dec)[0]
    east = np.array([-math.sin(lon), math.cos(lon), 0.0])
    north = np.array(
        [
            -math.sin(lat) * math.cos(lon),
            -math.sin(lat) * math.sin(lon),
            math.cos(lat),
        ]
    )
    across = math.cos(turn) * east - math.sin(turn) * north
    along = math.sin(turn) * east + math.cos(turn) * north
    corners = []
    for i, j in ((x, y), (-x, y), (-x, -y), (x, -y)):
        at = centre + i * across + j * along
        corners.append(
            (
                math.degrees(math.atan2(at[1], at[0])) % 360,
                math.degrees(math.atan2(at[2], math.hypot(at[0], at[1]))),
            )
        )
    return Polygon(tuple(corners))
