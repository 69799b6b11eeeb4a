"""Embeddings on disk: Parquet files of a thousand cutouts each, in order on the sky.

As the catalogues of HATS they have ``_healpix_29``, the nested HEALPix cell of order
29, as first column and are sorted by it, so that the statistics of their row groups
say which part of the sky they are of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from twinjet.index.durable import half_done, publish_file
from twinjet.index.keys import Item
from twinjet.index.sky import healpix_29

# Sources in a shard: half a minute of two cores, which is all that a crash costs.
SHARD_SOURCES = 1024

# Of a row group, the least that is read: a region of one shard is a few of these.
_GROUP_ROWS = 256


@dataclass(frozen=True)
class Shard:
    """Embeddings of some cutouts, or the reasons why there is none."""

    items: list[Item]
    keys: list[str]
    embeddings: NDArray[np.float32]
    """Shape (n, D), unit norm; zeros where there is a reason."""
    reasons: list[str | None]
    """Why a cutout could not be embedded; None where it was."""


@dataclass(frozen=True)
class StoredShard:
    """What is read back of a shard."""

    keys: list[str]
    embeddings: NDArray[np.float32]
    reasons: list[str | None]


def shard_name(encoder_id: str, keys: Sequence[str]) -> str:
    """Name of the file for these keys under this encoder.

    Examples
    --------
    >>> shard_name("e", ["00"])[-8:]
    '.parquet'
    """
    digest = sha256(encoder_id.encode())
    for key in keys:
        digest.update(key.encode())
    return f"{digest.hexdigest()[:32]}.parquet"


def write_shard(path: Path, shard: Shard) -> None:
    """Write a shard: whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sources = [item.source for item in shard.items]
    ra = np.array([source.ra for source in sources])
    dec = np.array([source.dec for source in sources])
    flat = pa.array(shard.embeddings.ravel(), pa.float32())
    table = pa.table(
        {
            "_healpix_29": pa.array(healpix_29(ra, dec), pa.int64()),
            "source_id": pa.array([s.source_id for s in sources], pa.string()),
            "ra": pa.array(ra, pa.float64()),
            "dec": pa.array(dec, pa.float64()),
            "key": pa.array(shard.keys, pa.string()),
            "embedding": pa.FixedSizeListArray.from_arrays(
                flat, shard.embeddings.shape[1]
            ),
            "reason": pa.array(shard.reasons, pa.string()),
        }
    )
    written = half_done(path)
    pq.write_table(
        table,
        written,
        row_group_size=_GROUP_ROWS,
        write_page_checksum=True,
        # Vectors have no two numbers alike.
        compression="none",
    )
    publish_file(written, path)


def read_shard(path: Path) -> StoredShard | None:
    """Read a shard; None when it is absent or damaged."""
    try:
        table = pq.read_table(
            path,
            columns=["key", "embedding", "reason"],
            page_checksum_verification=True,
        )
        keys = table["key"].to_pylist()
        lists = table["embedding"].combine_chunks()
        embeddings = lists.flatten().to_numpy().reshape(len(keys), -1)
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return None
    return StoredShard(
        keys=keys,
        embeddings=embeddings.astype(np.float32, copy=False),
        reasons=table["reason"].to_pylist(),
    )
