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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits, votable
from astropy.table import Table

from twinjet.index.errors import CatalogueFormatError

# A catalogue of 10^7 rows as CSV; beyond it, Parquet is the format.
_MAX_BYTES = 4 * 2**30

_DELIMITERS = ",\t;|"


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
    rows: list[tuple[int, Sequence[Any]]]
    """Line (CSV) or row number from 1, and the values in the order of the fields."""


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
        It is absent, empty, damaged or of no format that is read.
    """
    try:
        if data is None:
            size = path.stat().st_size
            if size > _MAX_BYTES:
                msg = (
                    f"{path} has {size} bytes; at most {_MAX_BYTES} (use Parquet parts)"
                )
                raise CatalogueFormatError(msg, limit=_MAX_BYTES, actual=size)
            data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError) as exc:
        msg = f"the catalogue {path} cannot be read: {exc}"
        raise CatalogueFormatError(msg) from exc
    if not data.strip():
        msg = f"the catalogue {path} is empty"
        raise CatalogueFormatError(msg, actual=len(data))
    try:
        with warnings.catch_warnings():
            # Units and names that break a rule are kept as they are written.
            warnings.simplefilter("ignore")
            if data[:6] == b"SIMPLE":
                return _read_fits(data)
            if data[:4] == b"PAR1":
                return _read_parquet(data)
            if b"<VOTABLE" in data[:4096].upper():
                return _read_votable(data)
    except Exception as exc:
        # astropy and pyarrow raise many unlike classes on damaged files.
        msg = f"the catalogue {path} is damaged: {exc}"
        raise CatalogueFormatError(msg) from exc
    return _read_csv(data, path)


def _read_csv(data: bytes, path: Path) -> RawTable:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        msg = (
            f"the catalogue {path} is neither VOTable, FITS nor Parquet, and as CSV "
            f"it is not UTF-8 at byte {exc.start}"
        )
        raise CatalogueFormatError(msg) from exc
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        names = [name.strip().lstrip("#").strip() for name in next(reader)]
        rows: list[tuple[int, Sequence[Any]]] = []
        end = reader.line_num
        for values in reader:
            line, end = end + 1, reader.line_num
            if any(value.strip() for value in values):
                rows.append((line, values))
    except csv.Error as exc:
        msg = f"the catalogue {path} is damaged at line {reader.line_num}: {exc}"
        raise CatalogueFormatError(msg) from exc
    return RawTable(tuple(_named(name) for name in names), rows)


def _named(name: str) -> Field:
    """A CSV column; a unit in brackets at the end of its name is its unit."""
    if name.endswith("]") and "[" in name:
        bare, _, unit = name[:-1].rpartition("[")
        return Field(bare.strip(), unit.strip() or None)
    return Field(name)


def _read_fits(data: bytes) -> RawTable:
    with fits.open(io.BytesIO(data), memmap=False) as hdus:
        number = next(
            (
                n
                for n, h in enumerate(hdus)
                if isinstance(h, fits.BinTableHDU | fits.TableHDU)
            ),
            None,
        )
        if number is None:
            msg = "no HDU holds a table"
            raise ValueError(msg)
        header = hdus[number].header
        table = Table.read(hdus[number])
    ucds = [header.get(f"TUCD{i}") for i in range(1, len(table.colnames) + 1)]
    return _from_astropy(table, ucds)


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
    columns = [[_plain(value) for value in table[name]] for name in table.colnames]
    rows = list(zip(*columns, strict=True)) if columns else []
    return RawTable(fields, list(enumerate(rows, start=1)))


def _read_parquet(data: bytes) -> RawTable:
    table = pq.read_table(pa.BufferReader(data))
    fields = []
    for field in table.schema:
        metadata = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
        fields.append(
            Field(
                field.name,
                metadata.get("unit"),
                metadata.get("description"),
                metadata.get("ucd"),
            )
        )
    columns = [[_plain(value) for value in c.to_pylist()] for c in table.columns]
    return RawTable(tuple(fields), list(_numbered(columns)))


def _numbered(columns: list[list[Any]]) -> Iterator[tuple[int, Sequence[Any]]]:
    yield from enumerate(zip(*columns, strict=True), start=1)


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
