"""Homes of a few generations of vectors of one's own choice, and what is true of them.

Nothing here embeds a cutout, so that a thousand of them can be opened.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinjet.index.database import create_engine
from twinjet.index.durable import file_digest
from twinjet.index.generation import Manifest, folder_name, write_generation
from twinjet.index.home import Home
from twinjet.index.opening import open_store
from twinjet.index.options import Options
from twinjet.index.search import Searcher
from twinjet.index.sky import unit_vectors
from twinjet.index.source import Column, Source
from twinjet.index.store import SourceStore

DIMENSION = 16

COUNT = 20

COLUMNS = (Column("size_arcsec", "arcsec"), Column("kind", None, "text"))


@dataclass(frozen=True)
class Truth:
    """Of one generation."""

    sources: list[Source]
    vectors: NDArray[np.float32]

    def neighbours(self, row: int, k: int) -> list[tuple[str, float]]:
        """By brute force, without the source itself."""
        similarities = self.vectors @ self.vectors[row]
        best = np.argsort(-similarities, kind="stable")
        names = [(self.sources[n].source_id, float(similarities[n])) for n in best]
        return [one for one in names if one[0] != self.sources[row].source_id][:k]


def truth(number: int, *, seed: int = 0) -> Truth:
    """What a generation of this number is made of."""
    rng = np.random.default_rng([number, seed])
    vectors = rng.normal(size=(COUNT, DIMENSION))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    sources = [
        Source(
            f"J{number}{n:03d}+{seed}",
            float(rng.uniform(0, 360)),
            float(rng.uniform(-80, 80)),
            "survey",
            f"{n}.fits",
            {"size_arcsec": round(float(rng.uniform(1, 99)), 3), "kind": "ab"[n % 2]},
        )
        for n in range(COUNT)
    ]
    return Truth(sources, vectors.astype(np.float32))


def add_generation(home: Home, store: SourceStore, *, seed: int = 0) -> int:
    """Build and publish a generation, as `twinjet.index.reindex` does."""
    number = store.begin_generation(
        encoder_id="e" * 16,
        catalogue_name="sky",
        catalogue_digest="d" * 64,
        columns=COLUMNS,
    )
    made = truth(number, seed=seed)
    store.add_sources(number, 0, made.sources, ["c" * 64] * len(made.sources))
    places = unit_vectors([s.ra for s in made.sources], [s.dec for s in made.sources])
    manifest = Manifest(
        number=number,
        encoder_id="e" * 16,
        encoder_name="e",
        catalogue_name="sky",
        catalogue_digest="d" * 64,
        cutouts=str(home.path),
        count=len(made.sources),
        dimension=DIMENSION,
        recall_at_10=0.0,
        failed=0,
    )
    folder = home.generations / folder_name(number)
    write_generation(folder, manifest, [(made.vectors, places)])
    store.seal(number, file_digest(folder / "manifest.json"))
    store.publish_build(number, source_count=len(made.sources), folder=folder.name)
    return number


def make_home(path: Path, *, generations: int = 2, seed: int = 0) -> dict[int, Truth]:
    """A home of some generations, the last in force; gives what is true of each.

    Of one that has some already, those that it lacks are made.
    """
    home = Home(path)
    with closing(open_store(home, home.database_url)) as store:
        for number in range(len(store.generations()) + 1, generations + 1):
            assert add_generation(home, store, seed=seed) == number
    return {n: truth(n, seed=seed) for n in range(1, generations + 1)}


def faults_of(searcher: Searcher, truths: dict[int, Truth]) -> Iterator[str]:
    """What answers differ in from what is true of the generation that they name."""
    number = searcher.generation.manifest.number
    known = truths[number]
    for row, source in enumerate(known.sources):
        answer = searcher.similar_to_source(
            source.source_id, Options(k=5, keep_duplicates=True)
        )
        if answer.query != source:
            yield f"{source} came as {answer.query}"
        found = [(n.source.source_id, n.similarity) for n in answer.neighbours]
        wanted = known.neighbours(row, 5)
        if [f[0] for f in found] != [w[0] for w in wanted] or any(
            abs(f[1] - w[1]) > 1e-5 for f, w in zip(found, wanted, strict=True)
        ):
            yield f"{source.source_id}: {found}, not {wanted}"
        by_name = {s.source_id: s for s in known.sources}
        for neighbour in answer.neighbours:
            if neighbour.source != by_name[neighbour.source.source_id]:
                yield f"{neighbour.source} is not as it was"
        near = searcher.store.cone(number, source.ra, source.dec, 1.0, limit=1)
        if [n[1] for n in near] != [source]:
            yield f"at {source.source_id} there is {near}"
    rows = searcher.store.select_rows(number, where="kind = 'a' and size_arcsec > 50")
    wanted_rows = [
        row
        for row, source in enumerate(known.sources)
        if source.columns["kind"] == "a" and float(source.columns["size_arcsec"]) > 50  # type: ignore[arg-type]
    ]
    if rows.tolist() != wanted_rows:
        yield f"a filter finds {rows}, not {wanted_rows}"
    key = known.sources[0].source_id[:4]
    matching = {
        s.source_id for s in known.sources if key.lower() in s.source_id.lower()
    }
    named = searcher.store.containing(number, key, 100)
    if {s.source_id for s in named} != matching:
        yield f"{key} finds {[s.source_id for s in named]}"


def put_at_rest(home: Path) -> None:
    """Without a log beside the database: every byte of it is in one file."""
    engine = create_engine(Home(home).database_url)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()


def edit_manifest(folder: Path, **members: object) -> None:
    """Write other members into a generation's manifest."""
    path = folder / "manifest.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | members, indent=2) + "\n")
