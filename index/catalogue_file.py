"""A catalogue in a file of ours: what a job was asked to index, in order on the sky.

::

    catalogue.parquet    a row for each source, then one for each problem

Rows are read and written some thousand at a time, so that memory does not grow with
the catalogue.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from twinjet.index.catalogue import Catalogue
from twinjet.index.durable import half_done, publish_file
from twinjet.index.errors import CatalogueFormatError
from twinjet.index.source import Column, RowProblem, Source
from twinjet.index.spill import source_of

_META = b"twinjet"

# Rows that are in memory together, and of a row group.
_BLOCK = 4096

_FIELDS = ("source_id", "ra", "dec", "survey", "cutout", "columns")


def source_columns(sources: list[Source]) -> dict[str, Any]:
    """Sources as columns of a Parquet table; measured values as JSON text."""
    return {
        "source_id": pa.array([s.source_id for s in sources], pa.string()),
        "ra": pa.array([s.ra for s in sources], pa.float64()),
        "dec": pa.array([s.dec for s in sources], pa.float64()),
        "survey": pa.array([s.survey for s in sources], pa.string()),
        "cutout": pa.array([s.cutout for s in sources], pa.string()),
        "columns": pa.array(
            [json.dumps(dict(s.columns), allow_nan=False) for s in sources],
            pa.string(),
        ),
    }


def sources_of(table: pa.Table) -> list[Source]:
    """Inverse of `source_columns`."""
    values = (table[name].to_pylist() for name in _FIELDS)
    return [source_of(row) for row in zip(*values, strict=True)]


def snapshot_name(catalogue: Catalogue) -> str:
    """File name for a catalogue: the same for the same sources and problems."""
    whole = sha256(catalogue.digest.encode())
    for problem in catalogue.problems:
        whole.update(f"{problem!r}\n".encode())
    return f"{whole.hexdigest()}.parquet"


def write_catalogue(path: Path, catalogue: Catalogue) -> None:
    """Write a catalogue in the order of HEALPix cells: whole, or not at all."""
    meta = {
        "name": catalogue.name,
        "digest": catalogue.digest,
        "columns": [asdict(column) for column in catalogue.columns],
        "sources": len(catalogue.sources),
        "problems": len(catalogue.problems),
    }
    schema = _table([], []).schema.with_metadata({_META: json.dumps(meta).encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    written = half_done(path)
    try:
        with pq.ParquetWriter(
            written, schema, compression="zstd", write_page_checksum=True
        ) as file:
            sources = catalogue.sources.on_the_sky()
            while some := list(islice(sources, _BLOCK)):
                file.write_table(_table(some, []).cast(schema))
            problems = iter(catalogue.problems)
            while few := list(islice(problems, _BLOCK)):
                file.write_table(_table([], few).cast(schema))
        publish_file(written, path)
    finally:
        written.unlink(missing_ok=True)


def load_catalogue(path: Path) -> Catalogue:
    """Open what `write_catalogue` wrote.

    Raises
    ------
    CatalogueFormatError
        It is absent or damaged; of its rows this is found when they are read.
    """
    try:
        with pq.ParquetFile(path) as file:
            meta = json.loads(file.schema_arrow.metadata[_META])
        return Catalogue(
            name=meta["name"],
            sources=_StoredSources(path, meta["sources"]),
            columns=tuple(Column(**column) for column in meta["columns"]),
            problems=_StoredProblems(path, meta["problems"]),
            digest=meta["digest"],
        )
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as exc:
        raise _unreadable(path, exc) from exc


class _StoredSources:
    """Sources of the file, in order on the sky."""

    def __init__(self, path: Path, count: int) -> None:
        self._path = path
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Source]:
        for table in _groups(self._path, problems=False):
            yield from sources_of(table)

    def on_the_sky(self) -> Iterator[Source]:
        return iter(self)


class _StoredProblems:
    """Problems of the file, in the order of the catalogue."""

    def __init__(self, path: Path, count: int) -> None:
        self._path = path
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[RowProblem]:
        for table in _groups(self._path, problems=True):
            values = (table[n].to_pylist() for n in ("line", "source_id", "reason"))
            yield from (RowProblem(*row) for row in zip(*values, strict=True))


def _groups(path: Path, *, problems: bool) -> Iterator[pa.Table]:
    """Rows of one kind, a group at a time: a group has one kind only."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            place = file.schema_arrow.get_field_index("reason")
            for group in range(file.num_row_groups):
                known = file.metadata.row_group(group)
                nulls = known.column(place).statistics.null_count
                if (nulls == 0) == problems:
                    yield file.read_row_group(group)
    except (OSError, pa.ArrowException) as exc:
        raise _unreadable(path, exc) from exc


def _unreadable(path: Path, exc: Exception) -> CatalogueFormatError:
    return CatalogueFormatError(f"{path} cannot be read: {exc}")


def _table(sources: list[Source], problems: list[RowProblem]) -> pa.Table:
    """A row for each; what a problem has not is null."""
    lack = [None] * len(sources)
    columns = source_columns(sources)
    table = pa.table(
        columns
        | {"line": pa.array(lack, pa.int64()), "reason": pa.array(lack, pa.string())}
    )
    if not problems:
        return table
    rows = [
        {"source_id": p.source_id, "line": p.line, "reason": p.reason} for p in problems
    ]
    return pa.Table.from_pylist(rows, table.schema)
