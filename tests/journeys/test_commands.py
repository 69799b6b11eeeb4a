"""Commands from an empty folder to an answer, and what they say when they cannot."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from commands import run_twinjet

from twinjet.service.cli import COMMANDS, cli, first_line, main


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sky") / "sky"
    run_twinjet("simulate", folder, "--count", 40)
    return folder


@pytest.fixture(scope="module")
def home(sky: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    report = json.loads(run_twinjet("index", sky, "--json", home=home))
    assert report["published"]
    return home


def failure(
    arguments: Sequence[object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> tuple[object, str]:
    """Exit status and stderr of a command that fails, run in this process."""
    monkeypatch.setattr(sys, "argv", ["twinjet", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code, capsys.readouterr().err


def test_a_file_finds_itself(sky: Path, home: Path) -> None:
    file = min((sky / "fits").iterdir())
    found = json.loads(run_twinjet("search", file, "-k", 3, "--json", home=home))
    assert found[0]["source_id"] == file.stem
    assert found[0]["similarity"] > 0.9999


def test_an_id_and_a_position_find_the_same(home: Path) -> None:
    source = json.loads(run_twinjet("sources", "--limit", 1, "--json", home=home))[0]
    by_id = run_twinjet("search", source["source_id"], "--json", home=home)
    position = f"{source['ra']} {source['dec']:+}"
    assert run_twinjet("search", position, "--json", home=home) == by_id


def test_a_table_is_for_people(sky: Path, home: Path) -> None:
    file = min((sky / "fits").iterdir())
    printed = run_twinjet("search", file, home=home)
    assert "similarity" in printed
    assert "1.0000" in printed


def test_the_same_folder_again_is_current_already(sky: Path, home: Path) -> None:
    report = json.loads(run_twinjet("index", sky, "--json", home=home))
    assert (report["published"], report["number"]) == (False, 1)


def test_embeddings_are_lines_of_json(sky: Path) -> None:
    files = sorted((sky / "fits").iterdir())[:2]
    lines = run_twinjet("embed", *files).splitlines()
    assert [json.loads(line)["file"] for line in lines] == [str(f) for f in files]


def test_generations_are_listed_and_rolled_back(
    sky: Path, home: Path, tmp_path: Path
) -> None:
    run_twinjet("simulate", tmp_path / "other", "--count", 10, "--seed", 7)
    run_twinjet("index", tmp_path / "other", home=home)
    lines = [
        json.loads(line)
        for line in run_twinjet("generations", "--json", home=home).splitlines()
    ]
    assert [(g["number"], g["current"]) for g in lines] == [(2, True), (1, False)]
    run_twinjet("rollback", 1, home=home)
    assert "* 1 ready" in run_twinjet("generations", home=home)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("search", "nobody"), "nobody"),
        (("index", "/nonexistent"), "does not exist"),
        (("train", "/nonexistent", "--data", "/nonexistent"), "no catalogue.csv"),
        (("search",), "give one of QUERY"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    arguments: tuple[str, ...],
    words: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TWINJET_HOME", str(home))
    status, message = failure(arguments, monkeypatch, capsys)
    assert status in {1, 2}
    assert words in message


def test_a_mistyped_home_is_not_made(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = tmp_path / "hme"
    status, message = failure(("search", "x", "--home", home), monkeypatch, capsys)
    assert (status, home.exists()) == (1, False)
    assert "no index" in message


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    told = CliRunner().invoke(cli, [command, "-h"]).output
    assert "Usage" in told
    # What the list of commands says of it, which imports none of them.
    assert first_line(command) in " ".join(told.split())


def test_a_folder_of_nothing_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ("index", tmp_path, "--home", tmp_path / "home")
    status, message = failure(arguments, monkeypatch, capsys)
    assert status == 1
    assert "no FITS, PNG or JPEG" in message


def test_postgresql_keeps_the_metadata(
    sky: Path, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWINJET_DATABASE_URL", postgres_url)
    run_twinjet("index", sky, home=tmp_path)
    file = min((sky / "fits").iterdir())
    arguments = ("-k", 1, "--where", "simulated = true", "--json")
    found = json.loads(run_twinjet("search", file, *arguments, home=tmp_path))
    assert found[0]["source_id"] == file.stem
    assert not (tmp_path / "twinjet.sqlite").exists()
