"""Answers as CSV, VOTable and Parquet: the rows that JSON has."""

import csv
import io
import math
from collections.abc import Callable
from typing import Any

import httpx2 as httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import votable
from astropy.io.votable.ucd import check_ucd
from astropy.table import Table
from fastapi.testclient import TestClient
from problems import assert_problem

from twinjet.index.search import Neighbour
from twinjet.index.source import Column, Source
from twinjet.service.content import wanted_format
from twinjet.service.tables import MEDIA_TYPES, Format, neighbours_table

Row = dict[str, Any]
Ask = Callable[[TestClient, dict[str, str]], httpx.Response]

LIKE = {"like": ["T100+003", "T100+004"], "unlike": ["T100+009"]}

QUESTIONS: dict[str, Ask] = {
    "source": lambda c, h: c.get("/similar/T100%2B003?k=7", headers=h),
    "examples": lambda c, h: c.post("/similar?k=7", json=LIKE, headers=h),
    "batch": lambda c, h: c.post(
        "/similar/batch?k=3", json={"ids": ["T100+001", "nobody"]}, headers=h
    ),
    "outliers": lambda c, h: c.get("/outliers?k=7", headers=h),
}


def from_csv(data: bytes) -> list[Row]:
    rows = csv.DictReader(io.StringIO(data.decode(), newline=""))
    return [{name: _typed(text) for name, text in row.items()} for row in rows]


def _typed(text: str) -> Any:
    if text in {"", "true", "false"}:
        return {"": None, "true": True, "false": False}[text]
    try:
        return float(text)
    except ValueError:
        return text


def from_votable(data: bytes) -> list[Row]:
    table = Table.read(io.BytesIO(data), format="votable")
    return [
        {name: _plain(table[name][n]) for name in table.colnames}
        for n in range(len(table))
    ]


def _plain(value: Any) -> Any:
    if value is None or str(value) == "--" or value == "":
        return None
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and math.isnan(value) else value


def from_parquet(data: bytes) -> list[Row]:
    rows: list[Row] = pq.read_table(pa.BufferReader(data)).to_pylist()
    return rows


READERS: dict[Format, Callable[[bytes], list[Row]]] = {
    "csv": from_csv,
    "votable": from_votable,
    "parquet": from_parquet,
}


def flat(question: str, body: dict[str, Any]) -> list[Row]:
    """Rows that a table of an answer should have, out of its JSON."""
    rows: list[Row] = []
    if question == "batch":
        for result in body["results"]:
            asked = {"row": result["row"], "asked_id": result["source_id"]}
            problem = result["problem"]
            asked["problem"] = problem and problem["detail"]
            rows += [asked | _of(n) for n in result["neighbours"]] or [asked]
    elif question == "outliers":
        for one in body["outliers"]:
            isolation = one["isolation"]
            mine = {"rank": one["rank"], "isolation": isolation["distance"]}
            mine["isolation_rank"] = isolation["rank"]
            mine["isolation_percentile"] = isolation["percentile"]
            rows.append(mine | one["source"])
    else:
        rows = [_of(one) for one in body["neighbours"]]
    return rows


def _of(neighbour: Row) -> Row:
    names = ("rank", "similarity", "percentile", "expected_by_chance", "score")
    scores = {n: neighbour[n] for n in names if neighbour[n] is not None}
    return {**scores, **neighbour["source"]}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("form", MEDIA_TYPES)
def test_a_table_has_the_rows_of_the_json(
    client: TestClient, question: str, form: Format
) -> None:
    ask = QUESTIONS[question]
    json = ask(client, {"accept": "application/json"})
    answer = ask(client, {"accept": MEDIA_TYPES[form]})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(MEDIA_TYPES[form])
    assert "attachment" in answer.headers["content-disposition"]
    assert answer.headers["vary"] == "Accept"
    for name in ("generation", "encoder", "catalogue"):
        header = f"twinjet-{name}"
        assert answer.headers[header] == json.headers[header]
    rows = READERS[form](answer.content)
    wanted = flat(question, json.json())
    assert len(rows) == len(wanted) > 0
    for row, there in zip(rows, wanted, strict=True):
        for name, value in there.items():
            if isinstance(value, float):
                assert row[name] == pytest.approx(value, rel=1e-12)
            else:
                assert row[name] == value, name
    assert ask(client, {"accept": MEDIA_TYPES[form]}).content == answer.content


def test_a_table_leads_to_the_next_page(client: TestClient) -> None:
    url = "/similar/T100%2B003?k=5&format=csv"
    names = []
    while url:
        page = client.get(url)
        names += [row["source_id"] for row in from_csv(page.content)]
        link = page.headers.get("link", "")
        assert link == "" or link.endswith('; rel="next"')
        url = link.partition(">")[0].removeprefix("<")
    whole = from_csv(client.get("/similar/T100%2B003?k=39&format=csv").content)
    assert names == [row["source_id"] for row in whole]
    assert len(names) == 39


def test_a_votable_says_what_it_is_of(client: TestClient) -> None:
    data = client.get("/similar/T100%2B003?k=2&format=votable").content
    document = votable.parse(io.BytesIO(data), verify="exception")
    resource = document.resources[0]
    infos = {info.name: info.value for info in resource.infos}
    body = client.get("/similar/T100%2B003?k=2").json()
    assert infos["QUERY_STATUS"] == "OK"
    assert infos["generation"] == "1"
    assert infos["encoder"] == body["generation"]["encoder"]
    assert infos["catalogue_digest"] == body["generation"]["catalogue_digest"]
    assert infos["exact"] == "true"
    assert infos["next"] == body["next"].replace("k=2", "k=2&format=votable")
    fields = {field.name: field for field in resource.tables[0].fields}
    assert fields["ra"].unit.to_string() == "deg"
    assert fields["ra"].ucd == "pos.eq.ra;meta.main"
    for field in fields.values():
        if field.ucd:
            assert check_ucd(field.ucd, check_controlled_vocabulary=True), field.name


def test_parquet_has_units_and_provenance(client: TestClient) -> None:
    data = client.get("/outliers?format=parquet").content
    schema = pq.read_schema(pa.BufferReader(data))
    assert schema.field("dec").metadata[b"unit"] == b"deg"
    assert schema.metadata[b"generation"] == b"1"


def test_an_answer_without_rows_is_a_table(client: TestClient) -> None:
    for form, read in READERS.items():
        query = f"min_similarity=1&format={form}"
        answer = client.get(f"/similar/T100%2B003?{query}")
        assert answer.status_code == 200
        assert read(answer.content) == []


@pytest.mark.parametrize("form", MEDIA_TYPES)
def test_strange_names_and_values_survive(form: Format) -> None:
    source = Source(
        "<a> & 'b'; \"ü\"",
        359.999999999999,
        -90.0,
        columns={"rank": 7.5, "note": "two\nlines, \x0b<b>", "flag": None},
    )
    columns = [
        Column("rank"),
        Column("note", kind="text"),
        Column("flag", kind="boolean"),
    ]
    neighbour = Neighbour(1, 0.1 + 0.2, None, None, source)
    (row,) = READERS[form](neighbours_table([neighbour], columns, {}).written(form))
    assert row["source_id"] == source.source_id
    assert (row["ra"], row["dec"]) == (source.ra, source.dec)
    assert row["similarity"] == 0.1 + 0.2
    assert (row["rank"], row["rank_"]) == (1, 7.5)
    assert row["percentile"] is None
    assert row["flag"] is None
    note = "two\nlines, \x0b<b>"
    assert row["note"] == (
        note.replace("\x0b", "\ufffd") if form == "votable" else note
    )


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", None),
        ("*/*", None),
        ("text/html,application/xhtml+xml,*/*;q=0.8", None),
        ("application/json, text/csv", None),
        ("text/csv, application/json", "csv"),
        ("application/json;q=0.1, text/csv;q=0.2", "csv"),
        ("TEXT/CSV; header=present", "csv"),
        ("text/csv;q=0", None),
        ("text/csv;q=much", None),
        ("application/x-votable+xml", "votable"),
        ("application/vnd.apache.parquet;q=1.0", "parquet"),
    ],
)
def test_what_is_accepted_decides(accept: str, form: Format | None) -> None:
    assert wanted_format(accept) == form


def test_the_format_that_is_asked_for_goes_before_what_is_accepted(
    client: TestClient,
) -> None:
    headers = {"accept": "text/csv"}
    answer = client.get("/similar/T100%2B003?format=json", headers=headers)
    assert answer.headers["content-type"] == "application/json"
    body = assert_problem(
        client.get("/similar/T100%2B003?format=xls"), 422, "invalid-parameter"
    )
    assert body["parameter"] == "format"


def test_a_refusal_is_a_problem_document_whatever_is_accepted(
    client: TestClient,
) -> None:
    answer = client.get("/similar/nobody", headers={"accept": "text/csv"})
    assert_problem(answer, 404, "unknown-source")
