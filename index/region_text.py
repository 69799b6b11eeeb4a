"""How a region is written, as SIA 2 has it for its parameter POS.

::

    CIRCLE 180.5 -20 0.5                  centre, radius
    RANGE 350 10 -5 5                     from RA to RA over 0, from Dec to Dec
    BOX 180 30 2 1 45                     centre, width, height, angle (or none)
    POLYGON 10 0 12 0 12 2                corners
    MOC 6/1-3 7/40                        or {"6": [1, 2, 3], "7": [40]}
"""

import math
import re

from twinjet.index.errors import RegionError
from twinjet.index.moc import MAX_TEXT, moc_of_text
from twinjet.index.polygons import MAX_VERTICES, Polygon, box
from twinjet.index.regions import Cone, Range, Region

# Python's own reads 1_0 as ten, and digits of every script.
_NUMBER = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf(?:inity)?|nan)",
    re.IGNORECASE,
)

_SHAPES = "CIRCLE, RANGE, BOX, POLYGON or MOC"


def parse_region(text: str) -> Region:
    """A region from its text; numbers are degrees, blanks or commas between them.

    Raises
    ------
    RegionError
        It is of no shape that is known, or what is wrong with its numbers.

    Examples
    --------
    >>> parse_region("circle 180, -20, 0.5")
    Cone(ra=180.0, dec=-20.0, radius_deg=0.5)
    """
    if len(text) > MAX_TEXT:
        msg = f"the region has {len(text)} characters; at most {MAX_TEXT}"
        raise RegionError(msg, limit=MAX_TEXT, actual=len(text))
    word, rest = (*text.split(maxsplit=1), "", "")[:2]
    match word.upper():
        case "MOC":
            return moc_of_text(rest)
        case "CIRCLE" | "CONE":
            return Cone(*_numbers(rest, "CIRCLE ra dec radius", 3))
        case "RANGE":
            return _range(rest)
        case "BOX":
            return box(*_numbers(rest, "BOX ra dec width height [angle]", 4, 5))
        case "POLYGON":
            return _polygon(rest)
        case _:
            msg = f"the region begins with {word[:30]!r} and not with {_SHAPES}"
            raise RegionError(msg, limit=_SHAPES, actual=word[:30])


def _range(text: str) -> Range:
    """SIA 2 leaves a side open by an infinite bound."""
    form = "RANGE ra ra dec dec"
    least = (0.0, 0.0, -90.0, -90.0)
    greatest = (360.0, 360.0, 90.0, 90.0)
    return Range(
        *(
            low if value == -math.inf else high if value == math.inf else value
            for value, low, high in zip(
                _numbers(text, form, 4, infinite=True), least, greatest, strict=True
            )
        )
    )


def _polygon(text: str) -> Polygon:
    count = len(text.replace(",", " ").split())
    if count > 2 * MAX_VERTICES:
        msg = f"the polygon has {count // 2} vertices; at most {MAX_VERTICES}"
        raise RegionError(msg, limit=MAX_VERTICES, actual=count // 2)
    numbers = _numbers(text, "POLYGON ra dec ra dec ra dec …")
    if count % 2:
        msg = f"the polygon has {count} numbers: one RA is without its Dec"
        raise RegionError(msg, actual=count)
    return Polygon(tuple(zip(numbers[::2], numbers[1::2], strict=True)))


def _numbers(text: str, form: str, *counts: int, infinite: bool = False) -> list[float]:
    words = text.replace(",", " ").split()
    if counts and len(words) not in counts:
        msg = f"the region has {len(words)} numbers; it is written {form}, in degrees"
        raise RegionError(msg, limit=form, actual=len(words))
    values = []
    for word in words:
        if not _NUMBER.fullmatch(word):
            msg = f"{word[:30]!r} in the region is no number; it is written {form}"
            raise RegionError(msg, limit=form, actual=word[:30])
        value = float(word)
        if math.isnan(value) or (math.isinf(value) and not infinite):
            msg = f"{word[:30]!r} in the region is no number of degrees"
            raise RegionError(msg, actual=word[:30])
        values.append(value)
    return values
