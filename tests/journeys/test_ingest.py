"""From a record of Zenodo and a public archive's cutouts to answers."""

import json
from pathlib import Path
from urllib.parse import urlencode

import pytest
from archives import serve_archive
from astropy.io.votable import from_table
from astropy.table import Table
from commands import run_twinjet
from rgz import keep_record

from twinjet.index.ingest.rgz import FILE

pytestmark = pytest.mark.slow


def test_a_release_becomes_an_index_with_one_command(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with serve_archive() as archive:
        keep_record(archive, FILE)
        options = {
            "cache": tmp_path / "cache",
            "url": f"{archive.url}/firstcutout",
            "rate_per_s": 1000,
        }
        ingest = ["ingest", "rgz-dr1", "--zenodo", f"{archive.url}/api", "--record", 7]
        ingest += ["--cutouts", f"first:?{urlencode(options)}", "--json"]
        report = json.loads(run_twinjet(*ingest, home=home))
        assert report["published"]
        # Five rows: two are one source, one has no place on the sky.
        assert report["count"] == 3
        assert [p["source_id"] for p in report["problems"]] == ["5"]
        asked = archive.paths
        assert asked.count("/firstcutout") == 3
        again = json.loads(run_twinjet(*ingest, home=home))
        assert (again["published"], again["reused"]) == (False, 3)
        assert archive.paths[len(asked) :] == ["/api/records/7"]
    # Searched without the archive.
    found = run_twinjet("search", "RGZ_J000000.2+014816", "--json", home=home)
    neighbours = json.loads(found)
    assert {n["source_id"] for n in neighbours} == {
        "RGZ_J100000.0+200000",
        "RGZ_J100000.0+200000 (CatID 4)",
    }
    assert {n["n_classifications"] for n in neighbours} == {1}
    table = run_twinjet("sources", home=home)
    assert "RGZ_J100000.0+200000 (CatID 4)" in table


def test_a_table_of_vizier_and_a_file_become_an_index(tmp_path: Path) -> None:
    home = tmp_path / "home"
    table = Table({"_RAJ2000": [10.5, 20.5], "_DEJ2000": [1.5, 2.5], "z": [0.1, 0.2]})
    from_table(table).to_xml(str(tmp_path / "table.vot"))
    table.write(tmp_path / "table.csv")
    with serve_archive() as archive:
        archive.files["/votable"] = (tmp_path / "table.vot").read_bytes()
        options = {
            "cache": tmp_path / "cache",
            "url": f"{archive.url}/firstcutout",
            "rate_per_s": 1000,
        }
        cutouts = ["--cutouts", f"first:?{urlencode(options)}", "--json"]
        vizier = ["--vizier", f"{archive.url}/votable"]
        for words, number in (
            (["mirabest", *vizier], 1),
            (["first", *vizier], 2),
            (["vizier", "J/x", "--where", "z=>0", *vizier], 3),
            (["votable", tmp_path / "table.vot"], 4),
            (["csv", tmp_path / "table.csv", "--name", "mine"], 5),
        ):
            report = json.loads(run_twinjet("ingest", *words, *cutouts, home=home))
            assert (report["number"], report["count"]) == (number, 2)
            assert report["embedded"] == (2 if number == 1 else 0)
        assert archive.paths.count("/firstcutout") == 2
    found = json.loads(run_twinjet("sources", "--json", home=home))
    assert {s["source_id"] for s in found} == {
        "J004200.00+013000.0",
        "J012200.00+023000.0",
    }
