"""Embeddings on disk: Parquet files of some thousand sources each.

A shard's name is a digest of what it was made of, the encoder and the cutouts, so
a shard that is there need never be made again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from twinjet.index.durable import publish_file
from twinjet.index.source import Source

# Sources in a shard: some seconds of work, which is all that a crash costs.
SHARD_SOURCES = 1024


@dataclass(frozen=True)
class Item:
    """One source to embed."""

    source: Source
    digest: str
    """Of its pixels, from the provider."""


@dataclass(frozen=True)
class Shard:
    """Embeddings of some sources, or the reason why there is none."""

    source_ids: list[str]
    embeddings: NDArray[np.float32]
    """Shape (n, D), unit norm; zeros where there is a reason."""
    reasons: list[str | None]
    """Why a source could not be embedded; None where it was."""


def shard_name(encoder_id: str, items: Sequence[Item]) -> str:
    """Name of the file for these items under this encoder.

    Examples
    --------
    >>> shard_name("e", [Item(Source("a", 1.0, 2.0), "00")])[-8:]
    '.parquet'
    """
    digest = sha256(encoder_id.encode())
    for item in items:
        of = item.source
        line = f"{of.source_id}\0{item.digest}\0{of.ra!r}\0{of.dec!r}\n"
        digest.update(line.encode())
    return f"{digest.hexdigest()[:32]}.parquet"


def write_shard(path: Path, shard: Shard) -> None:
    """Write a shard: whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dimension = shard.embeddings.shape[1]
    flat = pa.array(shard.embeddings.ravel(), pa.float32())
    table = pa.table(
        {
            "source_id": pa.array(shard.source_ids, pa.string()),
            "embedding": pa.FixedSizeListArray.from_arrays(flat, dimension),
            "reason": pa.array(shard.reasons, pa.string()),
        }
    )
    half_done = path.with_suffix(".tmp")
    pq.write_table(table, half_done, write_page_checksum=True)
    publish_file(half_done, path)


def read_shard(path: Path, items: Sequence[Item]) -> Shard | None:
    """Read a shard; None when it is absent, damaged or of other sources."""
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        source_ids = table["source_id"].to_pylist()
        lists = table["embedding"].combine_chunks()
        embeddings = lists.flatten().to_numpy().reshape(len(source_ids), -1)
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return None
    if source_ids != [item.source.source_id for item in items]:
        return None
    return Shard(
        source_ids=source_ids,
        embeddings=embeddings.astype(np.float32, copy=False),
        reasons=table["reason"].to_pylist(),
    )
