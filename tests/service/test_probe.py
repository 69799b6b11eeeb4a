"""Classes from a few labels, over HTTP, by the command and in Python."""

import csv
import io
import json
from collections import Counter
from pathlib import Path

import httpx2 as httpx
import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient
from problems import assert_problem
from skies import index_sky, small_encoder, write_sky

from twinjet.index.database import create_engine
from twinjet.index.errors import InvalidQueryError, LabelsError
from twinjet.index.generation import open_generation
from twinjet.index.home import Home
from twinjet.index.probe import classify, publish_classes, read_labels
from twinjet.index.store import SourceStore
from twinjet.service.app import create_app
from twinjet.service.cli import cli
from twinjet.service.config import Config

LABELS = {f"T100+{n:03d}": "odd" if n % 2 else "even" for n in range(24)}


def as_csv(labels: dict[str, str]) -> str:
    return "\n".join(["id,label", *(f"{name},{kind}" for name, kind in labels.items())])


def post(client: TestClient, text: str | bytes, query: str = "") -> httpx.Response:
    return client.post(f"/probe{query}", files={"file": ("labels.csv", text)})


def test_every_source_gets_a_class_and_a_confidence(client: TestClient) -> None:
    answer = post(client, as_csv(LABELS), "?k=3").json()
    assert sum(answer["counts"].values()) == 40
    assert answer["generation"]["sources"] == 40
    report = answer["report"]
    assert report["labels"] == {"even": 12, "odd": 12}
    assert 0 <= report["error"] <= 1
    for name, items in answer["most_confident"].items():
        assert len(items) <= 3
        sure = [item["confidence"] for item in items]
        assert sure == sorted(sure, reverse=True)
        assert all(0.5 <= value <= 1 for value in sure)
        for item in items:
            known = LABELS.get(item["source"]["source_id"])
            assert item["label"] == known
        assert name in {"odd", "even"}


def test_all_of_it_is_a_table(client: TestClient) -> None:
    answer = post(client, as_csv(LABELS), "?format=csv")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    names = sorted(row["source_id"] for row in rows)
    assert names == [f"T100+{n:03d}" for n in range(40)]
    counts = post(client, as_csv(LABELS)).json()["counts"]
    assert Counter(row["class"] for row in rows) == {
        k: v for k, v in counts.items() if v
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "columns id and label; it has: none"),
        ("name,kind\na,b\n", "it has: name, kind"),
        ("id,label\n", "no row with an id and a label"),
        ("id,label\nT100+000,a\nT100+000,b\n", "'T100+000' is labelled 'a' and 'b'"),
        ("id,label\nnone,a\nT100+000,b\n", "1 of 2 labelled sources are not in"),
        ("id,label\nT100+000,a\nT100+001,a\n", "two classes"),
        (as_csv(LABELS) + "\nT100+030,rare", "class 'rare' has 1"),
        (b"id,label\n\xff\xfe,a\n", "not UTF-8 text: byte 9"),
        ('id,label\n"T100+000,a\n', "no row with an id"),
        ("id,label\nT\0,a\nT100+000,b\n", "not in this index"),
    ],
)
def test_labels_that_do_not_do_are_refused(
    client: TestClient, text: str | bytes, says: str
) -> None:
    body = assert_problem(post(client, text), 422, "unusable-labels")
    assert says in body["detail"]


def test_nothing_to_class_is_said_so(empty_client: TestClient) -> None:
    assert_problem(post(empty_client, as_csv(LABELS)), 503, "index-unavailable")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_sky(tmp_path / "sky", 40)
    encoder = small_encoder()
    encoder.save(tmp_path / "encoder")
    index_sky(tmp_path / "sky", tmp_path / "home", encoder)
    return tmp_path / "home"


def test_published_classes_can_be_filtered_by(home: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(as_csv(LABELS), encoding="utf-8")
    out = tmp_path / "classes.csv"
    arguments = ["probe", str(labels), "--out", str(out), "--publish", "parity"]
    done = CliRunner().invoke(cli, [*arguments, "--home", str(home)])
    assert done.exit_code == 0, done.output
    counts = json.loads(done.stdout)["counts"]
    rows = {
        row["source_id"]: row for row in csv.DictReader(io.StringIO(out.read_text()))
    }
    card = tmp_path / "encoder" / "small.json"
    with TestClient(create_app(Config(home=home, encoder=card))) as client:
        assert client.get("/readyz").json()["generation"] == 2
        page = client.get(
            "/sources?limit=100&where=parity = 'odd' and parity_confidence > 0"
        ).json()
        assert len(page["sources"]) == counts["odd"]
        columns = {c["name"]: c["kind"] for c in page["columns"]}
        assert (columns["parity"], columns["parity_confidence"]) == ("text", "number")
        assert columns["redshift"] == "number"
        for item in page["sources"]:
            source = item["source"]
            row = rows[source["source_id"]]
            assert float(row["confidence"]) == source["parity_confidence"]
        # The vectors are the same: so are the answers.
        before = client.get("/similar/T100%2B003?where=fr_class = 'FRI'").json()
        near = [n["source"]["source_id"] for n in before["neighbours"]]
        assert near
    # A second probe replaces the columns.
    done = CliRunner().invoke(
        cli, ["probe", str(labels), "--publish", "parity", "--home", str(home)]
    )
    assert done.exit_code == 0, done.output
    store = SourceStore(create_engine(Home(home).database_url))
    current = store.current()
    assert current is not None
    assert [c.name for c in current.columns].count("parity") == 1
    store.close()


def test_a_generation_that_was_replaced_is_not_published_over(home: Path) -> None:
    store = SourceStore(create_engine(Home(home).database_url))
    current = store.current()
    assert current is not None
    opened = open_generation(Home(home).generations / current.folder)
    classified = classify(opened, store, LABELS)
    for column in ("ra", "Class", "a b", "like", ""):
        with pytest.raises(InvalidQueryError, match="cannot be a column"):
            publish_classes(
                classified, opened, home=Home(home), store=store, column=column
            )
    publish_classes(classified, opened, home=Home(home), store=store, column="parity")
    with pytest.raises(LabelsError, match="no longer the current one"):
        publish_classes(classified, opened, home=Home(home), store=store, column="new")
    numbers = [g.number for g in store.generations()]
    assert numbers == [2, 1]
    store.close()


def test_labels_are_read_as_spreadsheets_write_them() -> None:
    text = "\ufeffSource_ID,RA,Label\r\n T100+000 ,1, FRI \r\nT100+001,2,\r\n"
    assert read_labels(text) == {"T100+000": "FRI"}
