"""Tables of astronomers: CSV, VOTable, FITS and Parquet, one reader each.

Each gives the same: column names with unit, description and UCD, and rows of plain
Python values (None where masked) with the line or row number that a person would
look for.
"""

import csv
import gzip
import io
import math
import warnings
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits, votable
from astropy.table import Table

from twinjet.index.errors import CatalogueFormatError
from twinjet.model.fits_headers import BLOCK

if TYPE_CHECKING:
    from _csv import Reader

# Of formats that are read at once: a VOTable of 10^7 rows. CSV, Parquet and binary
# tables of FITS are read some rows at a time and may have any size.
_MAX_BYTES = 4 * 2**30

_DELIMITERS = ",\t;|"

# By which a format is known; the first line of a CSV is in it, too.
_HEAD_BYTES = 65_536

# Of a row of a FITS table, and of all that are in memory together.
_MAX_ROW_BYTES = 64 * 2**20

ROWS_AT_A_TIME = 8192
"""Rows that are plain Python values together."""

Rows = Iterable[tuple[int, Sequence[Any]]]


@dataclass(frozen=True)
class Field:
    """A column as the file has it."""

    name: str
    unit: str | None = None
    description: str | None = None
    ucd: str | None = None


@dataclass(frozen=True)
class RawTable:
    """Fields and rows of a file."""

    fields: tuple[Field, ...]
    rows: Rows
    """Line (CSV) or row number from 1, and the values in the order of the fields; read
    from the start as often as is wanted."""

    def rows_of(self, places: Collection[int]) -> Rows:
        """As `rows`, with None for all other columns, which are not looked at."""
        rows = self.rows
        return rows.only(places) if isinstance(rows, _ColumnRows) else rows


def read_table(path: Path, data: bytes | None = None) -> RawTable:
    """Read a table by what the file holds, not by its name.

    Parameters
    ----------
    path
        The file.
    data
        What it holds, where it is a member of an archive and no file of its own.

    Raises
    ------
    CatalogueFormatError
        It is absent, empty, damaged or of no format that is read; of a CSV, damage may
        be found as late as its rows are read.
    """
    opened = _opener(path, data)
    try:
        with opened() as file:
            head = file.read(_HEAD_BYTES)
    except (OSError, EOFError, zlib.error) as exc:
        msg = f"the catalogue {path} cannot be read: {exc}"
        raise CatalogueFormatError(msg) from exc
    if not head.strip():
        msg = f"the catalogue {path} is empty"
        raise CatalogueFormatError(msg, actual=len(head))
    try:
        with warnings.catch_warnings():
            # Units and names that break a rule are kept as they are written.
            warnings.simplefilter("ignore")
            if head[:6] == b"SIMPLE":
                return _read_fits(opened, path)
            if head[:4] == b"PAR1":
                return _read_parquet(opened)
            if b"<VOTABLE" in head[:4096].upper():
                return _read_votable(_whole(opened, path))
    except (CatalogueFormatError, MemoryError, ImportError):
        raise  # the last is a fault of ours
    except Exception as exc:
        # astropy and pyarrow raise many unlike classes on damaged files.
        msg = f"the catalogue {path} is damaged: {exc}"
        raise CatalogueFormatError(msg) from exc
    return _read_csv(opened, path)


def _opener(path: Path, data: bytes | None) -> Callable[[], IO[bytes]]:
    """Opens the table from its start, unpacked."""

    def packed() -> IO[bytes]:
        return path.open("rb") if data is None else io.BytesIO(data)

    try:
        with packed() as file:
            is_packed = file.read(2) == b"\x1f\x8b"
    except OSError as exc:
        msg = f"the catalogue {path} cannot be read: {exc}"
        raise CatalogueFormatError(msg) from exc
    if not is_packed:
        return packed
    if data is None:
        return lambda: cast("IO[bytes]", gzip.open(path))
    return lambda: cast("IO[bytes]", gzip.open(io.BytesIO(data)))


def _whole(opened: Callable[[], IO[bytes]], path: Path) -> bytes:
    with opened() as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        msg = f"{path} has more than {_MAX_BYTES} bytes; as CSV or Parquet it may"
        raise CatalogueFormatError(msg, limit=_MAX_BYTES)
    return data


def _read_csv(opened: Callable[[], IO[bytes]], path: Path) -> RawTable:
    rows = _CsvRows(opened, path)
    return RawTable(tuple(_named(name) for name in rows.names), rows)


class _CsvRows:
    """Rows of a CSV, read again each time they are asked for."""

    def __init__(self, opened: Callable[[], IO[bytes]], path: Path) -> None:
        self._opened = opened
        self._path = path
        self._delimiter = ","
        with self._reading() as (reader, file):
            first = file.readline()
            self._delimiter = max(_DELIMITERS, key=first.count)
            del reader
        with self._reading() as (reader, _):
            names = next(reader, [])
        self.names = [name.strip().lstrip("#").strip() for name in names]

    def __iter__(self) -> Iterator[tuple[int, Sequence[str]]]:
        with self._reading() as (reader, _):
            next(reader)
            end = reader.line_num
            for values in reader:
                line, end = end + 1, reader.line_num
                if any(value.strip() for value in values):
                    yield line, values

    @contextmanager
    def _reading(self) -> Iterator[tuple["Reader", IO[str]]]:
        with self._opened() as packed:
            text = io.TextIOWrapper(packed, encoding="utf-8-sig", newline="")
            reader = csv.reader(text, delimiter=self._delimiter)
            try:
                yield reader, text
            except UnicodeDecodeError as exc:
                msg = (
                    f"the catalogue {self._path} is neither VOTable, FITS nor Parquet, "
                    f"and as CSV it is not UTF-8 after line {reader.line_num}"
                )
                raise CatalogueFormatError(msg) from exc
            except (csv.Error, OSError, EOFError, zlib.error) as exc:
                msg = (
                    f"the catalogue {self._path} is damaged at line {reader.line_num}: "
                    f"{exc}"
                )
                raise CatalogueFormatError(msg) from exc


def _named(name: str) -> Field:
    """A CSV column; a unit in brackets at the end of its name is its unit."""
    if name.endswith("]") and "[" in name:
        bare, _, unit = name[:-1].rpartition("[")
        return Field(bare.strip(), unit.strip() or None)
    return Field(name)


def _read_fits(opened: Callable[[], IO[bytes]], path: Path) -> RawTable:
    with opened() as file, fits.open(file, memmap=False) as hdus:
        found = (h for h in hdus if isinstance(h, fits.BinTableHDU | fits.TableHDU))
        hdu = next(found, None)
        if hdu is None:
            msg = "no HDU holds a table"
            raise ValueError(msg)
        header, start = hdu.header, hdu.fileinfo()["datLoc"]
        place = hdus.index_of(hdu)
    if not 0 < header["NAXIS1"] <= _MAX_ROW_BYTES:
        msg = f"its rows have {header['NAXIS1']} bytes; 1 to {_MAX_ROW_BYTES} may be"
        raise ValueError(msg)
    ucds = [header.get(f"TUCD{i}") for i in range(1, header["TFIELDS"] + 1)]
    if isinstance(hdu, fits.TableHDU) or header["PCOUNT"]:
        # Text, or values of any length that lie behind the rows.
        with fits.open(io.BytesIO(_whole(opened, path)), memmap=False) as hdus:
            return _from_astropy(Table.read(hdus[place]), ucds)
    rows = _FitsRows(opened, path, header, start)
    return RawTable(_from_astropy(rows.table(b""), ucds).fields, rows)


class _ColumnRows(ABC):
    """Rows of a table that has its values by columns."""

    wanted: Collection[int] | None = None
    """Of these columns; of all when None."""

    @abstractmethod
    def __iter__(self) -> Iterator[tuple[int, Sequence[Any]]]:
        """From the first."""

    def only(self, places: Collection[int]) -> Self:
        """The same rows, of some columns."""
        made = copy(self)
        made.wanted = frozenset(places)
        return made

    def _values(
        self, columns: Iterable[Any], count: int, plain: Callable[[Any], list[Any]]
    ) -> Iterator[tuple[Any, ...]]:
        missing = [None] * count
        wanted = self.wanted
        made = (
            plain(column) if wanted is None or place in wanted else missing
            for place, column in enumerate(columns)
        )
        return zip(*made, strict=True)


class _FitsRows(_ColumnRows):
    """Rows of a binary table, some at a time, each time they are asked for.

    Not by mapping the file: were it cut meanwhile, the system would end the process.
    """

    def __init__(
        self,
        opened: Callable[[], IO[bytes]],
        path: Path,
        header: fits.Header,
        start: int,
    ) -> None:
        self._opened = opened
        self._path = path
        self._header = header.copy()
        self._start = start
        self._count, self._row_bytes = header["NAXIS2"], header["NAXIS1"]

    def __iter__(self) -> Iterator[tuple[int, Sequence[Any]]]:
        with self._opened() as file:
            file.seek(self._start)
            block = min(ROWS_AT_A_TIME, _MAX_ROW_BYTES // self._row_bytes)
            for first in range(0, self._count, block):
                wanted = min(block, self._count - first) * self._row_bytes
                rows = _AstropyRows(self.table(self._read(file, wanted)))
                rows.wanted = self.wanted
                for place, values in rows:
                    yield first + place, values

    def table(self, data: bytes) -> Table:
        """A table of some rows as they are in the file."""
        self._header["NAXIS2"] = len(data) // self._row_bytes
        padding = bytes(-len(data) % BLOCK)
        text = self._header.tostring().encode("ascii")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Table.read(fits.BinTableHDU.fromstring(text + data + padding))

    def _read(self, file: IO[bytes], count: int) -> bytes:
        try:
            data = file.read(count)
        except (OSError, EOFError, zlib.error) as exc:
            msg = f"the catalogue {self._path} is damaged: {exc}"
            raise CatalogueFormatError(msg) from exc
        if len(data) < count:
            msg = f"the catalogue {self._path} is damaged: it ends before its last row"
            raise CatalogueFormatError(msg)
        return data


def _read_votable(data: bytes) -> RawTable:
    parsed = votable.parse(io.BytesIO(data), verify="ignore").get_first_table()
    table = parsed.to_table(use_names_over_ids=True)
    return _from_astropy(table, [field.ucd for field in parsed.fields])


def _from_astropy(table: Table, ucds: Sequence[str | None]) -> RawTable:
    fields = tuple(
        Field(
            name=name,
            unit=None if table[name].unit is None else str(table[name].unit),
            description=table[name].info.description or None,
            ucd=ucd,
        )
        for name, ucd in zip(table.colnames, ucds, strict=True)
    )
    return RawTable(fields, _AstropyRows(table))


class _AstropyRows(_ColumnRows):
    """Rows of a table in memory, as plain values some at a time."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def __iter__(self) -> Iterator[tuple[int, Sequence[Any]]]:
        names = self._table.colnames
        for start in range(0, len(self._table), ROWS_AT_A_TIME):
            part = self._table[start : start + ROWS_AT_A_TIME]
            columns = (part[name] for name in names)
            values = self._values(columns, len(part), _all_plain)
            yield from enumerate(values, start=start + 1)


def _read_parquet(opened: Callable[[], IO[bytes]]) -> RawTable:
    with opened() as file, pq.ParquetFile(file) as table:
        schema = table.schema_arrow
        # Damage is found before a row is used.
        for _ in table.iter_batches(ROWS_AT_A_TIME, use_threads=False):
            pass
    fields = []
    for field in schema:
        metadata = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
        fields.append(
            Field(
                field.name,
                metadata.get("unit"),
                metadata.get("description"),
                metadata.get("ucd"),
            )
        )
    return RawTable(tuple(fields), _ParquetRows(opened))


class _ParquetRows(_ColumnRows):
    """Rows of a Parquet file, read again each time they are asked for."""

    def __init__(self, opened: Callable[[], IO[bytes]]) -> None:
        self._opened = opened

    def __iter__(self) -> Iterator[tuple[int, Sequence[Any]]]:
        start = 1
        with self._opened() as file, pq.ParquetFile(file) as table:
            for batch in table.iter_batches(ROWS_AT_A_TIME, use_threads=False):
                values = self._values(batch.columns, batch.num_rows, self._listed)
                yield from enumerate(values, start=start)
                start += batch.num_rows

    @staticmethod
    def _listed(column: pa.Array) -> list[Any]:
        try:
            return _all_plain(column.to_pylist())
        except MemoryError:  # which of Arrow is an ArrowException, too
            raise
        except (ValueError, OverflowError, pa.ArrowException) as exc:
            # Text that is not UTF-8, a time beyond those of Python.
            msg = f"the catalogue is damaged: a value of a column of {column.type} "
            msg += "cannot be read"
            raise CatalogueFormatError(msg) from exc


def _all_plain(values: Iterable[Any]) -> list[Any]:
    return [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    """A Python value of a cell; None where it is masked or NaN."""
    if value is None or value is np.ma.masked:
        return None
    if isinstance(value, bytes | np.bytes_):
        return value.decode("utf-8", "replace").strip()
    if isinstance(value, np.ndarray) and value.ndim:
        return None if value.size == 0 else " ".join(str(v) for v in value.ravel())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and math.isnan(value):
        return None
    return value
