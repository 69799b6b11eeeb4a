"""Radio Galaxy Zoo: downloaded whole, each source once, hosts beside them."""

from collections.abc import Iterator
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
from archives import Archive, serve_archive
from rgz import RELEASE, keep_record, packed, release

from twinjet.index.cutouts.exchange import Politeness
from twinjet.index.errors import CatalogueError, CatalogueFormatError
from twinjet.index.ingest.duplicates import merged
from twinjet.index.ingest.rgz import read_rgz
from twinjet.index.ingest.zenodo import download
from twinjet.index.source import Source


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    path = tmp_path / "tables.tar.gz"
    path.write_bytes(RELEASE)
    return path


def test_rows_of_one_source_become_one_even_across_ra_0(tables: Path) -> None:
    catalogue = read_rgz(tables)
    first, second, third = catalogue.sources
    # 2.5 arcsec apart; the one that people agree about is kept.
    assert first.source_id == "RGZ_J000000.2+014816"
    assert (first.ra, first.dec, first.survey) == (0.0006, 1.8, "FIRST")
    assert first.columns["n_classifications"] == 2
    assert first.columns["merged_rows"] == "2 1"
    assert first.columns["consensus"] == 0.95
    assert first.columns["extent_arcsec"] == 51
    # 36 arcsec apart under one name.
    assert second.source_id == "RGZ_J100000.0+200000"
    assert third.source_id == "RGZ_J100000.0+200000 (CatID 4)"
    assert third.columns["n_classifications"] == 1


def test_hosts_are_joined_by_subject_and_name(tables: Path) -> None:
    first, second, third = read_rgz(tables).sources
    assert first.columns["host_ra_deg"] == 0.0007
    assert first.columns["host_w1mag"] == 14.2
    assert first.columns["host_n_wise_match"] == 1
    assert first.columns["host_z_phot0"] == 0.31
    assert second.columns["host_ra_deg"] is None
    assert second.columns["host_wiseid"] is None
    assert third.columns["host_dec_deg"] == 20.011
    assert third.columns["host_z_phot0"] is None


def test_columns_have_units_and_each_source_has_all(tables: Path) -> None:
    catalogue = read_rgz(tables)
    units = {column.name: column.unit for column in catalogue.columns}
    assert units["extent_arcsec"] == "arcsec"
    assert units["total_flux_mjy"] == "mJy"
    assert units["host_ra_deg"] == "deg"
    for source in catalogue.sources:
        assert list(source.columns) == list(units)
    assert catalogue.digest == read_rgz(tables).digest


def test_a_row_off_the_sky_is_reported(tables: Path) -> None:
    (problem,) = read_rgz(tables).problems
    assert problem.source_id == "5"
    assert "95 degrees" in problem.reason


def by_consensus(row: Source) -> float:
    return -float(row.columns["cl"] or 0)


def test_no_chain_of_neighbours_becomes_one_source() -> None:
    # 4 arcsec from each to the next; the best is in the middle.
    rows = [
        Source(str(n), 10 + n * 4 / 3600, 0.0, columns={"cl": 1.0 if n == 2 else 0.7})
        for n in range(5)
    ]
    groups = [
        [row.source_id for row in group]
        for group in merged(rows, 5.0, rank=by_consensus)
    ]
    assert groups == [["0"], ["2", "1", "3"], ["4"]]


def test_nearest_sources_stay_farther_apart_than_the_radius() -> None:
    rng = np.random.default_rng(0)
    rows = [
        Source(str(n), float(ra) % 360, float(dec), columns={"cl": float(cl)})
        for n, (ra, dec, cl) in enumerate(
            zip(
                rng.normal(0, 0.01, 400),
                89.9 + rng.normal(0, 0.01, 400),
                rng.random(400),
                strict=True,
            )
        )
    ]
    groups = merged(rows, 5.0, rank=by_consensus)
    assert sorted(row.source_id for g in groups for row in g) == sorted(
        row.source_id for row in rows
    )
    best = [group[0] for group in groups]
    assert len(merged(best, 5.0, rank=by_consensus)) == len(best) < len(rows)
    for group in groups:
        assert max(float(r.columns["cl"] or 0) for r in group) == group[0].columns["cl"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "cannot be read as a .tar.gz"),
        (b"<html>", "cannot be read as a .tar.gz"),
        (RELEASE[:200], "cannot be read as a .tar.gz"),
        (packed(other="a,b"), "has no DR1_FIRST_radio"),
    ],
)
def test_what_is_no_release_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(data)
    with pytest.raises(CatalogueFormatError, match=words):
        read_rgz(path)


def test_a_release_without_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(release(radio=[]))
    with pytest.raises(CatalogueError, match="has no rows"):
        read_rgz(path)


def test_a_release_without_hosts_has_sources(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(release(hosts=[]))
    catalogue = read_rgz(path)
    first, *others = catalogue.sources
    assert len(others) == 2
    assert any("no hosts" in problem.reason for problem in catalogue.problems)
    assert first.columns["host_ra_deg"] is None


@pytest.fixture
def zenodo() -> Iterator[Archive]:
    with serve_archive() as archive:
        keep_record(archive, "tables.tar.gz")
        yield archive


FAST = Politeness(rate_per_s=1000, backoff_s=0.001, attempts=3)


def fetch(zenodo: Archive, folder: Path, name: str = "tables.tar.gz") -> Path:
    api = f"{zenodo.url}/api"
    return download("7", name, folder, api=api, politeness=FAST)


def test_a_record_is_downloaded_once_and_whole(zenodo: Archive, tmp_path: Path) -> None:
    path = fetch(zenodo, tmp_path / "new")
    assert path.read_bytes() == RELEASE
    assert zenodo.paths == ["/api/records/7", "/api/files/tables/content"]
    fetch(zenodo, tmp_path / "new")
    assert len(zenodo.asked) == 3
    # A checksum that is known beforehand needs no asking at all.
    md5sum = md5(RELEASE, usedforsecurity=False).hexdigest()
    download("7", path.name, path.parent, md5sum=md5sum, api="http://127.0.0.1:9/")
    assert len(zenodo.asked) == 3


@pytest.mark.parametrize("fault", ["cut", "down", "reset"])
def test_faults_of_zenodo_are_asked_through(
    zenodo: Archive, tmp_path: Path, fault: str
) -> None:
    zenodo.faults.append(fault)
    assert fetch(zenodo, tmp_path).read_bytes() == RELEASE


def test_a_record_may_send_us_on(zenodo: Archive, tmp_path: Path) -> None:
    zenodo.elsewhere = f"{zenodo.url}/v2"
    zenodo.faults.append("redirect")
    assert fetch(zenodo, tmp_path).read_bytes() == RELEASE
    assert zenodo.paths[:2] == ["/api/records/7", "/v2/api/records/7"]


def test_another_checksum_leaves_no_file(zenodo: Archive, tmp_path: Path) -> None:
    zenodo.files["/api/files/tables/content"] += b"x"
    with pytest.raises(CatalogueError, match=r"with the MD5 .*asked 3 times"):
        fetch(zenodo, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_changed_record_is_told(zenodo: Archive, tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="it must be 00"):
        download(
            "7",
            "tables.tar.gz",
            tmp_path,
            md5sum="00",
            api=f"{zenodo.url}/api",
            politeness=FAST,
        )


@pytest.mark.parametrize(
    ("name", "words"),
    [("other.csv", "no file 'other.csv'"), ("../x", "no name of a file")],
)
def test_a_file_that_is_not_there_is_told(
    zenodo: Archive, tmp_path: Path, name: str, words: str
) -> None:
    with pytest.raises(CatalogueError, match=words):
        fetch(zenodo, tmp_path, name)


@pytest.mark.parametrize("record", [b"<h1>Hm</h1>", b"[]", b"{}", b'{"files": [1]}'])
def test_a_record_that_is_none_is_told(
    zenodo: Archive, tmp_path: Path, record: bytes
) -> None:
    zenodo.files["/api/records/7"] = record
    with pytest.raises(CatalogueError, match="did not send"):
        fetch(zenodo, tmp_path)
