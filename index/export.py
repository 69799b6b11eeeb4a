"""Embeddings of a generation as one Parquet table, some thousand rows at a time."""

import io
from collections.abc import Generator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from twinjet.index.generation import OpenGeneration
from twinjet.index.regions import Region
from twinjet.index.sky import healpix_29
from twinjet.index.source import Source
from twinjet.index.store import SourceStore

# Rows of a group: of 512 dimensions 8 MB, and what is in memory at a time.
GROUP_ROWS = 4096


def embeddings_parquet(
    number: int,
    generation: OpenGeneration,
    store: SourceStore,
    *,
    region: Region | None = None,
) -> Generator[bytes]:
    """The table's bytes, as they are written; nothing is kept on the disk.

    Columns are as HATS has them: ``_healpix_29`` (int64, by which rows are sorted),
    ``source_id``, ``ra`` and ``dec`` (ICRS degrees), ``embedding`` (fixed-size list of
    D float32, unit norm). The metadata names generation, encoder and catalogue.

    Parameters
    ----------
    number, generation, store
        What is written.
    region
        Only sources in this part of the sky.
    """
    manifest = generation.manifest
    if region is None:
        rows = np.arange(manifest.count)
    else:
        rows = store.select_rows(number, region=region, positions=generation.positions)
    schema = _table([], np.empty((0, manifest.dimension), np.float32)).schema
    schema = schema.with_metadata(
        {
            "generation": str(number),
            "encoder": f"{manifest.encoder_name} {manifest.encoder_id}",
            "catalogue": manifest.catalogue_name,
        }
    )
    buffer = io.BytesIO()
    sink = pa.PythonFile(_Forward(buffer), mode="w")
    # Vectors have no two numbers alike: packing them gains nothing.
    with pq.ParquetWriter(sink, schema, compression="none") as writer:
        for start in range(0, len(rows), GROUP_ROWS):
            part = rows[start : start + GROUP_ROWS]
            sources = store.sources_by_row(number, part.tolist())
            table = _table(sources, generation.index.vectors(part))
            writer.write_table(table.cast(schema), row_group_size=GROUP_ROWS)
            yield _taken(buffer)
    yield _taken(buffer)


class _Forward:
    """A file that is written from its start to its end, as Arrow takes it."""

    closed = False

    def __init__(self, buffer: io.BytesIO) -> None:
        self._buffer = buffer
        self._written = 0

    def write(self, data: bytes) -> int:
        self._written += len(data)
        return self._buffer.write(data)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        """It is taken out of the buffer by who made this."""

    def close(self) -> None:
        self.closed = True


def _taken(buffer: io.BytesIO) -> bytes:
    data = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return data


def _table(sources: list[Source], vectors: NDArray[np.float32]) -> pa.Table:
    ra, dec = [s.ra for s in sources], [s.dec for s in sources]
    flat = pa.array(vectors.ravel(), pa.float32())
    return pa.table(
        {
            "_healpix_29": pa.array(healpix_29(ra, dec), pa.int64()),
            "source_id": pa.array([s.source_id for s in sources], pa.string()),
            "ra": pa.array(ra, pa.float64()),
            "dec": pa.array(dec, pa.float64()),
            "embedding": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        }
    )
