"""What a catalogue says is printed, and no terminal acts on it."""

import os
import subprocess
from pathlib import Path

import pytest
from commands import TWINJET, run_twinjet
from skies import write_sky

TITLE = "\x1b]0;taken\x07"

SHOWN = r"\x1b]0;taken\x07"

CLASS = f"[red]FRI[/red]{TITLE}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of sources that are named like markup, of classes that are escapes."""
    folder = tmp_path_factory.mktemp("terminal")
    sky = folder / "sky \x1b[31m"
    write_sky(sky, 4)
    table = sky / "catalogue.csv"
    lines = table.read_text().replace("FRII", CLASS).replace("FRI,", f"{CLASS},")
    table.write_text(lines.replace("T100+00", "[/b]T00"))
    run_twinjet("index", sky, home=folder / "home")
    return folder / "home"


def on_a_terminal(*arguments: object, home: Path) -> str:
    """All that a command writes to a terminal that knows no colours."""
    ours, theirs = os.openpty()
    command = [str(TWINJET), *map(str, arguments), "--home", str(home)]
    environment = os.environ | {"TERM": "dumb", "NO_COLOR": "1"}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as _:
        os.close(theirs)
        said = b""
        try:
            while part := os.read(ours, 65536):
                said += part
        except OSError:  # the other end is closed
            pass
    os.close(ours)
    return said.decode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("search", "[/b]T000"), ("[/b]T001", r"sky \x1b[31m")),
        (("search", "[/b]T000", "--format", "csv"), ("[/b]T001", SHOWN)),
        (("search", "[/b]T000", "--json"), ("[/b]T001", r"\u001b]0;taken\u0007")),
        (("search", f"no{TITLE}"), (f"no{SHOWN}",)),
        (("sources",), ("[/b]T003", SHOWN)),
        (("generations",), (r"\x1b[31m",)),
        (("jobs", "list"), (r"\x1b[31m",)),
        (("db", "check"), ("ok",)),
    ],
)
def test_a_terminal_is_told_nothing_by_a_catalogue(
    home: Path, arguments: tuple[str, ...], shown: tuple[str, ...]
) -> None:
    said = on_a_terminal(*arguments, home=home)
    assert "\x1b" not in said, said
    assert "\x07" not in said, said
    for text in shown:
        assert text in said, said


@pytest.mark.slow
def test_a_file_has_what_the_catalogue_says(home: Path) -> None:
    assert CLASS in run_twinjet("sources", home=home)
    # A drawing is for people, wherever it goes.
    assert f"[red]FRI[/red]{SHOWN}" in run_twinjet("search", "[/b]T000", home=home)
