"""`twinjet search` and `twinjet outliers`: what the HTTP answers say."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from fastapi.testclient import TestClient

from twinjet.index.errors import TwinjetIndexError
from twinjet.service.cli import cli
from twinjet.service.config import Config


def run(config: Config, *arguments: object) -> Result:
    command = [*map(str, arguments), "--home", str(config.home)]
    return CliRunner().invoke(cli, command, catch_exceptions=True)


def rows(config: Config, *arguments: object) -> list[dict[str, Any]]:
    done = run(config, *arguments, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def ids(body: dict[str, Any], member: str = "neighbours") -> list[str]:
    return [one["source"]["source_id"] for one in body[member]]


@pytest.mark.parametrize(
    ("arguments", "query"),
    [
        (("-k", 5), "k=5"),
        (("--offset", 3), "offset=3"),
        (("--least",), "order=least"),
        (("--min-similarity", 0.2), "min_similarity=0.2"),
        (("--diversity", 0.5), "diversity=0.5"),
        (("--where", "redshift > 0.3"), "where=redshift>0.3"),
        (("--region", "circle 351 -19 2"), "region=circle 351 -19 2"),
        (
            ("--exclude", "T100+009", "--exclude", "T100+011"),
            "exclude=T100%2B009&exclude=T100%2B011",
        ),
    ],
)
def test_options_are_those_of_http(
    config: Config, client: TestClient, arguments: tuple[object, ...], query: str
) -> None:
    found = rows(config, "search", "T100+003", *arguments)
    body = client.get(f"/similar/T100%2B003?{query}").json()
    assert [row["source_id"] for row in found] == ids(body)
    wanted = [(n["similarity"], n["expected_by_chance"]) for n in body["neighbours"]]
    assert [(r["similarity"], r["expected_by_chance"]) for r in found] == wanted


def test_examples_are_given_by_id(config: Config, client: TestClient) -> None:
    found = rows(
        *(config, "search", "--like", "T100+003", "--like", "T100+004"),
        *("--unlike", "T100+005", "--strategy", "best"),
    )
    body: dict[str, Any] = {"like": ["T100+003", "T100+004"], "unlike": ["T100+005"]}
    answer = client.post("/similar", json={**body, "strategy": "best"}).json()
    assert [row["source_id"] for row in found] == ids(answer)
    pairs = ("--pair", "T100+001", "T100+002")
    found = rows(config, "search", "--like", "T100+003", *pairs)
    body = {"like": ["T100+003"], "pairs": [["T100+001", "T100+002"]]}
    assert [r["source_id"] for r in found] == ids(
        client.post("/similar", json=body).json()
    )
    assert found[0]["score"] >= found[1]["score"]


def test_examples_are_given_as_files(
    config: Config, client: TestClient, sky: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWINJET_ENCODER", str(config.encoder))
    one, other = sky / "T007.fits", sky / "T011.fits"
    found = rows(
        config, "search", "--like", one, "--like", "T100+003", "--unlike", other
    )
    files = [
        ("like", ("a", one.read_bytes())),
        ("like", (None, b"T100+003")),
        ("unlike", ("b", other.read_bytes())),
    ]
    answer = client.post("/similar", files=files).json()
    assert [row["source_id"] for row in found] == ids(answer)


def test_a_batch_reports_rows_that_fail(config: Config, tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("source_id\nT100+001\nnobody\n")
    done = run(config, "search", "--batch", table, "-k", 2, "--format", "csv")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith(
        "row,asked_id,asked_ra,asked_dec,query_source_id,problem"
    )
    assert [line.partition(",")[0] for line in lines[1:]] == ["2", "2", "3"]
    assert "row 3: no source 'nobody'" in done.stderr.replace("\n", " ")


def test_outliers_are_listed(config: Config, client: TestClient) -> None:
    found = rows(config, "outliers", "-k", 4)
    body = client.get("/outliers?k=4").json()
    assert [row["source_id"] for row in found] == ids(body, "outliers")
    least = rows(config, "outliers", "-k", 1, "--least")
    assert least[0]["isolation_percentile"] == 0
    printed = run(config, "outliers")
    assert "isolation" in printed.stdout
    assert "generation 1" in printed.stderr


def test_tables_are_those_of_http(config: Config, client: TestClient) -> None:
    done = run(config, "search", "T100+003", "--format", "csv")
    assert done.stdout_bytes == client.get("/similar/T100%2B003?format=csv").content
    done = run(config, "search", "T100+003", "--format", "parquet")
    assert pq.read_table(pa.BufferReader(done.stdout_bytes)).num_rows == 10
    done = run(config, "search", "T100+003", "--format", "votable")
    assert b"<VOTABLE" in done.stdout_bytes


def test_a_terminal_shows_short_numbers_and_where_they_are_from(
    config: Config,
) -> None:
    done = run(config, "search", "T100+003", "-k", 3)
    first = rows(config, "search", "T100+003", "-k", 1)[0]
    assert f"{first['similarity']:.4f}" in done.stdout
    assert "fr_class" in done.stdout
    for word in ("generation 1", "encoder", "catalogue_digest", "exact true"):
        assert word in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("T100+003", "--like", "T100+004"),
        ("--pair", "T100+001"),
        ("T100+003", "-k", 0),
        ("T100+003", "--min-similarity", 2),
        ("T100+003", "--format", "xls"),
        ("--batch", "/nonexistent"),
    ],
)
def test_what_is_no_question_is_a_usage_error(
    config: Config, arguments: tuple[object, ...]
) -> None:
    assert run(config, "search", *arguments).exit_code == 2


def test_a_table_that_cannot_be_read_is_an_error_of_ours(
    config: Config, tmp_path: Path
) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("flux\n1\n")
    done = run(config, "search", "--batch", table)
    assert isinstance(done.exception, TwinjetIndexError)
    assert "mine.csv has neither source_id nor ra and dec" in str(done.exception)
