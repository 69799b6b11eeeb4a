"""Tables from strangers: what a file says of itself is checked before it is believed.

A VOTable may name other files to be fetched, entities that grow, and arrays of any
size, all of which the library behind `twinjet.index.tables` would make without a word.
"""

import io
import math
import re
import zlib
from pathlib import Path
from xml.parsers import expat

import pyarrow as pa
import pyarrow.parquet as pq

from twinjet.index.errors import CatalogueFormatError
from twinjet.index.tables import RawTable, read_table

# Of a table that is unpacked, and of its rows as arrays.
MAX_BYTES = 64 * 2**20
_MAX_ARRAY_BYTES = 512 * 2**20
_MAX_PARQUET_ROWS = 1_000_000

# Of the largest number that a VOTable has, double complex.
_VALUE_BYTES = 16


def read_uploaded(name: str, data: bytes) -> RawTable:
    r"""Read a CSV, VOTable, FITS table or Parquet, without fetching anything.

    Parameters
    ----------
    name
        Of the file, for the messages.
    data
        What it holds.

    Raises
    ------
    CatalogueFormatError
        It is none of these, is damaged or empty, unpacks to more than `MAX_BYTES`, is
        larger in memory than it may be, or is a VOTable that refers to other files or
        declares entities.

    Examples
    --------
    >>> [field.name for field in read_uploaded("a", b"id,ra\n1,2").fields]
    ['id', 'ra']
    """
    data = _unpacked(name, data)
    if data[:4] == b"PAR1":
        _check_parquet(name, data)
    elif b"<VOTABLE" in data[:4096].upper():
        _check_votable(name, data)
    return read_table(Path(name), data)


def _unpacked(name: str, data: bytes) -> bytes:
    if data[:2] != b"\x1f\x8b":
        return data
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(data, MAX_BYTES + 1)
    except zlib.error as exc:
        msg = f"the catalogue {name} cannot be read: {exc}"
        raise CatalogueFormatError(msg) from exc
    if len(plain) > MAX_BYTES:
        msg = f"the catalogue {name} unpacks to more than {MAX_BYTES} bytes"
        raise CatalogueFormatError(msg, limit=MAX_BYTES)
    if not unpacker.eof or unpacker.unused_data:
        msg = f"the catalogue {name} cannot be read: its gzip stream is damaged"
        raise CatalogueFormatError(msg)
    if plain[:2] == b"\x1f\x8b":
        msg = f"the catalogue {name} is packed twice"
        raise CatalogueFormatError(msg)
    return plain


def _check_parquet(name: str, data: bytes) -> None:
    """A few bytes can stand for any number of equal values."""
    try:
        with pq.ParquetFile(io.BytesIO(data)) as file:
            rows = file.metadata.num_rows
            groups = map(file.metadata.row_group, range(file.num_row_groups))
            size = sum(group.total_byte_size for group in groups)
    except (OSError, pa.ArrowException) as exc:
        msg = f"the catalogue {name} is damaged: {exc}"
        raise CatalogueFormatError(msg) from exc
    if rows > _MAX_PARQUET_ROWS or size > _MAX_ARRAY_BYTES:
        msg = f"the catalogue {name} has {rows} rows of {size} bytes; at most "
        msg += f"{_MAX_PARQUET_ROWS} of {_MAX_ARRAY_BYTES} in Parquet"
        raise CatalogueFormatError(msg, limit=_MAX_PARQUET_ROWS, actual=rows)


def _check_votable(name: str, data: bytes) -> None:
    """Look through a VOTable as its reader will, but believe nothing."""
    row_values = rows = 0

    def refuse(why: str) -> None:
        msg = f"the catalogue {name} {why}"
        raise CatalogueFormatError(msg)

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal row_values, rows
        bare = tag.rpartition(":")[2]
        if bare == "STREAM" and "href" in attributes:
            refuse("refers to another file, which is not fetched: send its rows")
        elif bare in {"FITS", "PARQUET"}:
            refuse("holds FITS or Parquet; send its rows")
        elif bare == "FIELD":
            row_values += _size_of(attributes.get("arraysize", "1"))
        elif bare == "TABLE":
            told = attributes.get("nrows", "0")
            rows = max(rows, int(told) if re.fullmatch(r"\d{1,18}", told) else 0)
        elif bare == "TR":
            rows += 1
        if rows * row_values * _VALUE_BYTES > _MAX_ARRAY_BYTES:
            refuse(f"needs more than {_MAX_ARRAY_BYTES} bytes of memory")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EntityDeclHandler = lambda *_: refuse("declares entities")
    try:
        parser.Parse(data, True)  # noqa: FBT003 - it takes no names
    except expat.ExpatError as exc:
        msg = f"the catalogue {name} is damaged: {exc}"
        raise CatalogueFormatError(msg) from exc


def _size_of(array_size: str) -> int:
    """Values of a field; those of a variable length come with their text."""
    parts = re.findall(r"\d{1,18}", array_size.rpartition("*")[0] or array_size)
    return max(1, math.prod(map(int, parts)))
