"""Vectors to search, queries that are not among them, filters, and the truth."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

TWINJET = str(Path(sys.executable).with_name("twinjet"))
QUERIES = 200
DEPTH = 100
FILTERS = {"all": 1.0, "50 %": 0.5, "1 %": 0.01, "0.1 %": 0.001}

# Synthetic vectors: so many kinds, in so many directions that matter.
_KINDS = 2000
_DIRECTIONS = 100


@dataclass(frozen=True)
class Workload:
    """A folder with all that one size of one kind of vectors needs."""

    folder: Path

    @property
    def vectors(self) -> F32:
        """Shape (N, D), unit norm, memory-mapped."""
        vectors: F32 = np.load(self.folder / "vectors.npy", mmap_mode="r")
        return vectors

    @property
    def queries(self) -> F32:
        """Shape (Q, D), unit norm."""
        queries: F32 = np.load(self.folder / "queries.npy")
        return queries

    def rows(self, part: str) -> I64 | None:
        """What a filter leaves, ascending; None where it leaves all."""
        if FILTERS[part] == 1:
            return None
        rows: I64 = np.load(self.folder / f"rows {part}.npy".replace(" ", "_"))
        return rows

    def truth(self, part: str) -> I64:
        """Rows of the nearest, shape (Q, 100), best first; -1 where there are none."""
        truth: I64 = np.load(self.folder / f"truth {part}.npy".replace(" ", "_"))
        return truth


def prepared(folder: Path, kind: str, count: int, real: F32) -> Workload:
    """The workload of a folder, made unless it is there."""
    work = Workload(folder)
    if (folder / "done").exists():
        return work
    folder.mkdir(parents=True, exist_ok=True)
    seed = np.random.default_rng(count)
    made = mixtures(real, count + QUERIES) if kind == "real" else None
    if made is None:
        made = synthetic(count + QUERIES, real.shape[1])
    held_out = np.sort(seed.choice(len(made), QUERIES, replace=False))
    queries = made[held_out]
    vectors = np.delete(made, held_out, axis=0)
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "queries.npy", queries)
    for part, fraction in FILTERS.items():
        rows = None
        if fraction < 1:
            rows = np.sort(seed.choice(count, int(fraction * count), replace=False))
            np.save(folder / f"rows {part}.npy".replace(" ", "_"), rows)
        truth = nearest(vectors, queries, rows)
        np.save(folder / f"truth {part}.npy".replace(" ", "_"), truth)
    (folder / "done").touch()
    return work


def nearest(vectors: F32, queries: F32, rows: I64 | None) -> I64:
    """By comparison with every row, in float64 where it is close."""
    rows = np.arange(len(vectors)) if rows is None else rows
    similarities = np.empty((len(queries), 0), np.float64)
    found = np.empty((len(queries), 0), np.int64)
    exact = queries.astype(np.float64)
    for start in range(0, len(rows), 50_000):
        some = rows[start : start + 50_000]
        rough = queries @ vectors[some].T
        # More than are wanted: float32 may have them in another order.
        most = min(DEPTH + 16, len(some))
        best = np.argpartition(-rough, most - 1, axis=1)[:, :most]
        chosen = some[best]
        settled = np.einsum("qnd,qd->qn", vectors[chosen].astype(np.float64), exact)
        similarities = np.concatenate([similarities, settled], axis=1)
        found = np.concatenate([found, chosen], axis=1)
        order = np.argsort(-similarities, axis=1)[:, :DEPTH]
        similarities = np.take_along_axis(similarities, order, axis=1)
        found = np.take_along_axis(found, order, axis=1)
    missing = DEPTH - found.shape[1]
    return np.pad(found, ((0, 0), (0, missing)), constant_values=-1)


def mixtures(real: F32, count: int) -> F32:
    """So many unit vectors where the real ones are: mixtures of neighbours, jittered.

    A mixture of eight real neighbours, by weights from a flat Dirichlet, and noise of
    0.01 in every direction.
    """
    rng = np.random.default_rng(0)
    near = np.argsort(-(real @ real.T), axis=1)[:, :8]
    made = np.empty((count, real.shape[1]), np.float32)
    for start in range(0, count, 10_000):
        size = min(10_000, count - start)
        rows = near[rng.integers(len(real), size=size)]
        weights = rng.dirichlet(np.ones(rows.shape[1]), size=size)
        mixed = np.einsum("nk,nkd->nd", weights, real[rows])
        made[start : start + size] = mixed + 0.01 * rng.normal(size=mixed.shape)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


def synthetic(count: int, dimension: int) -> F32:
    """Unit vectors of 2,000 kinds, most of their spread in a hundred directions."""
    rng = np.random.default_rng(1)
    spread = np.exp(-np.arange(dimension) / _DIRECTIONS)
    kinds = rng.normal(size=(_KINDS, dimension)) * spread
    made = np.empty((count, dimension), np.float32)
    for start in range(0, count, 10_000):
        size = min(10_000, count - start)
        noise = 0.7 * rng.normal(size=(size, dimension)) * spread
        made[start : start + size] = kinds[rng.integers(_KINDS, size=size)] + noise
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


def embeddings(folder: Path) -> F32:
    """Of every cutout of a folder, by the shipped encoder."""
    files = sorted(str(path) for path in folder.rglob("*.fits*"))
    done = subprocess.run(
        [TWINJET, "embed", *files], check=True, capture_output=True, text=True
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return np.array([line["embedding"] for line in lines], np.float32)
