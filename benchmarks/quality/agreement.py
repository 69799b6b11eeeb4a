"""How far people agree: the same source classified in two catalogues.

A bound on what any encoder can reach that is judged by either of them.
"""

from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord

from twinjet.model.dataset import LabelledFolder
from twinjet.model.evaluation.intervals import mean_of

# Positions of both are rounded to 3.6 arcsec and may be of different components.
_SAME_ARCSEC = 15.0

_TAILS = {"wide-angle tail", "head-tail"}


def agreement(four: LabelledFolder, mirabest: LabelledFolder) -> dict[str, Any]:
    """Sources of the four classes that MiraBest has classified independently.

    Rows of the Radio Galaxy Dataset that were taken from MiraBest are left out;
    MiraBest's tails count as bent.
    """
    rows = [row for row in four.rows if row["origin"] != "MiraBest"]
    here = _places(rows)
    there = _places(mirabest.rows)
    nearest, separation, _ = here.match_to_catalog_sky(there)
    pairs = [
        (rows[n]["morphology"], _class(mirabest.rows[nearest[n]]))
        for n in np.flatnonzero(separation < _SAME_ARCSEC * u.arcsec)
    ]
    confusion: dict[str, dict[str, int]] = {}
    for ours, theirs in pairs:
        line = confusion.setdefault(ours, {})
        line[theirs] = line.get(theirs, 0) + 1
    return {
        "agree": mean_of([float(ours == theirs) for ours, theirs in pairs]),
        "confusion": {k: dict(sorted(v.items())) for k, v in sorted(confusion.items())},
    }


def _class(row: dict[str, str]) -> str:
    return "Bent" if row["morphology"] in _TAILS else row["fr_class"]


def _places(rows: list[dict[str, str]]) -> SkyCoord:
    ra, dec = ([float(row[name]) for row in rows] for name in ("ra_deg", "dec_deg"))
    return SkyCoord(ra, dec, unit="deg")
