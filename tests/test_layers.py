"""Imports go one way, and the watcher of it watches."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINT = Path(sys.executable).with_name("lint-imports")

PLANTED = {
    "model/backbone.py": "import sqlalchemy",
    "index/sky.py": "import twinjet.service.config",
    "index/store.py": "import fastapi",
    "model/encoder.py": "import pickle",
}


def contracts(folder: Path) -> subprocess.CompletedProcess[str]:
    # The packages of this folder, not the installed ones.
    return subprocess.run(
        [LINT, "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder / "src"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The three packages as a plain namespace, where a fault may be planted."""
    for top in ("model", "index", "service"):
        shutil.copytree(ROOT / top, tmp_path / "src" / "twinjet" / top)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_go_from_service_to_index_to_model(copy: Path) -> None:
    done = contracts(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", PLANTED)
def test_a_planted_import_is_caught(copy: Path, path: str) -> None:
    file = copy / "src" / "twinjet" / path
    file.write_text(file.read_text() + f"\n{PLANTED[path]}\n")
    done = contracts(copy)
    assert done.returncode != 0
    assert "BROKEN" in done.stdout
