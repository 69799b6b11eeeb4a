"""`twinjet session` from the first example to the export."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from astropy.table import Table
from click.testing import CliRunner
from skies import index_sky, small_encoder, write_sky

from twinjet.index.errors import (
    LabelsError,
    SessionConflictError,
    TwinjetIndexError,
    UnknownSessionError,
)
from twinjet.service.cli import cli


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    write_sky(home / "sky", 24)
    index_sky(home / "sky", home, small_encoder())
    return home


@pytest.fixture
def home(indexed: Path) -> Path:
    """A home without sessions and lists."""
    for row in table("list", home=indexed):
        run("delete", row["session_id"], home=indexed)
    for known in printed("known", home=indexed):
        run("known", known["name"], "--delete", home=indexed)
    return indexed


def run(*arguments: object, home: Path) -> str:
    words = ["session", *map(str, arguments), "--home", str(home)]
    done = CliRunner().invoke(cli, words)
    if isinstance(done.exception, TwinjetIndexError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def printed(*arguments: object, home: Path) -> Any:
    return json.loads(run(*arguments, home=home))


def table(*arguments: object, home: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(run(*arguments, home=home))))


def test_a_hunt_in_the_terminal(home: Path, tmp_path: Path) -> None:
    known = tmp_path / "known.csv"
    known.write_text("ra,dec\n352.5,-18.5\n")
    assert printed("known", "bent", known, "--radius", 2, home=home)["entries"] == 1
    begun = printed(
        *("new", "hunt", "T100+000", "t100 002", "--exclude", "bent"), home=home
    )
    assert begun["counts"] == {"example": 2}
    assert begun["exclude"] == ["bent"]
    first = table("propose", "hunt", "--count", 4, "--explore", 0.5, home=home)
    assert [row["strategy"] for row in first] == ["exploit"] * 2 + ["explore"] * 2
    names = [row["source_id"] for row in first]
    assert "T100+005" not in names  # it is on the list
    labels = tmp_path / "labels.csv"
    labels.write_text(f"id,label\n{names[2]},Dislike\n")
    told = printed(
        *("label", "hunt", "--like", names[0], "--dislike", names[1].lower()),
        *("--from", labels, "--note", "by eye"),
        home=home,
    )
    assert told["counts"] == {"dislike": 2, "example": 2, "like": 1, "unlabelled": 1}
    told = printed(
        *("label", "hunt", "--withdraw", names[1], "--dislike", names[0]), home=home
    )
    assert told["counts"] == {"dislike": 2, "example": 2, "unlabelled": 2}
    again = table("propose", "hunt", "--round", 1, home=home)
    assert [row["label"] for row in again] == ["dislike", "", "dislike", ""]
    second = table("propose", "hunt", home=home)
    assert not {row["source_id"] for row in second} & set(names)
    ranked = printed("candidates", "hunt", "-k", 100, "--json", home=home)
    assert len(ranked) == 24 - 2 - 1 - 2
    for ending in ("csv", "vot", "parquet"):
        run("export", "hunt", tmp_path / f"out.{ending}", "--candidates", 5, home=home)
    written = Table.read(tmp_path / "out.vot")
    assert list(written["status"]).count("candidate") == 5
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["source_id"] for row in rows] == list(written["source_id"])
    assert [row["name"] for row in table("list", home=home)] == ["hunt"]
    assert printed("show", "hunt", home=home)["rounds"][1]["number"] == 2
    with pytest.raises(SessionConflictError):
        run("known", "bent", "--delete", home=home)
    run("delete", "hunt", home=home)
    with pytest.raises(UnknownSessionError):
        run("show", "hunt", home=home)


def test_labels_of_other_words_are_refused(home: Path, tmp_path: Path) -> None:
    run("new", "hunt", "T100+000", home=home)
    labels = tmp_path / "labels.csv"
    labels.write_text("id,label\nT100+001,maybe\n")
    with pytest.raises(LabelsError, match="'maybe'; there are example, like, dislike"):
        run("label", "hunt", "--from", labels, home=home)


@pytest.mark.parametrize(
    "arguments",
    [
        ("label", "hunt"),
        ("export", "hunt", "out.fits"),
        ("known", "--delete"),
        ("propose", "hunt", "--count", "0"),
        ("propose", "hunt", "--explore", "2"),
    ],
)
def test_wrong_usage_is_status_2(home: Path, arguments: tuple[str, ...]) -> None:
    done = CliRunner().invoke(cli, ["session", *arguments, "--home", str(home)])
    assert done.exit_code == 2
