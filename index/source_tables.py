"""Tables that name sources: rows of a batch, entries of a list of known ones.

They come from strangers, and are read in a process that can do nothing else: this
module imports neither a database nor an engine of vectors.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from twinjet.index.catalogue import (
    MAX_ID_LENGTH,
    angle_of,
    is_empty,
    places_of,
    text_of,
)
from twinjet.index.errors import (
    CatalogueColumnError,
    CatalogueFormatError,
    InvalidQueryError,
    KnownListError,
)
from twinjet.index.table_upload import read_uploaded

MAX_ROWS = 1000
"""Of a batch."""

MAX_ENTRIES = 200_000
"""Of a list."""


@dataclass(frozen=True)
class Asked:
    """One row of a batch.

    Attributes
    ----------
    row
        Its number in what came: from 1, or the line of a CSV.
    source_id
        Of a source of the generation, in any spelling.
    position
        ICRS degrees; of whatever is nearest to it, where there is no source of that ID.
    fault
        Why it can be neither.
    """

    row: int
    source_id: str | None = None
    position: tuple[float, float] | None = None
    fault: str | None = None


@dataclass(frozen=True)
class Entry:
    """A known source: an ID, an ICRS position in degrees, or both."""

    source_id: str | None
    ra: float | None
    dec: float | None


def read_batch(file_name: str, data: bytes) -> list[Asked]:
    """Rows of a table: CSV, VOTable, FITS or Parquet, of IDs, of positions or of both.

    Parameters
    ----------
    file_name
        For the messages.
    data
        What the file holds.

    Raises
    ------
    CatalogueFormatError
        It cannot be read as a table, or is a VOTable of more than `MAX_ROWS`.
    CatalogueColumnError
        It has neither a column of IDs nor two of positions.
    InvalidQueryError
        It has no row, or more than `MAX_ROWS`.
    """
    table = read_uploaded(file_name, data, most_rows=MAX_ROWS)
    places = places_of(table.fields, {}, Path(file_name), ())
    by_position = "ra" in places and "dec" in places
    if "source_id" not in places and not by_position:
        names = ", ".join(field.name for field in table.fields)
        msg = f"{file_name} has neither source_id nor ra and dec; it has {names[:500]}"
        raise CatalogueColumnError(msg, parameter="source_id")
    units = {
        word: table.fields[places[word]].unit
        for word in ("ra", "dec")
        if word in places
    }
    rows = []
    rows_there = table.rows_of(places.values())
    for line, values in islice(rows_there, MAX_ROWS + 1):
        source_id = text_of(values, places.get("source_id"))
        position = fault = None
        if source_id is not None and len(source_id) > MAX_ID_LENGTH:
            fault = f"its ID has {len(source_id)} characters; at most {MAX_ID_LENGTH}"
            source_id = None
        if by_position:
            try:
                if len(values) != len(table.fields):
                    fault = f"{len(values)} values, not {len(table.fields)}"
                else:
                    ra = angle_of(values[places["ra"]], "ra", units["ra"])
                    dec = angle_of(values[places["dec"]], "dec", units["dec"])
                    position = ra, dec
            except ValueError as exc:
                fault = str(exc)
        elif source_id is None:
            fault = fault or "it has no source_id"
        rows.append(Asked(line, source_id, position, fault))
    check_count(len(rows), "file")
    return rows


def read_entries(file_name: str, data: bytes) -> list[Entry]:
    """Known sources of a CSV, VOTable, FITS table or Parquet.

    Its columns are found under their usual names: an ID, ``ra`` and ``dec``, or all
    three.

    Parameters
    ----------
    file_name
        For the messages.
    data
        What the file holds.

    Raises
    ------
    KnownListError
        It is no table, has neither IDs nor positions, or a row that has neither or a
        position that is not on the sky; or it has no row or more than `MAX_ENTRIES`.

    Examples
    --------
    >>> read_entries("a.csv", b"name,ra,dec" + bytes([10]) + b"J1,10.5,-3")
    [Entry(source_id='J1', ra=10.5, dec=-3.0)]
    """
    try:
        return list(_entries(Path(file_name), data))
    except (CatalogueFormatError, CatalogueColumnError) as exc:
        msg = str(exc).replace("the catalogue ", "the list ")
        raise KnownListError(msg, parameter="file", actual=exc.actual) from exc


def check_count(count: int, parameter: str) -> None:
    """Refuse a batch of no rows, or of too many.

    Raises
    ------
    InvalidQueryError
        There are not 1 to `MAX_ROWS`.
    """
    if not 1 <= count <= MAX_ROWS:
        more = f"more than {MAX_ROWS}" if count > MAX_ROWS else "none"
        msg = f"give 1 to {MAX_ROWS} rows; there were {more}"
        raise InvalidQueryError(
            msg, parameter=parameter, limit=f"1 to {MAX_ROWS}", actual=count
        )


def _entries(path: Path, data: bytes) -> Iterator[Entry]:
    table = read_uploaded(path.name, data, most_rows=MAX_ENTRIES)
    names = [field.name for field in table.fields]
    places = places_of(table.fields, {}, path, ())
    id_place = places.get("source_id")
    has_position = "ra" in places and "dec" in places
    if id_place is None and not has_position:
        shown = ", ".join(names)[:200]
        msg = f"a list has a column of IDs, or ra and dec; it has: {shown}"
        raise KnownListError(msg, parameter="file", actual=shown)
    units = {
        word: table.fields[places[word]].unit for word in ("ra", "dec") if has_position
    }
    count = 0
    for line, values in table.rows_of(places.values()):
        count += 1
        if count > MAX_ENTRIES:
            msg = f"more than {MAX_ENTRIES} sources in a list"
            raise KnownListError(msg, parameter="file", limit=MAX_ENTRIES)
        try:
            yield _entry(values, names, id_place, places, units)
        except ValueError as exc:
            msg = f"line {line} of the list: {exc}"
            raise KnownListError(msg, parameter="file", actual=line) from exc
    if count == 0:
        msg = "the list has no rows"
        raise KnownListError(msg, parameter="file", actual=0)


def _entry(
    values: Sequence[Any],
    names: Sequence[str],
    id_place: int | None,
    places: dict[str, int],
    units: dict[str, str | None],
) -> Entry:
    if len(values) != len(names):
        msg = f"{len(values)} values where there are {len(names)} columns"
        raise ValueError(msg)
    source_id = text_of(values, id_place)
    if source_id is not None and len(source_id) > MAX_ID_LENGTH:
        msg = f"its ID has {len(source_id)} characters; at most {MAX_ID_LENGTH}"
        raise ValueError(msg)
    if source_id is not None and not source_id.isprintable():
        msg = f"its ID {source_id!r} has control characters"
        raise ValueError(msg)
    # Many lists have no position of some of their sources.
    texts = [text_of(values, places[word]) or "" for word in units]
    if not units or any(is_empty(text) for text in texts):
        if source_id is None:
            msg = "it has neither an ID nor a position"
            raise ValueError(msg)
        return Entry(source_id, None, None)
    ra, dec = (angle_of(values[places[word]], word, units[word]) for word in units)
    return Entry(source_id, ra, dec)
