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
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twinjet.index.errors import CatalogueFormatError
from twinjet.index.tables import ROWS_AT_A_TIME, RawTable, read_table
from twinjet.model.errors import CutoutError
from twinjet.model.fits_headers import HeaderBlock, whole

# Of a table that is unpacked, and of its rows as arrays.
MAX_BYTES = 64 * 2**20
_MAX_ARRAY_BYTES = 512 * 2**20
_MAX_PARQUET_ROWS = 1_000_000

# Of Parquet, spelled out.
_MAX_PARQUET_BYTES = 128 * 2**20

# Of rows that are read together; each is a Python object.
_MAX_VALUES = 2**21

# Values of a column of FITS in a row, and their type (FITS Standard 4.0, table 18).
_FORM = re.compile(r"\s*(\d{0,18})\s*([A-Z])")

_TEXTS = (
    *(pa.types.is_string, pa.types.is_large_string),
    *(pa.types.is_binary, pa.types.is_large_binary),
)

# Characters of a card of FITS.
_CARD = 80

# Columns and parameters of a VOTable.
_MAX_DESCRIBED = 4000

# Of the largest number that a VOTable has, double complex.
_VALUE_BYTES = 16


def read_uploaded(name: str, data: bytes, *, most_rows: int | None = None) -> RawTable:
    r"""Read a CSV, VOTable, FITS table or Parquet, without fetching anything.

    Parameters
    ----------
    name
        Of the file, for the messages.
    data
        What it holds.
    most_rows
        That are of use. A VOTable of more is refused before it is read, which takes
        long; of others the rows are read as they are asked for.

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
    elif data[:6] == b"SIMPLE":
        data = _checked_fits(name, data)
    elif b"<VOTABLE" in data[:4096].upper():
        _check_votable(name, data, most_rows)
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


def _checked_fits(name: str, data: bytes) -> bytes:
    """The file as far as its headers were looked at.

    For a long value a reader takes a square of time, and it believes any promise.
    """
    try:
        hdus = whole(data)
        for hdu in hdus:
            _check_columns(name, hdu)
    except CutoutError as exc:
        msg = f"the catalogue {name} is damaged: {exc}"
        raise CatalogueFormatError(msg, limit=exc.limit, actual=exc.actual) from exc
    # What is no HDU by the standard may be one to a reader.
    end = hdus[-1].end
    plain = bytearray(data[:end].ljust(end, b"\0"))
    # By comments astropy makes objects of columns, of any kind and cost.
    start = 0
    for hdu in hdus:
        for place in range(start, hdu.data_start, _CARD):
            if plain.startswith(b"COMMENT ", place):
                plain[place : place + _CARD] = bytes(_CARD).replace(b"\0", b" ")
        start = hdu.end
    return bytes(plain)


def _check_columns(name: str, block: HeaderBlock) -> None:
    forms = (block.text(key) or "" for key in block.cards if key[:5] == "TFORM")
    values = 0
    for repeat, kind in (found.groups() for found in map(_FORM.match, forms) if found):
        # Rows that lie upon each other make any number of values of few bytes.
        if kind in "PQ":
            msg = f"the catalogue {name} has a column of variable length, which is not "
            msg += "read of tables that are sent: leave it out"
            raise CatalogueFormatError(msg)
        values += 1 if kind == "A" else int(repeat or 1)
    values *= min(block.integer("NAXIS2", 0), ROWS_AT_A_TIME)
    if values > _MAX_VALUES:
        msg = f"the catalogue {name} has {values} values in {ROWS_AT_A_TIME} rows or "
        msg += f"fewer; at most {_MAX_VALUES}: leave out columns of arrays"
        raise CatalogueFormatError(msg, limit=_MAX_VALUES, actual=values)


def _check_parquet(name: str, data: bytes) -> None:
    """A few bytes can stand for any number of equal values.

    So text is looked at as a dictionary and numbers of it, before any of it is spelled
    out.
    """
    try:
        with pq.ParquetFile(io.BytesIO(data)) as file:
            rows = file.metadata.num_rows
            groups = map(file.metadata.row_group, range(file.num_row_groups))
            packed = sum(group.total_byte_size for group in groups)
            columns = list(file.schema_arrow)
        if rows > _MAX_PARQUET_ROWS or packed > _MAX_ARRAY_BYTES:
            msg = f"the catalogue {name} has {rows} rows of {packed} bytes; at most "
            msg += f"{_MAX_PARQUET_ROWS} of {_MAX_ARRAY_BYTES} in Parquet"
            raise CatalogueFormatError(msg, limit=_MAX_PARQUET_ROWS, actual=rows)
        size = rows * sum(_width(name, column) for column in columns)
        texts = [column.name for column in columns if _is_text(column.type)]
        with pq.ParquetFile(io.BytesIO(data), read_dictionary=texts) as file:
            for batch in file.iter_batches(
                ROWS_AT_A_TIME, columns=texts, use_threads=False
            ):
                size += sum(_text_bytes(column) for column in batch.columns)
                if size > _MAX_PARQUET_BYTES:
                    break
    except MemoryError:  # which of Arrow is an ArrowException, too
        raise
    except (OSError, pa.ArrowException) as exc:
        msg = f"the catalogue {name} is damaged: {exc}"
        raise CatalogueFormatError(msg) from exc
    if size > _MAX_PARQUET_BYTES:
        msg = f"the catalogue {name} unpacks to more than {_MAX_PARQUET_BYTES} bytes"
        raise CatalogueFormatError(msg, limit=_MAX_PARQUET_BYTES, actual=size)


def _values(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    """Whether its values have lengths of their own."""
    return any(test(_values(kind)) for test in _TEXTS)


def _width(name: str, column: pa.Field) -> int:
    """Bytes of a value that is no text; refuses what is made of others."""
    kind = _values(column.type)
    if _is_text(kind) or pa.types.is_null(kind):
        return 0
    try:
        bits: int = kind.bit_width
    except ValueError:
        msg = f"the column {column.name!r} of the catalogue {name} is of the type "
        msg += f"{str(kind)[:100]}; send plain numbers and text"
        raise CatalogueFormatError(msg, parameter=column.name[:100]) from None
    return math.ceil(bits / 8)


def _text_bytes(column: pa.Array) -> int:
    """Of text, were it spelled out."""
    if pa.types.is_dictionary(column.type):
        lengths = pc.binary_length(column.dictionary).take(column.indices)
    else:
        lengths = pc.binary_length(column)
    return int(pc.sum(lengths, min_count=0).as_py())


def _check_votable(name: str, data: bytes, most_rows: int | None) -> None:
    """Look through a VOTable as its reader will, but believe nothing."""
    look = _VotableLook(name, most_rows)
    parser = expat.ParserCreate()
    parser.StartElementHandler = look.start
    parser.EntityDeclHandler = lambda *_: look.refuse("declares entities")
    try:
        parser.ParseFile(io.BytesIO(data))
    except (expat.ExpatError, ValueError, LookupError) as exc:
        # The last two of an encoding that is not known.
        msg = f"the catalogue {name} is damaged: {exc}"
        raise CatalogueFormatError(msg) from exc


class _VotableLook:
    """What the elements of a VOTable ask for, one after another."""

    def __init__(self, name: str, most_rows: int | None) -> None:
        self._name = name
        self._most_rows = most_rows
        self._promised = self._rows = self._row_values = self._described = 0
        self._tables = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        bare = tag.rpartition(":")[2]
        if bare == "STREAM" and "href" in attributes:
            self.refuse("refers to another file, which is not fetched: send its rows")
        elif bare in {"FITS", "PARQUET"}:
            self.refuse("holds FITS or Parquet; send its rows")
        elif bare in {"FIELD", "PARAM", "INFO"}:
            self._count(bare)
        if bare == "FIELD":
            self._row_values += _size_of(attributes.get("arraysize", "1"))
        elif bare == "TABLE":
            told = attributes.get("nrows", "0")
            promised = int(told) if re.fullmatch(r"\d{1,18}", told) else 0
            self._promised = max(self._promised, promised)
            self._tables += 1
        elif bare == "TR":
            self._rows += 1
        self._check_size()

    def refuse(self, why: str) -> None:
        """Read it no further."""
        msg = f"the catalogue {self._name} {why}"
        raise CatalogueFormatError(msg)

    def _count(self, kind: str) -> None:
        """Each costs the reader a millisecond."""
        self._described += 1
        if self._described > _MAX_DESCRIBED:
            msg = f"the catalogue {self._name} has more than {_MAX_DESCRIBED} elements "
            msg += f"FIELD, PARAM and INFO; the next is {kind}"
            limit = _MAX_DESCRIBED
            raise CatalogueFormatError(msg, limit=limit, actual=self._described)

    def _check_size(self) -> None:
        rows = max(self._rows, self._promised)
        if rows * self._row_values * _VALUE_BYTES > _MAX_ARRAY_BYTES:
            self.refuse(f"needs more than {_MAX_ARRAY_BYTES} bytes of memory")
        # The first table is the one that is read.
        limit = self._most_rows
        if limit is not None and self._tables <= 1 and rows > limit:
            msg = f"the catalogue {self._name} has more than {limit} rows"
            raise CatalogueFormatError(msg, limit=limit, actual=rows)


def _size_of(array_size: str) -> int:
    """Values of a field; those of a variable length come with their text."""
    parts = re.findall(r"\d{1,18}", array_size.rpartition("*")[0] or array_size)
    return max(1, math.prod(map(int, parts)))
