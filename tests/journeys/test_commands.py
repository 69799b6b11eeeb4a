"""Commands from an empty folder to an answer, and what they say when they cannot."""

import json
import subprocess
from pathlib import Path

import pytest
from commands import TWINJET, run_twinjet

from twinjet.service.cli import COMMANDS


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


def failure(*arguments: object) -> tuple[int, str]:
    done = subprocess.run(
        [str(TWINJET), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


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
        (("search", "x", "--home", "/nonexistent/home"), "nonexistent"),
        (("index", "/nonexistent"), "does not exist"),
        (("train", "/nonexistent", "--data", "/nonexistent"), "no catalogue.csv"),
        (("search",), "Missing argument"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    arguments: tuple[str, ...], words: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWINJET_HOME", str(home))
    status, message = failure(*arguments)
    assert status in {1, 2}
    assert words in message
    assert "Traceback" not in message


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    assert "Usage" in run_twinjet(command, "-h")


def test_a_folder_of_nothing_is_refused(tmp_path: Path) -> None:
    status, message = failure("index", tmp_path, "--home", tmp_path / "home")
    assert status == 1
    assert "no FITS, PNG or JPEG" in message
