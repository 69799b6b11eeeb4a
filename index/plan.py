"""What a build has to do: which sources there are, which cutouts are new.

::

    jobs/<id>/
        sources.parquet    every source with its cutout's digest and key, or why not
        tasks.parquet      what must be embedded; some row groups together are a shard
        plan.json          counts, and the digest of it all; written last

Sources are in order on the sky, so that neighbours lie in the same shards.
"""

import json
import math
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import islice, tee
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twinjet.index.catalogue import Catalogue
from twinjet.index.catalogue_file import source_columns, sources_of
from twinjet.index.cutouts.port import CutoutProvider
from twinjet.index.cutouts.prefetch import Prefetching
from twinjet.index.durable import publish_file
from twinjet.index.embeddings import Embeddings
from twinjet.index.errors import CutoutUnavailableError
from twinjet.index.keys import Item
from twinjet.index.shards import SHARD_SOURCES
from twinjet.index.sky import healpix_29
from twinjet.index.source import RowProblem, Source

# Sources of a row group of sources.parquet, which are in memory together.
_GROUP_ROWS = 4096

# A job has so many shards, or more large ones, for several workers to end together;
# unless it has too few cutouts: looking for the next shard takes a worker half of the
# time that it takes to embed so many.
_LEAST_SHARDS = 32
_LEAST_ROWS = 32


class Watcher(Protocol):
    """Is told how a build goes on."""

    def stage(self, name: str, total: int | None) -> None:
        """A stage begins, of so many sources where that is known."""

    def advance(self, count: int) -> None:
        """So many more sources of this stage are done."""


@dataclass(frozen=True)
class Plan:
    """What there is to do, in numbers."""

    sources: int
    """Of the catalogue that have a cutout."""
    without_cutout: int
    """Of the catalogue that have none."""
    to_embed: int
    """Cutouts whose embedding was never made."""
    shards: int
    digest: str
    """Of the catalogue, every cutout and how they are read."""
    reused: int = 0
    """Sources whose embedding was there before."""


@dataclass(frozen=True)
class Planned:
    """A source with its cutout's digest and the key of its embedding."""

    source: Source
    digest: str | None
    key: str | None
    reason: str | None
    """Why it has no cutout, if so."""


def make_plan(
    folder: Path,
    catalogue: Catalogue,
    provider: CutoutProvider,
    embeddings: Embeddings,
    *,
    pixel_scale_arcsec: float | None,
    watcher: Watcher,
    shard_sources: int = SHARD_SOURCES,
) -> Plan:
    """Look at every cutout and write down what must be done.

    Raises
    ------
    CutoutLocationError
        The place of the cutouts cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    watcher.stage("checksums", len(catalogue.sources))
    sources, asked_for = tee(catalogue.sources.on_the_sky())
    digest = sha256(f"{catalogue.digest} {pixel_scale_arcsec}".encode())
    with_cutout = reused = 0
    with (
        _Tasks(folder / "tasks.tmp", shard_sources) as tasks,
        pq.ParquetWriter(folder / "sources.tmp", _SOURCES, compression="zstd") as file,
        closing(_digests(asked_for, provider)) as outcomes,
    ):
        pairs = zip(sources, outcomes, strict=True)
        while block := list(islice(pairs, _GROUP_ROWS)):
            items, rows = [], []
            for source, outcome in block:
                watcher.advance(1)
                if not isinstance(outcome, str):
                    rows.append(Planned(source, None, None, str(outcome)))
                    continue
                item = Item(source, outcome)
                items.append(item)
                key = item.key(pixel_scale_arcsec)
                rows.append(Planned(source, outcome, key, None))
                digest.update(f"{source.source_id}\0{outcome}\n".encode())
            file.write_table(_source_table(rows))
            with_cutout += len(items)
            there = embeddings.find_whole([row.key for row in rows if row.key])
            for item, cell in zip(items, _cells(items), strict=True):
                key = item.key(pixel_scale_arcsec)
                if key in there:
                    reused += 1
                else:
                    tasks.add(key, item, cell)
    plan = Plan(
        sources=with_cutout,
        without_cutout=len(catalogue.sources) - with_cutout,
        to_embed=tasks.count,
        shards=tasks.shards,
        digest=digest.hexdigest(),
        reused=reused,
    )
    for name in ("sources", "tasks"):
        publish_file(folder / f"{name}.tmp", folder / f"{name}.parquet")
    text = json.dumps(asdict(plan), indent=2) + "\n"
    (folder / "plan.tmp").write_text(text, encoding="utf-8")
    publish_file(folder / "plan.tmp", folder / "plan.json")
    return plan


class _Tasks:
    """Writes what must be embedded, each cutout once, a shard to a row group.

    The same key is of the same position, and those of one position come one after the
    other: nothing has to be remembered beyond its cell.
    """

    def __init__(self, path: Path, shard_sources: int) -> None:
        self._most = shard_sources
        self._size = min(_LEAST_ROWS, shard_sources)
        self._file = pq.ParquetWriter(path, _TASKS, compression="zstd")
        self._cell = -1
        self._known: set[str] = set()
        self._waiting: list[Item] = []
        self.count = 0
        """Of cutouts."""
        self._groups = 0

    def add(self, key: str, item: Item, cell: int) -> None:
        if cell != self._cell:
            self._cell, self._known = cell, set()
        if key in self._known:
            return
        self._known.add(key)
        self._waiting.append(item)
        self.count += 1
        if len(self._waiting) == self._size:
            self._write()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._waiting:
            self._write()
        self._file.close()

    def _write(self) -> None:
        table = _task_table(self._waiting)
        self._file.write_table(table, row_group_size=len(self._waiting))
        self._waiting = []
        self._groups += 1

    @property
    def shards(self) -> int:
        """How many there are to be, once all is written."""
        least = math.ceil(self._groups / (self._most // self._size))
        return max(least, min(self._groups, _LEAST_SHARDS))


def read_task(folder: Path, number: int, shards: int) -> list[Item]:
    """What one of so many shards is to be made of."""
    with pq.ParquetFile(folder / "tasks.parquet") as file:
        first, end = (n * file.num_row_groups // shards for n in (number, number + 1))
        table = file.read_row_groups(range(first, end))
    digests = table["digest"].to_pylist()
    return [Item(s, d) for s, d in zip(sources_of(table), digests, strict=True)]


def read_sources(folder: Path) -> Iterator[list[Planned]]:
    """All sources of a plan, some thousand at a time, in order on the sky."""
    with pq.ParquetFile(folder / "sources.parquet") as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            columns = (table[name].to_pylist() for name in ("digest", "key", "reason"))
            yield [
                Planned(*row) for row in zip(sources_of(table), *columns, strict=True)
            ]


def problem_of(source: Source, reason: str) -> RowProblem:
    """A source that could not be used."""
    return RowProblem(line=None, source_id=source.source_id, reason=reason)


def _cells(items: list[Item]) -> list[int]:
    """HEALPix cells by which sources are in order."""
    ra = np.array([item.source.ra for item in items])
    dec = np.array([item.source.dec for item in items])
    cells: list[int] = healpix_29(ra, dec).tolist()
    return cells


def _digests(
    sources: Iterable[Source], provider: CutoutProvider
) -> Generator[str | CutoutUnavailableError]:
    """Digest of each cutout in turn, fetched ahead where that is faster, or why not."""
    if isinstance(provider, Prefetching):
        yield from provider.prefetch(sources)
        return
    for source in sources:
        try:
            yield provider.digest(source)
        except CutoutUnavailableError as exc:
            yield exc


def _source_table(rows: list[Planned]) -> pa.Table:
    columns = source_columns([row.source for row in rows])
    columns["digest"] = pa.array([row.digest for row in rows], pa.string())
    columns["key"] = pa.array([row.key for row in rows], pa.string())
    columns["reason"] = pa.array([row.reason for row in rows], pa.string())
    return pa.table(columns)


def _task_table(items: list[Item]) -> pa.Table:
    columns = source_columns([item.source for item in items])
    columns["digest"] = pa.array([item.digest for item in items], pa.string())
    return pa.table(columns)


_SOURCES, _TASKS = _source_table([]).schema, _task_table([]).schema
