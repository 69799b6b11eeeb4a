"""Every check of a generation, each by what it is there to find."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from skies import index_sky, small_encoder, write_sky

from twinjet.index.checks import Check, Limits, Verification
from twinjet.index.cutouts.folder import FolderProvider
from twinjet.index.database import create_engine
from twinjet.index.diff import diff_of
from twinjet.index.durable import file_digest
from twinjet.index.errors import VerificationError
from twinjet.index.home import Home
from twinjet.index.retention import forget_jobs
from twinjet.index.schema import SourceRow
from twinjet.index.source import Column, Source, Value
from twinjet.index.store import SourceStore
from twinjet.index.vectors.faiss_index import build_index
from twinjet.index.verify import verify
from twinjet.model.encoder import Encoder


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return small_encoder(views=1)


class Sky:
    """Two generations of one sky; the second one is looked at as if it were new."""

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        self.folder = folder
        self.home = Home(folder / "home")
        write_sky(folder / "sky", 40)
        table = folder / "sky" / "catalogue.csv"
        lines = table.read_text().splitlines()
        table.write_text("\n".join(lines[:-1]) + "\n")
        index_sky(folder / "sky", self.home.path, encoder)
        table.write_text("\n".join(lines) + "\n")
        index_sky(folder / "sky", self.home.path, encoder)
        self.store = SourceStore(create_engine(self.home.database_url))
        self.store.publish(1)

    def file(self, name: str, generation: str = "g000002") -> Path:
        """One that may be written, as those of a generation may not."""
        path = self.home.generations / generation / name
        path.chmod(0o644)
        return path

    def sign(self) -> None:
        """Make the manifest agree with the files, as a faulty build would."""
        path = self.file("manifest.json")
        manifest = json.loads(path.read_text())
        for name in manifest["files"]:
            file = self.file(name)
            manifest["files"][name] = {
                "size": file.stat().st_size,
                "sha256": file_digest(file),
            }
        path.write_text(json.dumps(manifest))

    def vectors(self, change: Callable[[np.ndarray], np.ndarray]) -> None:
        """Other vectors, with an index of them."""
        vectors = change(np.load(self.file("vectors.npy"))).astype(np.float32)
        np.save(self.file("vectors.npy"), vectors)
        build_index(vectors, self.file("index.faiss"))
        self.sign()

    def rows(self, statement: sa.Delete | sa.Update) -> None:
        with self.store.engine.begin() as connection:
            connection.execute(statement.where(SourceRow.generation == 2))


@pytest.fixture
def sky(tmp_path: Path, encoder: Encoder) -> Iterator[Sky]:
    made = Sky(tmp_path, encoder)
    with closing(made.store):
        yield made


def found(sky: Sky, encoder: Encoder, **limits: float) -> Verification:
    return verify(
        2,
        "g000002",
        home=sky.home,
        store=sky.store,
        encoder=encoder,
        provider=FolderProvider(sky.folder / "sky"),
        limits=Limits(**limits),
    )


def failed(verification: Verification) -> set[str]:
    return {check.name for check in verification.failed}


def test_what_is_right_passes_every_check(sky: Sky, encoder: Encoder) -> None:
    verification = found(sky, encoder)
    assert failed(verification) == set()
    names = {check.name for check in verification.checks}
    assert names == {
        *("files", "counts", "encoder", "rows", "vectors", "recall", "canaries"),
        *("removed", "neighbours", "quality of fr_class", "quality of tailed"),
    }
    assert verification.diff is not None
    assert (verification.diff.before, verification.diff.added) == (39, 1)
    assert verification.kept_neighbours == pytest.approx(1.0, abs=0.02)


def test_other_bytes_are_other_files(sky: Sky, encoder: Encoder) -> None:
    sky.file("vectors.npy").write_bytes(b"x")
    assert failed(found(sky, encoder)) == {"files"}


def test_a_row_that_is_missing_is_counted(sky: Sky, encoder: Encoder) -> None:
    sky.rows(sa.delete(SourceRow).where(SourceRow.row == 7))
    assert failed(found(sky, encoder)) == {"counts"}


def test_rows_of_other_sources_are_seen(sky: Sky, encoder: Encoder) -> None:
    sky.rows(sa.update(SourceRow).values(ra=SourceRow.ra + 1e-6))
    assert failed(found(sky, encoder)) == {"rows"}


def test_another_encoder_is_seen(sky: Sky) -> None:
    assert failed(found(sky, small_encoder(1, views=1))) == {"encoder"}


def test_vectors_of_another_length_are_seen(sky: Sky, encoder: Encoder) -> None:
    sky.vectors(lambda vectors: vectors * 1.01)
    assert "vectors" in failed(found(sky, encoder))


def test_vectors_that_are_no_numbers_are_seen(sky: Sky, encoder: Encoder) -> None:
    vectors = np.load(sky.file("vectors.npy"))
    vectors[3, 5] = np.nan
    np.save(sky.file("vectors.npy"), vectors)
    sky.sign()
    assert "vectors" in failed(found(sky, encoder))


def test_vectors_of_other_sources_find_no_canary(sky: Sky, encoder: Encoder) -> None:
    """Shifted by a row, all is whole and of unit length, and everything is wrong."""
    sky.vectors(lambda vectors: np.roll(vectors, 1, axis=0))
    assert "canaries" in failed(found(sky, encoder))


def test_lost_neighbours_and_classes_are_seen(sky: Sky, encoder: Encoder) -> None:
    """Those of a few sources are as before; the others have gone elsewhere."""
    rng = np.random.default_rng(0)

    def scattered(vectors: np.ndarray) -> np.ndarray:
        other = rng.normal(size=vectors.shape)
        other /= np.linalg.norm(other, axis=1, keepdims=True)
        other[::5] = vectors[::5]
        return other

    sky.vectors(scattered)
    assert "neighbours" in failed(found(sky, encoder))
    assert any(
        name.startswith("quality")
        for name in failed(found(sky, encoder, max_lost_quality=-1.0))
    )


def test_a_recall_below_the_limit_and_sources_that_are_gone(
    sky: Sky, encoder: Encoder
) -> None:
    assert failed(found(sky, encoder, min_recall=1.01)) == {"recall"}
    sky.rows(
        sa.update(SourceRow)
        .where(SourceRow.row < 10)
        .values(source_id="x" + SourceRow.source_id)
    )
    assert "removed" in failed(found(sky, encoder))


def test_without_cutouts_no_canary_is_found(sky: Sky, encoder: Encoder) -> None:
    (sky.folder / "sky").rename(sky.folder / "away")
    assert failed(found(sky, encoder)) == {"canaries"}


def test_a_damaged_generation_before_hides_no_removal(
    sky: Sky, encoder: Encoder
) -> None:
    """What is gone is in the metadata, whatever the files are."""
    sky.file("vectors.npy", "g000001").write_bytes(b"x")
    verification = found(sky, encoder, max_removed=-1.0)
    assert failed(verification) == {"removed"}
    assert verification.diff is not None
    assert verification.diff.added == 1
    (check,) = (c for c in verification.checks if c.name == "neighbours")
    assert "not compared" in check.detail


def test_a_cutout_that_was_replaced_since_is_named_and_stops_nothing(
    sky: Sky, encoder: Encoder
) -> None:
    cutouts = sky.folder / "sky"
    shutil.copy(cutouts / "T001.fits", cutouts / "T000.fits")
    verification = found(sky, encoder)
    assert failed(verification) == set()
    (check,) = (c for c in verification.checks if c.name == "canaries")
    assert "39 cutouts" in check.detail
    assert "T100+000" in check.detail
    # A few do not speak for the others.
    for number in range(2, 12):
        (cutouts / f"T{number:03d}.fits").unlink()
    assert failed(found(sky, encoder)) == {"canaries"}


def test_the_canary_that_is_another_source_is_named(sky: Sky, encoder: Encoder) -> None:
    def swapped(vectors: np.ndarray) -> np.ndarray:
        vectors[[10, 30]] = vectors[[30, 10]]
        return vectors

    sky.vectors(swapped)
    (check,) = (c for c in found(sky, encoder).checks if c.name == "canaries")
    names = [s.source_id for s in sky.store.sources_by_row(2, [10, 30])]
    assert not check.passed
    assert any(name in check.detail for name in names)


def test_the_order_and_spelling_of_columns_is_no_correction(
    tmp_path: Path, store: SourceStore
) -> None:
    columns: list[dict[str, Value]] = [
        {"a": 1, "b": "x", "c": 3.0},
        {"c": 3, "b": "x", "a": 1.0},
        {"a": 2, "b": "x", "c": 3.0},
    ]
    for number, values in enumerate(columns, start=1):
        begun = store.begin_generation(
            encoder_id="e",
            catalogue_name="c",
            catalogue_digest="d",
            columns=[Column("a"), Column("b", kind="text"), Column("c")],
        )
        assert begun == number
        store.add_sources(number, 0, [Source("s", 1.0, 2.0, columns=values)])
    assert diff_of(store.engine, 1, 2).unchanged == 1
    assert diff_of(store.engine, 1, 3).corrected == 1


def test_classes_that_are_written_as_integers_count(
    tmp_path: Path, encoder: Encoder
) -> None:
    write_sky(tmp_path / "sky", 40)
    table = tmp_path / "sky" / "catalogue.csv"
    lines = table.read_text().replace("FRII", "2").replace("FRI,", "1,").splitlines()
    table.write_text("\n".join(lines) + "\n")
    report = index_sky(tmp_path / "sky", tmp_path / "home", encoder)
    assert report.verification is not None
    assert set(report.verification.quality) == {"fr_class", "tailed"}


def test_force_passes_over_opinions_and_not_over_damage() -> None:
    opinion = Check("removed", passed=False, detail="many are gone")
    damage = Check("vectors", passed=False, detail="not of unit length")
    right = Check("files", passed=True, detail="")
    assert Verification([right]).passed_over(force=False) == []
    assert Verification([right, opinion]).passed_over(force=True) == ["removed"]
    for checks, force in (
        ([opinion], False),
        ([damage], True),
        ([opinion, replace(damage, name="rows")], True),
    ):
        with pytest.raises(VerificationError, match="not published"):
            Verification(checks).passed_over(force=force)


def test_plans_of_old_jobs_go(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for name in ("old/plan", "new/plan", "catalogues"):
        (home.jobs / name).mkdir(parents=True)
    for name in ("catalogues/old.parquet", "catalogues/new.parquet", "old/plan/x"):
        (home.jobs / name).write_text("x")
    long_ago = time.time() - 40 * 86_400
    for name in ("old", "catalogues/old.parquet", "catalogues"):
        os.utime(home.jobs / name, (long_ago, long_ago))
    forget_jobs(home)
    left = sorted(p.relative_to(home.jobs).as_posix() for p in home.jobs.rglob("*"))
    assert left == ["catalogues", "catalogues/new.parquet", "new", "new/plan"]
