"""Machines with disks of their own: one database, one store between them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from installations import Installation

from twinjet.index.errors import SharedStoreError
from twinjet.index.generation import open_generation
from twinjet.index.home import Home, system_url
from twinjet.index.jobs.worker import Worker
from twinjet.index.sharing import SharedStore
from twinjet.model.encoder import load_encoder
from twinjet.service.app import create_app
from twinjet.service.config import Config

Machine = Callable[[str], Home]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Homes of machines that share a store."""
    return lambda name: Home(tmp_path / name, f"file://{tmp_path}/store")


def worker(installation: Installation, home: Home) -> Worker:
    home.path.mkdir(exist_ok=True)
    return Worker(
        home,
        installation.store,
        system_url(installation.database_url, installation.home.path),
        encoder=lambda: load_encoder(installation.card),
    )


@pytest.mark.parametrize("installation", ["postgresql"], indirect=True)
def test_what_one_machine_made_others_have(
    installation: Installation, machine: Machine
) -> None:
    request = installation.sky(12)
    table = installation.folder / "sky" / "catalogue.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:10]) + "\n")
    one, two, three = map(machine, ("one", "two", "three"))
    with worker(installation, one):
        *_, job = installation.jobs.follow(installation.jobs.submit(request).id)
        assert job.report is not None, job.error
        assert (job.report["number"], job.report["embedded"]) == (1, 9)
    table.write_text("\n".join(lines) + "\n")
    with worker(installation, two):
        *_, job = installation.jobs.follow(installation.jobs.submit(request).id)
        assert job.report is not None, job.error
        assert (job.report["number"], job.report["embedded"]) == (2, 3)
    first = open_generation(two.generation("g000001"))
    np.testing.assert_array_equal(
        first.vectors, open_generation(one.generations / "g000001").vectors
    )
    config = Config(
        home=three.path,
        shared_store=three.shared,
        database_url=installation.database_url,
        encoder=installation.card,
    )
    with TestClient(create_app(config)) as client:
        answer = client.get("/similar/T100%2B011").json()
        assert answer["generation"]["number"] == 2
    for number in range(3):
        again = replace(request, name=f"other{number}")
        with worker(installation, one):
            *_, job = installation.jobs.follow(installation.jobs.submit(again).id)
            assert job.state == "succeeded", job.error
    del first
    kept = sorted(p.name for p in (installation.folder / "store/generations").iterdir())
    assert kept == ["g000003", "g000004", "g000005"]


def test_a_store_has_whole_files_or_none(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "generations" / "g1").mkdir(parents=True)
    for name in ("manifest.json", "a.npy", "z.npy"):
        (home / "generations" / "g1" / name).write_text(name)
    for url in (f"file://{tmp_path}/store", f"memory:/{tmp_path}/store"):
        store = SharedStore(url, home)
        assert not store.fetch_folder(home / "generations" / "g2")
        assert not store.fetch(home / "shards" / "x.parquet")
        store.put(home / "generations" / "g1")
        store.put(home / "generations" / "g1")
        other = SharedStore(url, tmp_path / "other")
        place = tmp_path / "other" / "generations" / "g1"
        assert other.fetch_folder(place)
        assert sorted(p.name for p in place.iterdir()) == [
            "a.npy",
            "manifest.json",
            "z.npy",
        ]
        assert (place / "a.npy").read_text() == "a.npy"
        assert other.fetch(tmp_path / "other" / "generations" / "g1" / "z.npy")
        store.remove(place.parents[2] / "home" / "generations" / "g1")
        store.remove(home / "generations" / "g1")
        assert not other.fetch(place / "z.npy")
        for file in place.iterdir():
            file.unlink()
        place.rmdir()


def test_a_store_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    for url in ("gopher://x/y", "s3x://bucket"):
        with pytest.raises(SharedStoreError, match="cannot be used"):
            SharedStore(url, tmp_path)
    (tmp_path / "file").write_text("x")
    store = SharedStore(f"file://{tmp_path}/file/below", tmp_path)
    with pytest.raises(SharedStoreError, match="cannot be shared"):
        store.put(tmp_path / "file")
