"""Searchers over vectors and places of one's own choice, without any encoder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinjet.index.database import create_engine, upgrade
from twinjet.index.generation import Manifest, open_generation, write_generation
from twinjet.index.search import Searcher
from twinjet.index.sky import unit_vectors
from twinjet.index.source import Column, Source
from twinjet.index.store import SourceStore

COUNT = 300


def positions() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Every source twice, some arcsec apart; pairs lie over RA 0 and at the pole."""
    rng = np.random.default_rng(0)
    ra = rng.uniform(0, 360, COUNT // 2)
    dec = rng.uniform(-80, 80, COUNT // 2)
    ra[:20], dec[:20] = 359.9999, np.linspace(-60, 64, 20)
    dec[20:30] = np.linspace(89.0, 89.999, 10)
    twin_ra = (ra + 4 / 3600 / np.cos(np.radians(dec))) % 360
    return np.concatenate([ra, twin_ra]), np.concatenate([dec, dec])


RA, DEC = positions()


def make(
    folder: Path,
    vectors: NDArray[np.float32],
    *,
    ra: NDArray[np.float64] = RA,
    dec: NDArray[np.float64] = DEC,
    columns: Sequence[Column] = (),
    values: Sequence[Mapping[str, str | float | None]] | None = None,
) -> Searcher:
    """Sources s0, s1 ..., whose column n is their number, and what else is given."""
    count = len(vectors)
    ra, dec = ra[:count], dec[:count]
    values = values or [{}] * count
    engine = create_engine(f"sqlite:///{folder / 'store.sqlite'}")
    upgrade(engine)
    store = SourceStore(engine)
    number = store.begin_generation(
        encoder_id="e",
        catalogue_name="c",
        catalogue_digest="d",
        columns=(Column("n"), *columns),
    )
    sources = [
        Source(f"s{i}", float(ra[i]), float(dec[i]), columns={"n": i, **values[i]})
        for i in range(count)
    ]
    for start in range(0, count, 1000):
        store.add_sources(number, start, sources[start : start + 1000])
    manifest = Manifest(
        number=number,
        encoder_id="e",
        encoder_name="e",
        catalogue_name="c",
        catalogue_digest="d",
        cutouts=str(folder),
        count=count,
        dimension=vectors.shape[1],
        recall_at_10=0.0,
        failed=0,
    )
    write_generation(
        folder / "g000001",
        manifest,
        [(vectors, unit_vectors(ra, dec))],
    )
    store.publish_build(number, source_count=count, folder="g000001")
    return Searcher(open_generation(folder / "g000001"), store)


def some_vectors(count: int = COUNT) -> NDArray[np.float32]:
    vectors = np.random.default_rng(1).normal(size=(count, 24))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors, dtype=np.float32)
