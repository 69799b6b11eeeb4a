"""What is served under load: made once, kept in a folder for the next run."""

import subprocess
import sys
from pathlib import Path

TWINJET = str(Path(sys.executable).with_name("twinjet"))
_BY_ID = Path(__file__).parents[1] / "search" / "by_id.py"

# Different cutouts that are uploaded, as `twinjet simulate` makes them.
_CUTOUTS = 40


def home_of(work: Path, sources: int) -> Path:
    """A home with a generation of so many synthetic sources, of the shipped encoder."""
    home = work / f"home-{sources}"
    if not (home / "generations").is_dir():
        command = [sys.executable, str(_BY_ID), "--home", str(home), "--make"]
        subprocess.run([*command, "--sources", str(sources)], check=True)
    return home


def cutouts_of(work: Path) -> Path:
    """A folder of simulated cutouts."""
    sky = work / "sky"
    if not (sky / "catalogue.csv").is_file():
        command = [TWINJET, "simulate", str(sky), "--count", str(_CUTOUTS)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return sky
