"""Every embedding that was ever made, found by what it is of.

The vectors are in shards; which shard has which cutout is a table of the metadata
store. A shard is whole on the disk before its rows are in the table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from twinjet.index.errors import ShardDamagedError
from twinjet.index.home import Home
from twinjet.index.schema import EmbeddingRow
from twinjet.index.shards import (
    Shard,
    StoredShard,
    read_shard,
    shard_name,
    write_shard,
)

# Keys of one statement; SQLite takes 32,766 parameters.
_BLOCK = 1000

# Shards that are held open; neighbours on the sky are in the same few.
_OPEN = 8


@dataclass(frozen=True)
class Place:
    """Where an embedding is."""

    shard: str
    row: int
    reason: str | None
    """Why there is none, if so."""


class Embeddings:
    """Embeddings of one encoder.

    Parameters
    ----------
    engine
        Of the metadata store.
    folder
        Of the encoder's shards.
    encoder_id
        Of the encoder.
    home
        Shares shards with other machines.
    """

    def __init__(
        self, engine: sa.Engine, folder: Path, encoder_id: str, *, home: Home
    ) -> None:
        self._home = home
        self._engine = engine
        self._writer = engine.execution_options(twinjet_write=True)
        self._folder = folder
        self._encoder_id = encoder_id
        self._open = lru_cache(maxsize=_OPEN)(self._read)
        self._whole: set[str] = set()

    def find(self, keys: Sequence[str]) -> dict[str, Place]:
        """Where these are; those that were never made are left out."""
        found: dict[str, Place] = {}
        query = sa.select(
            EmbeddingRow.key, EmbeddingRow.shard, EmbeddingRow.row, EmbeddingRow.reason
        ).where(EmbeddingRow.encoder_id == self._encoder_id)
        with self._engine.connect() as connection:
            for start in range(0, len(keys), _BLOCK):
                part = query.where(EmbeddingRow.key.in_(keys[start : start + _BLOCK]))
                for key, shard, row, reason in connection.execute(part):
                    found[key] = Place(shard, row, reason)
        return found

    def find_whole(self, keys: Sequence[str]) -> dict[str, Place]:
        """As `find`; what lies in a damaged shard is forgotten and left out."""
        found = self.find(keys)
        for name in {place.shard for place in found.values()} - self._whole:
            if self._read(name) is None:
                self.forget(name)
                found = {k: place for k, place in found.items() if place.shard != name}
            else:
                self._whole.add(name)
        return found

    def has_shard(self, keys: Sequence[str]) -> bool:
        """Whether the shard of just these keys is there; then its rows are, too."""
        stored = self._read(shard_name(self._encoder_id, keys))
        if stored is None or stored.keys != list(keys):
            return False
        self._register(shard_name(self._encoder_id, keys), stored.keys, stored.reasons)
        return True

    def add(self, shard: Shard) -> None:
        """Keep the embeddings of a shard; the same ones again change nothing."""
        name = shard_name(self._encoder_id, shard.keys)
        write_shard(self._folder / name, shard)
        self._home.share(self._folder / name)
        self._register(name, shard.keys, shard.reasons)

    def gather(self, wanted: Sequence[tuple[str, Place]]) -> NDArray[np.float32]:
        """Vectors of keys at their places: shape (n, D).

        Raises
        ------
        ShardDamagedError
            A shard cannot be read any more; it is forgotten, to be made again.
        """
        rows = []
        for key, place in wanted:
            stored = self._open(place.shard)
            if stored is None or stored.keys[place.row] != key:
                self.forget(place.shard)
                self._open.cache_clear()
                raise ShardDamagedError(place.shard)
            rows.append(stored.embeddings[place.row])
        return np.array(rows, np.float32)

    def forget(self, shard: str) -> None:
        """Drop the rows of a shard, so that what it had is made again."""
        self._whole.discard(shard)
        with self._writer.begin() as connection:
            connection.execute(
                sa.delete(EmbeddingRow).where(
                    EmbeddingRow.encoder_id == self._encoder_id,
                    EmbeddingRow.shard == shard,
                )
            )

    def _read(self, name: str) -> StoredShard | None:
        path = self._home.fetched(self._folder / name)
        shard = read_shard(path)
        if shard is None and path.exists() and self._home.fetched_again(path):
            shard = read_shard(path)
        return shard

    def _register(
        self, name: str, keys: Sequence[str], reasons: Sequence[str | None]
    ) -> None:
        rows = [
            {
                "encoder_id": self._encoder_id,
                "key": key,
                "shard": name,
                "row": row,
                "reason": reason,
            }
            for row, (key, reason) in enumerate(zip(keys, reasons, strict=True))
        ]
        with self._writer.begin() as connection:
            for start in range(0, len(keys), _BLOCK):
                connection.execute(
                    sa.delete(EmbeddingRow).where(
                        EmbeddingRow.encoder_id == self._encoder_id,
                        EmbeddingRow.key.in_(keys[start : start + _BLOCK]),
                    )
                )
            connection.execute(sa.insert(EmbeddingRow), rows)
