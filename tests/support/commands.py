"""The installed command, run as a user runs it."""

import subprocess
import sys
from pathlib import Path

TWINJET = Path(sys.executable).with_name("twinjet")


def run_twinjet(*arguments: object, home: Path | None = None) -> str:
    """Run a command to its end; returns what it printed."""
    command = [str(TWINJET), *map(str, arguments)]
    if home is not None:
        command += ["--home", str(home)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
