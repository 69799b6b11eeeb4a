"""Tables of VizieR from a local server that answers and fails as such services do."""

import io
import re
from pathlib import Path

import pytest
from archives import serve_archive
from astropy.io.votable import from_table
from astropy.table import Table

from twinjet.index.catalogue import read_catalogue
from twinjet.index.cutouts.exchange import Politeness
from twinjet.index.errors import CatalogueError
from twinjet.index.ingest.vizier import download_vizier, read_vizier
from twinjet.index.names import position_name

PATH = "/viz-bin/votable"
QUICK = Politeness(rate_per_s=1000, attempts=3, backoff_s=0.01, deadline_s=20)


def votable(rows: int = 3) -> bytes:
    """As VizieR has it: a record number, computed positions, a column of classes."""
    table = Table(
        {
            "recno": list(range(1, rows + 1)),
            "_RAJ2000": [10.68471 + i for i in range(rows)],
            "_DEJ2000": [41.26875 - 60 * i for i in range(rows)],
            "Fr": ["100", "200", "300"][:rows],
        }
    )
    table["_RAJ2000"].unit = table["_DEJ2000"].unit = "deg"
    file = io.BytesIO()
    from_table(table).to_xml(file)
    return file.getvalue()


def test_a_table_is_fetched_once_and_its_sources_are_named(tmp_path: Path) -> None:
    with serve_archive() as archive:
        archive.files[PATH] = votable()
        path, again = (
            download_vizier(
                "J/MNRAS/466/4346/table1",
                tmp_path,
                constraints={"Maj": ">15"},
                url=archive.url + PATH,
                politeness=QUICK,
            )
            for _ in range(2)
        )
        assert path == again
        assert archive.paths == [PATH]
        asked = archive.asked[0].fields
    assert asked["-source"] == "J/MNRAS/466/4346/table1"
    assert (asked["-out.max"], asked["Maj"]) == ("unlimited", ">15")
    catalogue = read_vizier(path, name="mirabest")
    sources = list(catalogue.sources)
    assert [s.source_id for s in sources] == [
        "J004244.33+411607.5",
        "J004644.33-184352.5",
        "J005044.33-784352.5",
    ]
    assert catalogue.name == "mirabest"
    assert sources[1].ra == pytest.approx(11.68471)
    assert sources[0].columns["fr"] == 100
    named = read_vizier(path, name="x", mapping={"source_id": "recno"})
    assert [s.source_id for s in named.sources] == ["1", "2", "3"]


@pytest.mark.parametrize("fault", ["busy", "down", "reset", "cut"])
def test_what_passes_is_waited_for(tmp_path: Path, fault: str) -> None:
    with serve_archive() as archive:
        archive.files[PATH] = votable()
        archive.retry_after = "0"
        archive.faults.append(fault)
        path = download_vizier(
            "VIII/92/first14", tmp_path, url=archive.url + PATH, politeness=QUICK
        )
        assert len(archive.paths) == 2
    assert len(read_vizier(path, name="first").sources) == 3


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (votable()[:-40], "no whole VOTable"),
        (b"<html>Sorry</html>", "no whole VOTable"),
        (re.sub(rb"<TR>.*</TR>", b"", votable(), flags=re.DOTALL), "no row"),
    ],
    ids=["cut", "page", "empty"],
)
def test_what_is_no_table_is_not_kept(tmp_path: Path, answer: bytes, said: str) -> None:
    with serve_archive() as archive:
        archive.files[PATH] = answer
        with pytest.raises(CatalogueError, match=said):
            download_vizier("x", tmp_path, url=archive.url + PATH, politeness=QUICK)
    assert list(tmp_path.iterdir()) == []


def test_a_table_without_ids_is_refused_where_they_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("ra,dec,size\n359.9999999,-0.00001,3\n0,0,4\n")
    with pytest.raises(CatalogueError, match="source_id"):
        read_catalogue(path)
    sources = read_catalogue(path, name_rows=True).sources
    assert [s.source_id for s in sources] == [
        "J235959.99-000000.0",
        "J000000.00+000000.0",
    ]


@pytest.mark.parametrize(
    ("ra", "dec", "name"),
    [
        (0.0, -90.0, "J000000.00-900000.0"),
        (180.0, 89.99999, "J120000.00+895959.9"),
        (15.0, -0.5, "J010000.00-003000.0"),
    ],
)
def test_names_of_positions_are_cut_off(ra: float, dec: float, name: str) -> None:
    assert position_name(ra, dec) == name
