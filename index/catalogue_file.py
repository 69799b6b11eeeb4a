"""A catalogue as it was read, in a file of ours: what a job was asked to index."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from twinjet.index.catalogue import Catalogue, RowProblem
from twinjet.index.durable import half_done, publish_file
from twinjet.index.errors import CatalogueFormatError
from twinjet.index.source import Column, Source

_META = b"twinjet"


def source_columns(sources: list[Source]) -> dict[str, Any]:
    """Sources as columns of a Parquet table; measured values as JSON text."""
    return {
        "source_id": pa.array([s.source_id for s in sources], pa.string()),
        "ra": pa.array([s.ra for s in sources], pa.float64()),
        "dec": pa.array([s.dec for s in sources], pa.float64()),
        "survey": pa.array([s.survey for s in sources], pa.string()),
        "cutout": pa.array([s.cutout for s in sources], pa.string()),
        "columns": pa.array(
            [json.dumps(dict(s.columns)) for s in sources], pa.string()
        ),
    }


def sources_of(table: pa.Table) -> list[Source]:
    """Inverse of `source_columns`."""
    return [
        Source(
            source_id=row["source_id"],
            ra=row["ra"],
            dec=row["dec"],
            survey=row["survey"],
            cutout=row["cutout"],
            columns=json.loads(row["columns"]),
        )
        for row in table.to_pylist()
    ]


def write_catalogue(path: Path, catalogue: Catalogue) -> None:
    """Write a catalogue: whole, or not at all."""
    meta = {
        "name": catalogue.name,
        "digest": catalogue.digest,
        "columns": [asdict(column) for column in catalogue.columns],
        "problems": [asdict(problem) for problem in catalogue.problems],
    }
    table = pa.table(source_columns(catalogue.sources))
    table = table.replace_schema_metadata({_META: json.dumps(meta).encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    written = half_done(path)
    pq.write_table(table, written, compression="zstd", write_page_checksum=True)
    publish_file(written, path)


def load_catalogue(path: Path) -> Catalogue:
    """Read what `write_catalogue` wrote.

    Raises
    ------
    CatalogueFormatError
        It is absent or damaged.
    """
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        meta = json.loads(table.schema.metadata[_META])
        return Catalogue(
            name=meta["name"],
            sources=sources_of(table),
            columns=tuple(Column(**column) for column in meta["columns"]),
            problems=tuple(RowProblem(**problem) for problem in meta["problems"]),
            digest=meta["digest"],
        )
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as exc:
        msg = f"{path} cannot be read: {exc}"
        raise CatalogueFormatError(msg) from exc
