"""Multi-order coverage maps (MOC 2.0, IVOA 2022) as parts of the sky."""

import json
import re
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from twinjet.index.errors import RegionError
from twinjet.index.regions import Mask, in_cells
from twinjet.index.sky import STORED_ORDER, healpix_29, merged
from twinjet.model.errors import CutoutError
from twinjet.model.fits_headers import whole

MAX_ORDER = 29

# Runs of cells of the deepest order: the footprint of a survey in arcmin cells.
MAX_RANGES = 100_000

MAX_TEXT = 2_000_000

# Raised by what is written in Rust; there is no module to import it from.
_PANIC = "PanicException"


@dataclass(frozen=True, eq=False)
class MocRegion:
    """All within the cells of a MOC.

    Parameters
    ----------
    ranges
        Cells of order 29, [first, end) each, ascending and apart; shape (N, 2).

    Raises
    ------
    RegionError
        There are none, or more than `MAX_RANGES`.
    """

    ranges: NDArray[np.uint64]

    exact_in_sql = False

    def __post_init__(self) -> None:
        """Refuse what is empty or too fine."""
        if len(self.ranges) == 0:
            msg = "the MOC is empty"
            raise RegionError(msg)
        if len(self.ranges) > MAX_RANGES:
            count = len(self.ranges)
            msg = f"the MOC has {count} separate ranges of cells; at most {MAX_RANGES}"
            raise RegionError(msg, limit=MAX_RANGES, actual=count)

    def condition(self) -> sa.ColumnElement[bool]:
        """See `twinjet.index.regions.Region`."""
        cells = self.ranges.astype(np.int64)
        shift = 2 * (MAX_ORDER - STORED_ORDER)
        return in_cells(merged(cells[:, 0] >> shift, (cells[:, 1] - 1) >> shift))

    def contains(self, vectors: NDArray[np.float64]) -> Mask:
        """See `twinjet.index.regions.Region`."""
        ra = np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])) % 360
        dec = np.degrees(np.arctan2(vectors[:, 2], np.hypot(*vectors[:, :2].T)))
        cells = healpix_29(ra, dec)
        firsts, ends = self.ranges.astype(np.int64).T
        place = np.searchsorted(firsts, cells, side="right") - 1
        return np.asarray((place >= 0) & (cells < ends[np.maximum(place, 0)]))


def moc_of_text(text: str) -> MocRegion:
    """A MOC as ASCII (``6/1-3 7/40``) or JSON (``{"6": [1, 2, 3], "7": [40]}``).

    Raises
    ------
    RegionError
        It is neither, names a cell or an order that there is not, is empty or too
        large.
    """
    if len(text) > MAX_TEXT:
        msg = f"the MOC has {len(text)} characters; at most {MAX_TEXT}"
        raise RegionError(msg, limit=MAX_TEXT, actual=len(text))
    if text.lstrip().startswith("{"):
        try:
            cells = json.loads(text)
        except (ValueError, RecursionError):
            msg = "the MOC is not JSON"
            raise RegionError(msg) from None
        return moc_of_json(cells)
    for order, first, _, last in re.findall(r"(\d+)/|(\d+)(-(\d+))?", text):
        if order and (len(order) > 2 or int(order) > MAX_ORDER):  # noqa: PLR2004
            msg = f"the MOC has the order {order[:20]}; at most {MAX_ORDER}"
            raise RegionError(msg, limit=MAX_ORDER, actual=order[:20])
        if last and (len(last), last) < (len(first), first):
            shown = f"{first[:20]}-{last[:20]}"
            msg = f"the MOC's range {shown} ends before it begins"
            raise RegionError(msg, actual=shown)
    return _checked(text, "ascii")


def moc_of_json(cells: Any) -> MocRegion:
    """A MOC of cells by order, as JSON has it.

    Raises
    ------
    RegionError
        See `moc_of_text`.
    """
    if not isinstance(cells, dict):
        msg = "a MOC as JSON is an object of lists: order to cells"
        raise RegionError(msg)
    for order, numbers in cells.items():
        if not re.fullmatch(r"[0-9]{1,2}", str(order)) or int(order) > MAX_ORDER:
            msg = f"the MOC has the order {str(order)[:20]!r}; at most {MAX_ORDER}"
            raise RegionError(msg, limit=MAX_ORDER, actual=str(order)[:20])
        count = 12 * 4 ** int(order)
        if not isinstance(numbers, list):
            msg = f"the cells of order {order} of the MOC are no list"
            raise RegionError(msg)
        for cell in numbers:
            if type(cell) is not int or not 0 <= cell < count:
                msg = (
                    f"the MOC has the cell {str(cell)[:30]!r} of order {order}; cells "
                    f"of that order are 0 to {count - 1}"
                )
                raise RegionError(msg, limit=str(count - 1), actual=str(cell)[:30])
    return _checked(json.dumps(cells), "json")


def moc_of_fits(data: bytes) -> MocRegion:
    """A MOC as a FITS file, of version 1 or 2.

    Raises
    ------
    RegionError
        It is not one, or of another frame than ICRS, or as in `moc_of_text`.
    """
    if data[:2] == b"\x1f\x8b":
        msg = "the MOC is compressed; gunzip it first"
        raise RegionError(msg)
    try:
        # Before memory is taken for as many rows as it says.
        tables = whole(data)[1:]
    except CutoutError as exc:
        msg = f"the MOC cannot be read as fits: {exc}"
        raise RegionError(msg, limit=exc.limit, actual=exc.actual) from exc
    if not tables:
        msg = "the MOC has no second HDU, in which its cells are"
        raise RegionError(msg)
    frame = tables[0].text("COORDSYS") or "C"
    if frame != "C":
        msg = f"the MOC is of the frame COORDSYS = {frame!r}; MOCs are ICRS, 'C'"
        raise RegionError(msg, limit="C", actual=frame[:20])
    return _checked(data, "fits")


def moc_of_bytes(data: bytes) -> MocRegion:
    """A MOC of a file: FITS, ASCII or JSON, told apart by how it begins.

    Raises
    ------
    RegionError
        It is none of them, or as in `moc_of_fits` and `moc_of_text`.

    Examples
    --------
    >>> moc_of_bytes(b"29/0-3").ranges.tolist()
    [[0, 4]]
    """
    if data.startswith((b"SIMPLE", b"\x1f\x8b")):
        return moc_of_fits(data)
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as exc:
        msg = f"the MOC is neither FITS nor text: byte {exc.start} is {data[exc.start]}"
        raise RegionError(msg, actual=exc.start) from None
    return moc_of_text(text)


def _checked(data: str | bytes, form: str) -> MocRegion:
    from mocpy import MOC  # noqa: PLC0415 - half a second, for what few commands need

    try:
        if isinstance(data, bytes):
            moc = MOC.from_fits(BytesIO(data))
        else:
            moc = MOC.from_string(data, format=form)
        ranges = np.asarray(moc.to_depth29_ranges, dtype=np.uint64).reshape(-1, 2)
    except BaseException as exc:  # mocpy has no class of its own
        # Where its Rust panics, that is no `Exception`, and a fault of the file's, too.
        if not isinstance(exc, Exception) and type(exc).__name__ != _PANIC:
            raise
        msg = f"the MOC cannot be read as {form}: {_printable(exc)}"
        raise RegionError(msg[:300]) from exc
    if len(ranges) and (
        int(ranges.max()) > 12 * 4**MAX_ORDER or (ranges[:, 0] >= ranges[:, 1]).any()
    ):
        msg = "the MOC has cells that there are not"
        raise RegionError(msg)
    return MocRegion(ranges)


def _printable(exc: BaseException) -> str:
    """The first line of what a library says, which may quote the file."""
    first = str(exc).strip().partition("\n")[0]
    return "".join(filter(str.isprintable, first))
