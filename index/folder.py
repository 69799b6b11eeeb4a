"""The catalogue of a folder of cutouts."""

from collections import Counter
from pathlib import Path

from twinjet.index.catalogue import (
    Catalogue,
    RowProblem,
    make_catalogue,
    read_catalogue,
)
from twinjet.index.errors import CatalogueError
from twinjet.index.source import Source
from twinjet.model.decode import read_cutout
from twinjet.model.errors import CutoutError

_CATALOGUE_ENDINGS = [
    ".csv",
    ".csv.gz",
    ".tsv",
    ".vot",
    ".vot.gz",
    ".xml",
    ".votable",
    ".fits",
    ".fits.gz",
    ".parquet",
]

# The longest first: the name without it is the ID.
_CUTOUT_ENDINGS = [
    ".fits.fz",
    ".fits.gz",
    ".fits",
    ".fit.gz",
    ".fit",
    ".fz",
    ".png",
    ".jpeg",
    ".jpg",
]


def catalogue_of_folder(
    folder: Path, *, mapping: dict[str, str] | None = None
) -> Catalogue:
    """Sources of a folder of cutouts.

    ``catalogue.csv`` (or .vot, .fits, .parquet and so on) in the folder says what
    there is, its ``cutout`` column which file; without one every FITS, PNG and JPEG
    below the folder is a source, with its name as ID and the centre of its WCS as
    position.

    Raises
    ------
    CatalogueError
        There is no folder, nothing in it can be used, or its catalogue is at fault.
    """
    if not folder.is_dir():
        msg = f"{folder} is not a folder"
        raise CatalogueError(msg, actual=str(folder))
    for ending in _CATALOGUE_ENDINGS:
        path = folder / f"catalogue{ending}"
        if path.is_file():
            return read_catalogue(path, mapping=mapping, name=folder.resolve().name)
    return _from_files(folder)


def _from_files(folder: Path) -> Catalogue:
    root = folder.resolve()
    sources: list[Source] = []
    problems: list[RowProblem] = []
    ids = _ids(root)
    for path, source_id in ids.items():
        name = path.relative_to(root).as_posix()
        try:
            if not path.resolve().is_relative_to(root):
                msg = "it is a link that leads out of the folder"
                raise CatalogueError(msg)  # noqa: TRY301 - reported like every other fault
            centre = read_cutout(path).centre()
        except (CutoutError, CatalogueError, OSError) as exc:
            problems.append(RowProblem(None, source_id, f"{name}: {exc}"))
            continue
        if centre is None:
            reason = f"{name}: no WCS, so no position; add a catalogue.csv"
            problems.append(RowProblem(None, source_id, reason))
            continue
        ra, dec = float(centre.ra.deg), float(centre.dec.deg)
        sources.append(Source(source_id, ra, dec, cutout=name))
    if not sources:
        first = problems[0].reason if problems else "it has no FITS, PNG or JPEG"
        msg = f"no cutout in {folder} can be used; {first}"
        raise CatalogueError(msg)
    return make_catalogue(root.name, sources, (), problems)


def _ids(root: Path) -> dict[Path, str]:
    """ID of each file: its bare name, with its folder where names repeat."""
    bare: dict[Path, str] = {}
    for path in sorted(root.rglob("*")):
        ending = next((e for e in _CUTOUT_ENDINGS if path.name.lower().endswith(e)), "")
        if ending and path.is_file() and not path.name.startswith("."):
            bare[path] = path.name[: -len(ending)]
    counts = Counter(bare.values())
    return {
        path: path.relative_to(root).as_posix() if counts[name] > 1 else name
        for path, name in bare.items()
    }
