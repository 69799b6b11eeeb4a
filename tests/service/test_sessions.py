"""Sessions of discovery as a client sees them."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pyarrow.parquet as pq
import pytest
from astropy.io import votable
from fastapi.testclient import TestClient
from problems import assert_problem
from skies import index_sky, small_encoder, write_sky

from twinjet.service.app import create_app
from twinjet.service.config import Config


@pytest.fixture
def names(client: TestClient) -> Iterator[None]:
    """Sessions and lists of a test are gone after it."""
    yield
    for session in client.get("/sessions").json()["sessions"]:
        assert client.delete(session["links"]["self"]).status_code == 204
    for known in client.get("/lists").json()["lists"]:
        assert client.delete(f"/lists/{known['name']}").status_code == 204


pytestmark = pytest.mark.usefixtures("names")


def name(number: int) -> str:
    return f"T100+{number:03d}"


def begin(client: TestClient, **more: object) -> dict[str, Any]:
    body = {"name": "hunt", "examples": [name(0), "t100 002"]} | more
    answer = client.post("/sessions", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    assert answer.headers["location"] == made["links"]["self"]
    return made


def put_list(client: TestClient, label: str, text: str) -> httpx.Response:
    return client.put(f"/lists/{label}", files={"file": ("known.csv", text.encode())})


def test_a_session_from_its_examples_to_its_export(client: TestClient) -> None:
    assert put_list(client, "known", f"id\n{name(5)}\n{name(6)}\n").status_code == 200
    session = begin(client, exclude=["known"], notes="bent ones")
    here = session["links"]["self"]
    first = client.put(f"{here}/rounds/1", json={"count": 6, "explore": 0.5}).json()
    assert [c["strategy"] for c in first["candidates"]] == ["exploit"] * 3 + [
        "explore"
    ] * 3
    proposed = [c["source_id"] for c in first["candidates"]]
    assert not set(proposed) & {name(n) for n in (0, 2, 5, 6)}
    assert all(
        c["links"]["cutout_png"] and c["field_arcsec"] for c in first["candidates"]
    )
    told = [
        {"source_id": one, "label": "like" if n < 2 else "dislike", "note": f"no. {n}"}
        for n, one in enumerate(proposed[:4])
    ]
    answer = client.post(f"{here}/labels", json={"labels": told})
    assert [m["version"] for m in answer.json()["labels"]] == [1] * 4
    again = client.put(f"{here}/rounds/1", json={"count": 6, "explore": 0.5}).json()
    assert [c["source_id"] for c in again["candidates"]] == proposed
    second = client.put(f"{here}/rounds/2").json()
    assert not set(proposed) & {c["source_id"] for c in second["candidates"]}
    assert (second["likes"], second["dislikes"]) == (4, 2)
    ranked = client.get(f"{here}/candidates?k=1000").json()
    assert len(ranked["candidates"]) == 40 - 2 - 2 - 4
    assert ranked["generation"]["exact"] is True
    seen = client.get(here).json()
    assert seen["counts"] == {"dislike": 2, "example": 2, "like": 2, "unlabelled": 12}
    assert seen["rounds"] == 2
    assert seen["vanished"] == []
    assert seen["notes"] == "bent ones"
    rounds = client.get(f"{here}/rounds").json()["rounds"]
    assert [one["number"] for one in rounds] == [1, 2]
    assert client.get(f"{here}/rounds/2").json() == second


def test_exports_have_labels_candidates_and_provenance(client: TestClient) -> None:
    session = begin(client, name="Bent & <odd>, β")
    here = session["links"]["self"]
    client.put(f"{here}/rounds/1", json={"count": 5})
    liked = client.get(f"{here}/rounds/1").json()["candidates"][0]["source_id"]
    note = 'says "a, b"\n<x> & \ufffe'
    body = {"labels": [{"source_id": liked, "label": "like", "note": note}]}
    assert client.post(f"{here}/labels", json=body).status_code == 200
    url = f"{here}/export?candidates=7&format="
    answer = client.get(url + "csv")
    assert 'filename="Bent-odd-v3.csv"' in answer.headers["content-disposition"]
    assert answer.content == client.get(url + "csv").content
    parquet = pq.read_table(io.BytesIO(client.get(url + "parquet").content))
    generation = client.get("/generations").json()["generations"][0]
    metadata = {k.decode(): v.decode() for k, v in parquet.schema.metadata.items()}
    assert metadata["session"] == "Bent & <odd>, β"
    assert metadata["generation"] == str(generation["number"])
    assert generation["encoder"] in metadata["encoder"]
    assert metadata["catalogue_digest"] == generation["catalogue_digest"]
    rows = parquet.to_pylist()
    assert [row["status"] for row in rows][:10] == ["example"] * 2 + ["like"] + [
        "candidate"
    ] * 7
    assert {row["status"] for row in rows[10:]} <= {"seen"}
    assert [row["rank"] for row in rows[3:10]] == list(range(1, 8))
    assert rows[2]["note"] == note
    assert rows[2]["round"] == 1
    assert rows[0]["score"] is None
    assert {row["generation"] for row in rows} == {generation["number"]}
    assert rows[0]["fr_class"] == "FRII"
    assert parquet.schema.field("ra").metadata[b"unit"] == b"deg"
    document = votable.parse(
        io.BytesIO(client.get(url + "votable").content), verify="exception"
    )
    table = document.get_first_table()
    assert [str(v) for v in table.array["source_id"]] == [r["source_id"] for r in rows]
    assert table.array["rank"].mask.tolist() == [r["rank"] is None for r in rows]
    assert str(table.array["note"][2]) == note.replace("\ufffe", "\ufffd")
    infos = {info.name: info.value for info in document.infos}
    assert infos["session"] == "Bent & <odd>, β"
    assert infos["catalogue_digest"] == generation["catalogue_digest"]
    assert table.get_field_by_id_or_name("dec").ucd == "pos.eq.dec;meta.main"
    # What was exported is a list of known sources as it is.
    csv = answer.text
    assert put_list(client, "exported", csv).json()["entries"] == len(rows)


def test_two_browsers_lose_no_label(client: TestClient) -> None:
    here = begin(client)["links"]["self"]

    def tell(label: str | None, version: int = 0) -> httpx.Response:
        one = {"source_id": name(9), "label": label, "version": version}
        return client.post(f"{here}/labels", json={"labels": [one]})

    assert tell("like").status_code == 200
    body = assert_problem(tell("dislike"), 409, "session-conflict")
    assert (body["parameter"], body["limit"], body["actual"]) == ("version", 1, 0)
    assert "labelled like at version 1" in body["detail"]
    assert tell("dislike", 1).json()["labels"][0]["version"] == 2
    assert tell(None, 2).json()["labels"][0]["label"] is None
    found = client.get(f"{here}/labels?label=none").json()["labels"]
    assert [(one["source_id"], one["version"]) for one in found] == [(name(9), 3)]
    first = client.get(here).json()["version"]
    changed = client.patch(here, json={"version": first, "name": "other", "notes": "x"})
    assert (changed.json()["name"], changed.json()["version"]) == ("other", first + 1)
    late = client.patch(here, json={"version": first, "notes": "y"})
    assert_problem(late, 409, "session-conflict")


def test_labels_and_sessions_come_in_pages(client: TestClient) -> None:
    session = begin(client, examples=[name(n) for n in range(7)])
    for number in range(3):
        begin(client, name=f"other {number}")
    for url, key, count in (
        (session["links"]["labels"] + "?limit=3&label=example", "labels", 7),
        ("/sessions?limit=3", "sessions", 4),
    ):
        found, following = [], url
        while following:
            page = client.get(following).json()
            assert len(page[key]) <= 3
            found += [str(one) for one in page[key]]
            following = page["next"]
        assert len(found) == len(set(found)) == count


def test_examples_may_come_from_a_list_of_positions(client: TestClient) -> None:
    text = "ra,dec\n351.5,-19.1\n352.0,-18.8\n10,60\n"
    assert put_list(client, "bent", text).json()["entries"] == 3
    session = begin(client, examples=[], examples_from="bent", exclude=["bent"])
    labels = client.get(session["links"]["labels"]).json()["labels"]
    assert [one["source_id"] for one in labels] == [name(3), name(4)]
    assert_problem(client.delete("/lists/bent"), 409, "session-conflict")
    assert client.get("/lists/bent").json()["radius_arcsec"] == 10.0


@pytest.mark.parametrize(
    ("body", "status", "problem", "parameter"),
    [
        ({}, 422, "invalid-parameter", "name"),
        ({"name": ""}, 422, "invalid-parameter", "name"),
        ({"name": "  "}, 422, "invalid-parameter", "name"),
        ({"name": "x" * 201}, 422, "invalid-parameter", "name"),
        ({"name": "a\u0000b"}, 422, "invalid-parameter", "name"),
        ({"name": 7}, 422, "invalid-parameter", "name"),
        ({"name": "a", "notes": "x" * 20_001}, 422, "invalid-parameter", "notes"),
        ({"name": "a"}, 409, "no-examples", "examples"),
        ({"name": "a", "examples": [""]}, 422, "invalid-parameter", "examples"),
        ({"name": "a", "examples": ["nobody"]}, 404, "unknown-source", "examples"),
        ({"name": "a", "examples": ["x\u0000"]}, 404, "unknown-source", "examples"),
        ({"name": "a", "examples": ["x"] * 1001}, 422, "invalid-parameter", "examples"),
        (
            {"name": "a", "examples": [name(1)], "exclude": ["no"]},
            *(404, "unknown-list", "exclude"),
        ),
        (
            {"name": "a", "examples": [name(1)], "exclude": ["no\u0000"]},
            *(404, "unknown-list", "exclude"),
        ),
        ({"name": "a", "examples_from": "no"}, 404, "unknown-list", "name"),
        ({"name": "a", "exampels": []}, 422, "invalid-parameter", "exampels"),
    ],
)
def test_sessions_that_cannot_begin_are_refused(
    client: TestClient,
    body: dict[str, object],
    status: int,
    problem: str,
    parameter: str,
) -> None:
    found = assert_problem(client.post("/sessions", json=body), status, problem)
    assert found["parameter"] == parameter
    assert client.get("/sessions").json()["sessions"] == []


@pytest.mark.parametrize(
    ("labels", "status", "problem"),
    [
        ([], 422, "invalid-parameter"),
        ([{"source_id": name(1)}], 422, "invalid-parameter"),
        ([{"source_id": name(1), "label": "maybe"}], 422, "invalid-parameter"),
        ([{"source_id": name(1), "label": "like"}] * 2, 422, "invalid-parameter"),
        ([{"source_id": name(1), "label": "like"}] * 1001, 422, "invalid-parameter"),
        ([{"source_id": "nobody", "label": None}], 404, "unknown-source"),
        (
            [{"source_id": name(1), "label": "like", "version": -1}],
            *(422, "invalid-parameter"),
        ),
        (
            [{"source_id": name(1), "label": "like", "version": 3}],
            *(409, "session-conflict"),
        ),
        (
            [{"source_id": name(1), "label": "like", "note": "x" * 2001}],
            *(422, "invalid-parameter"),
        ),
        (
            [{"source_id": name(1), "label": "like", "note": "\u0007"}],
            *(422, "invalid-parameter"),
        ),
    ],
)
def test_labels_that_cannot_be_taken_are_refused(
    client: TestClient, labels: list[object], status: int, problem: str
) -> None:
    here = begin(client)["links"]["self"]
    before = client.get(here).json()
    assert_problem(
        client.post(f"{here}/labels", json={"labels": labels}), status, problem
    )
    assert client.get(here).json() == before


@pytest.mark.parametrize(
    ("number", "body", "status", "problem"),
    [
        (0, {}, 422, "invalid-parameter"),
        (2, {}, 422, "invalid-parameter"),
        (2**70, {}, 422, "invalid-parameter"),
        ("x", {}, 422, "invalid-parameter"),
        (1, {"count": 0}, 422, "invalid-parameter"),
        (1, {"count": 101}, 422, "invalid-parameter"),
        (1, {"explore": 1.5}, 422, "invalid-parameter"),
        (1, {"where": "nothing > 1"}, 422, "invalid-filter"),
        (1, {"where": "redshift > 9"}, 409, "no-candidates"),
        (1, {"kount": 1}, 422, "invalid-parameter"),
    ],
)
def test_rounds_that_cannot_be_made_are_refused(
    client: TestClient,
    number: object,
    body: dict[str, object],
    status: int,
    problem: str,
) -> None:
    here = begin(client)["links"]["self"]
    answer = client.put(f"{here}/rounds/{number}", json=body)
    assert_problem(answer, status, problem)
    assert client.get(f"{here}/rounds").json() == {"rounds": []}


def test_what_is_not_there_is_a_404(client: TestClient) -> None:
    for path in ("", "/labels", "/rounds", "/rounds/1", "/candidates", "/export"):
        answer = client.get(f"/sessions/nobody%00{path}")
        assert_problem(answer, 404, "unknown-session")
    here = begin(client)["links"]["self"]
    assert_problem(client.get(f"{here}/rounds/1"), 404, "unknown-session")
    assert_problem(client.get("/lists/nothing%00"), 404, "unknown-list")
    assert_problem(client.delete("/lists/nothing"), 404, "unknown-list")
    assert_problem(client.delete("/sessions/nobody"), 404, "unknown-session")
    again = client.post("/sessions", json={"name": " hunt ", "examples": [name(1)]})
    assert_problem(again, 409, "session-conflict")


@pytest.mark.parametrize(
    ("data", "status", "problem"),
    [
        (b"", 422, "unusable-list"),
        (b"flux\n1\n", 422, "unusable-list"),
        (b"ra,dec\n1,99\n", 422, "unusable-list"),
        (b"\x89PNG\r\n", 422, "unusable-list"),
        (b"id\n" + b"x" * (17 << 20), 413, "payload-too-large"),
    ],
)
def test_lists_that_cannot_be_read_are_refused(
    client: TestClient, data: bytes, status: int, problem: str
) -> None:
    answer = client.put("/lists/a", files={"file": ("a.csv", data)})
    assert_problem(answer, status, problem)
    assert client.get("/lists").json() == {"lists": []}


def test_a_list_needs_a_plain_name_and_a_radius(client: TestClient) -> None:
    files = {"file": ("a.csv", b"id\nx\n")}
    assert_problem(client.put("/lists/a b", files=files), 422, "invalid-parameter")
    answer = client.put("/lists/a?radius_arcsec=4000", files=files)
    assert_problem(answer, 422, "invalid-parameter")
    assert_problem(client.put("/lists/a", files={}), 422, "missing-file")


def test_without_an_index_a_session_cannot_begin(empty_client: TestClient) -> None:
    body = {"name": "a", "examples": ["x"]}
    answer = empty_client.post("/sessions", json=body)
    assert_problem(answer, 503, "index-unavailable")
    assert empty_client.get("/sessions").json()["sessions"] == []


def test_a_session_goes_on_in_the_next_generation(tmp_path: Path) -> None:
    encoder = small_encoder()
    encoder.save(tmp_path / "encoder")
    write_sky(tmp_path / "sky", 24)
    index_sky(tmp_path / "sky", tmp_path / "home", encoder)
    config = Config(
        home=tmp_path / "home",
        encoder=tmp_path / "encoder" / "small.json",
        refresh_s=3600,
        anonymous="ingest",
    )
    app = create_app(config)
    with TestClient(app, raise_server_exceptions=False) as client:
        here = begin(client)["links"]["self"]
        first = client.put(f"{here}/rounds/1", json={"count": 4}).json()
        catalogue = tmp_path / "sky" / "catalogue.csv"
        lines = catalogue.read_text().splitlines(keepends=True)
        gone = first["candidates"][0]["source_id"]
        kept = [line for line in lines if not line.startswith((name(2), gone))]
        catalogue.write_text("".join(kept))
        index_sky(tmp_path / "sky", tmp_path / "home", encoder, force=True)
        app.state.resources.refresh()
        seen = client.get(here).json()
        assert seen["generation"]["number"] == 2
        assert seen["vanished"] == [name(2)]
        again = client.get(f"{here}/rounds/1").json()
        assert again["generation"] == 1
        assert again["candidates"][0]["source"] is None
        assert [c["source_id"] for c in again["candidates"]] == [
            c["source_id"] for c in first["candidates"]
        ]
        second = client.put(f"{here}/rounds/2", json={"count": 100}).json()
        assert (second["generation"], second["likes"]) == (2, 1)
        assert len(second["candidates"]) == 24 - 2 - 4
