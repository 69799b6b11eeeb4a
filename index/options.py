"""What a caller may ask of any search, and its bounds."""

from collections.abc import Sequence
from dataclasses import dataclass

from twinjet.index.errors import InvalidQueryError
from twinjet.index.regions import Region

MAX_K = 1000

# Two beams of FIRST. RGZ catalogues one object several times within 5 arcsec; two
# objects cannot be told apart within one beam.
OBJECT_RADIUS_ARCSEC = 10.0

# Paging goes no deeper: people stop looking long before.
MAX_OFFSET = 10_000


@dataclass(frozen=True)
class Options:
    """What a caller may ask of any search.

    Attributes
    ----------
    k
        Neighbours wanted, 1 to `MAX_K`.
    offset
        Neighbours to pass over first, 0 to `MAX_OFFSET`.
    min_similarity
        Leave out what is less similar, -1 to 1.
    exclude
        IDs to leave out.
    keep_duplicates
        Keep the same object catalogued twice.
    duplicate_radius_arcsec
        Sources closer than this are one object.
    where
        Filter on columns, in the grammar of `twinjet.index.where`.
    region
        Only in this part of the sky.
    exact
        Compare with every vector.
    least
        The least similar first; of examples, `Examples.unlike` says the same.
    diversity
        0 to 1: how much neighbours shall differ from each other; see
        `twinjet.index.diversity`.
    """

    k: int = 10
    offset: int = 0
    min_similarity: float | None = None
    exclude: Sequence[str] = ()
    keep_duplicates: bool = False
    duplicate_radius_arcsec: float = OBJECT_RADIUS_ARCSEC
    where: str | None = None
    region: Region | None = None
    exact: bool = False
    least: bool = False
    diversity: float = 0.0

    @property
    def wanted(self) -> int:
        """Neighbours to find: one more tells whether there is a further page."""
        return self.offset + self.k + 1


def check_cone(ra: float, dec: float, radius_arcsec: float) -> None:
    """Refuse a cone that is not on the sky.

    Raises
    ------
    InvalidQueryError
        RA outside 0 to 360 degrees, Dec outside -90 to 90, or the radius outside
        0 to 180 degrees.
    """
    _within("ra", ra, 0, 360, "degrees")
    _within("dec", dec, -90, 90, "degrees")
    _within("radius_arcsec", radius_arcsec, 0, 648_000, "arcsec")


def check_options(options: Options) -> None:
    """Refuse what is out of bounds.

    Raises
    ------
    InvalidQueryError
        It names the option, its limits and its value.
    """
    _within("k", options.k, 1, MAX_K, "")
    _within("diversity", options.diversity, 0, 1, "")
    _within("offset", options.offset, 0, MAX_OFFSET, "")
    _within(
        "duplicate_radius_arcsec", options.duplicate_radius_arcsec, 0, 3600, "arcsec"
    )
    if options.min_similarity is not None:
        _within("min_similarity", options.min_similarity, -1, 1, "")


def _within(name: str, value: float, low: float, high: float, unit: str) -> None:
    if not low <= value <= high:  # also when it is NaN
        msg = f"{name} must be {low} to {high} {unit}".rstrip() + f"; it was {value}"
        raise InvalidQueryError(
            msg, parameter=name, limit=f"{low} to {high}", actual=str(value)
        )
