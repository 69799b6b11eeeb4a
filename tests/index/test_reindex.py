"""From cutouts to a published generation, killed wherever it may be."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skies import index_sky, small_encoder, write_sky

from twinjet.index.database import create_engine, upgrade
from twinjet.index.errors import BuildInProgressError, TooManyFailuresError
from twinjet.index.generation import OpenGeneration, open_generation
from twinjet.index.home import Home
from twinjet.index.keys import Item
from twinjet.index.retention import KEEP_GENERATIONS
from twinjet.index.shards import Shard, read_shard, shard_name, write_shard
from twinjet.index.source import Source
from twinjet.index.store import SourceStore
from twinjet.model.encoder import Encoder


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return small_encoder()


def current(home: Path) -> OpenGeneration:
    engine = create_engine(Home(home).database_url)
    upgrade(engine)
    store = SourceStore(engine)
    generation = store.current()
    store.close()
    assert generation is not None
    return open_generation(home / "generations" / generation.folder)


def vectors_of(home: Path) -> dict[str, NDArray[np.float32]]:
    """Vector of each source of the current generation."""
    engine = create_engine(Home(home).database_url)
    store = SourceStore(engine)
    generation = store.current()
    assert generation is not None
    rows = range(generation.source_count)
    sources = store.sources_by_row(generation.number, rows)
    store.close()
    vectors = current(home).index.vectors(np.array(rows))
    return {s.source_id: v for s, v in zip(sources, vectors, strict=True)}


def test_a_second_build_of_the_same_does_nothing(
    tmp_path: Path, encoder: Encoder
) -> None:
    write_sky(tmp_path / "sky", 12)
    first = index_sky(tmp_path / "sky", tmp_path / "home", encoder)
    again = index_sky(tmp_path / "sky", tmp_path / "home", encoder)
    assert (first.published, again.published) == (True, False)
    assert (first.number, again.number, again.reused) == (1, 1, 12)


def test_a_changed_cutout_makes_a_new_generation(
    tmp_path: Path, encoder: Encoder
) -> None:
    write_sky(tmp_path / "sky", 6)
    index_sky(tmp_path / "sky", tmp_path / "home", encoder)
    before = vectors_of(tmp_path / "home")
    (tmp_path / "sky" / "T002.fits").write_bytes(
        (tmp_path / "sky" / "T003.fits").read_bytes()
    )
    # Its position is not in this file: it cannot be embedded, and the others can.
    report = index_sky(tmp_path / "sky", tmp_path / "home", encoder)
    assert (report.number, report.count) == (2, 5)
    assert "outside of its cutout" in report.problems[0].reason
    assert report.reused == 5
    after = vectors_of(tmp_path / "home")
    assert set(before) - set(after) == {"T100+002"}
    for name, vector in after.items():
        np.testing.assert_array_equal(vector, before[name])


def test_another_encoder_makes_a_new_generation(
    tmp_path: Path, encoder: Encoder
) -> None:
    write_sky(tmp_path / "sky", 5)
    index_sky(tmp_path / "sky", tmp_path / "home", encoder)
    report = index_sky(tmp_path / "sky", tmp_path / "home", small_encoder(seed=1))
    assert (report.number, report.reused) == (2, 0)
    report = index_sky(tmp_path / "sky", tmp_path / "home", encoder)
    assert (report.number, report.reused) == (3, 5)


def test_unusable_cutouts_are_left_out_and_reported(
    tmp_path: Path, encoder: Encoder
) -> None:
    write_sky(tmp_path / "sky", 12)
    (tmp_path / "sky" / "T004.fits").write_text("no FITS")
    (tmp_path / "sky" / "T007.fits").unlink()
    report = index_sky(tmp_path / "sky", tmp_path / "home", encoder)
    assert report.count == 10
    reasons = {p.source_id: p.reason for p in report.problems}
    assert "neither FITS" in reasons["T100+004"]
    assert "cannot be read" in reasons["T100+007"]


def test_too_many_failures_publish_nothing(tmp_path: Path, encoder: Encoder) -> None:
    write_sky(tmp_path / "sky", 10)
    index_sky(tmp_path / "sky", tmp_path / "home", encoder)
    for number in range(4):
        (tmp_path / "sky" / f"T{number:03d}.fits").unlink()
    with pytest.raises(TooManyFailuresError, match="4 of 10"):
        index_sky(tmp_path / "sky", tmp_path / "home", encoder)
    assert current(tmp_path / "home").manifest.count == 10


def test_two_builds_at_once_are_one_too_many(tmp_path: Path, encoder: Encoder) -> None:
    write_sky(tmp_path / "sky", 5)
    with Home(tmp_path / "home").building(), pytest.raises(BuildInProgressError):
        index_sky(tmp_path / "sky", tmp_path / "home", encoder)
    index_sky(tmp_path / "sky", tmp_path / "home", encoder)


def test_old_generations_go_and_the_latest_stay(
    tmp_path: Path, encoder: Encoder
) -> None:
    for number in range(KEEP_GENERATIONS + 2):
        write_sky(tmp_path / str(number), 4, seed=number)
        index_sky(tmp_path / str(number), tmp_path / "home", encoder)
    folders = sorted(p.name for p in (tmp_path / "home" / "generations").iterdir())
    assert folders == ["g000003", "g000004", "g000005"]


# Ends the process, as kill -9 does, at the n-th word of a build to its watcher.
KILLER = """
import os, sys
from pathlib import Path
import skies

class Killer(skies.Quiet):
    left = int(sys.argv[4])
    def stage(self, name, total):
        self.advance(0)
    def advance(self, count):
        Killer.left -= 1
        if Killer.left < 0:
            os._exit(9)

skies.Quiet = Killer
from twinjet.model.encoder import load_encoder
skies.index_sky(Path(sys.argv[1]), Path(sys.argv[2]), load_encoder(Path(sys.argv[3])))
"""


@pytest.mark.slow
def test_killed_anywhere_the_earlier_stays_and_the_next_run_finishes(
    tmp_path: Path, encoder: Encoder
) -> None:
    write_sky(tmp_path / "old", 4, seed=1)
    write_sky(tmp_path / "new", 6)
    encoder.save(tmp_path)
    index_sky(tmp_path / "new", tmp_path / "calm", encoder)
    wanted = current(tmp_path / "calm").index.vectors(np.arange(6))
    killed = 0
    # checksums 1 + 6, embed 1 + 2, index 1 + 1, verify: thirteen words.
    for moment in (0, 7, 8, 10, 12):
        home = tmp_path / f"home{moment}"
        index_sky(tmp_path / "old", home, encoder)
        arguments = [tmp_path / "new", home, tmp_path / "small.json", moment]
        done = subprocess.run(
            [sys.executable, "-c", KILLER, *map(str, arguments)],
            env={"PYTHONPATH": str(Path(__file__).parent.parent / "support")},
            check=False,
        )
        killed += done.returncode == 9
        assert current(home).manifest.number == 1
        report = index_sky(tmp_path / "new", home, encoder)
        assert report.published
        assert report.reused == (6 if moment >= 10 else 0)
        opened = current(home)
        np.testing.assert_allclose(
            opened.index.vectors(np.arange(6)), wanted, atol=1e-6
        )
        # A number is never given twice, so what was begun and died keeps its own.
        assert sorted(p.name for p in (home / "generations").iterdir()) == [
            "g000001",
            f"g{report.number:06d}",
        ]
    assert killed == 5


def test_a_damaged_shard_is_made_again(tmp_path: Path, encoder: Encoder) -> None:
    write_sky(tmp_path / "sky", 5)
    index_sky(tmp_path / "sky", tmp_path / "home", encoder)
    shard = next((tmp_path / "home" / "shards").rglob("*.parquet"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 255
    shard.write_bytes(data)
    write_sky(tmp_path / "home" / "x", 1)
    (tmp_path / "home" / "generations" / "g000001" / "vectors.npy").unlink()
    report = index_sky(tmp_path / "sky", tmp_path / "home", encoder)
    assert (report.published, report.reused) == (True, 0)


def test_a_shard_knows_its_cutouts(tmp_path: Path) -> None:
    items = [Item(Source(f"s{i}", float(i), 0.0), "00") for i in range(3)]
    keys = [item.key(None) for item in items]
    vectors = np.eye(3, 8, dtype=np.float32)
    path = tmp_path / shard_name("e", keys)
    write_shard(path, Shard(items, keys, vectors, [None, "bad", None]))
    shard = read_shard(path)
    assert shard is not None
    np.testing.assert_array_equal(shard.embeddings, vectors)
    assert (shard.keys, shard.reasons) == (keys, [None, "bad", None])
    assert shard_name("other", keys) != path.name
    assert shard_name("e", keys[::-1]) != path.name


def test_the_vectors_do_not_depend_on_the_number_of_threads(
    tmp_path: Path, encoder: Encoder
) -> None:
    write_sky(tmp_path / "sky", 40)
    digests = set()
    threads = torch.get_num_threads()
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            home = tmp_path / f"home{number}"
            digests.add(index_sky(tmp_path / "sky", home, encoder).digest)
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    assert len(digests) == 1
