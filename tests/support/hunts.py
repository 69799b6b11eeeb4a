"""Discovery over vectors of one's own choice: some kinds, far apart from each other."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from twinjet.index.discovery.discovery import Discovery
from twinjet.index.generation import Manifest, open_generation, write_generation
from twinjet.index.sky import unit_vectors
from twinjet.index.source import Column, Source
from twinjet.index.store import SourceStore

DIMENSION = 16


def kinds(
    count: int = 200, rare: int = 20, *, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Vectors of a common and a rare kind that overlap; which are rare."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, DIMENSION))
    is_rare = np.zeros(count, np.bool_)
    is_rare[rng.choice(count, rare, replace=False)] = True
    vectors[is_rare, 0] += 2.5
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), is_rare


def publish(
    engine: sa.Engine,
    folder: Path,
    sources: Sequence[Source],
    vectors: NDArray[np.float32],
    *,
    encoder_id: str = "encoder",
) -> Discovery:
    """Publish a generation and discover in it."""
    store = SourceStore(engine)
    number = store.begin_generation(
        encoder_id=encoder_id,
        catalogue_name="kinds",
        catalogue_digest="d" * 64,
        columns=(Column("size_arcsec", "arcsec"), Column("kind", None, "text")),
    )
    store.add_sources(number, 0, sources)
    manifest = Manifest(
        number=number,
        encoder_id=encoder_id,
        encoder_name="e",
        catalogue_name="kinds",
        catalogue_digest="d" * 64,
        cutouts=str(folder),
        count=len(sources),
        dimension=vectors.shape[1],
        recall_at_10=0.0,
        failed=0,
    )
    name = f"g{number:06d}"
    places = unit_vectors([s.ra for s in sources], [s.dec for s in sources])
    write_generation(folder / name, manifest, [(vectors, places)])
    store.publish_build(number, source_count=len(sources), folder=name)
    return Discovery(open_generation(folder / name), store, radius_arcsec=10.0)


def spread(count: int) -> list[Source]:
    """Sources ``S000`` and on, degrees apart."""
    return [
        Source(
            f"S{number:03d}",
            (7.0 * number) % 360,
            -60 + 0.5 * number,
            columns={"size_arcsec": float(number), "kind": "a" if number % 2 else "b"},
        )
        for number in range(count)
    ]
