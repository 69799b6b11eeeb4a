"""The catalogue of a folder or an archive of cutouts."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from twinjet.index.catalogue import (
    Catalogue,
    checked_id,
    make_catalogue,
    read_catalogue,
)
from twinjet.index.cutouts.archive import ArchiveProvider
from twinjet.index.cutouts.folder import FolderProvider
from twinjet.index.cutouts.open import open_provider
from twinjet.index.cutouts.paths import split_kind
from twinjet.index.errors import CatalogueError, CutoutUnavailableError
from twinjet.index.source import RowProblem, Source
from twinjet.model.cutout import Cutout
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

# Of a catalogue within an archive: 10⁶ rows with some dozen columns.
_MAX_MEMBER_BYTES = 512 * 2**20

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
    path = find_catalogue(folder)
    if path is not None:
        return read_catalogue(path, mapping=mapping, name=folder.resolve().name)
    root = folder.resolve()

    def cutout_of(name: str) -> Cutout:
        if not (root / name).resolve().is_relative_to(root):
            msg = "it is a link that leads out of the folder"
            raise CatalogueError(msg)
        return read_cutout(root / name)

    files = (path for path in root.rglob("*") if _is_cutout(path.name))
    names = (path.relative_to(root).as_posix() for path in files if path.is_file())
    return _from_cutouts(root.name, folder, names, cutout_of)


def catalogue_at(
    cutouts: str,
    table: str | None = None,
    *,
    mapping: Mapping[str, str] | None = None,
    name: str | None = None,
) -> Catalogue:
    """The catalogue that is named, or the one that is with the cutouts.

    Parameters
    ----------
    cutouts
        Location, as `twinjet.index.cutouts.open.open_provider` takes it.
    table
        Path of the catalogue.
    mapping
        Its columns under other names, as `read_catalogue` takes them.
    name
        Of the catalogue; that of its file or folder when absent.

    Raises
    ------
    CatalogueError
        There is none, or it is at fault.
    CutoutLocationError
        The place of the cutouts cannot be understood.
    """
    name = name or name_at(cutouts, table)
    columns = dict(mapping or {})
    if table is not None:
        return read_catalogue(Path(table), mapping=columns, name=name)
    provider = open_provider(cutouts)
    if isinstance(provider, FolderProvider):
        return replace(catalogue_of_folder(Path(cutouts), mapping=columns), name=name)
    if isinstance(provider, ArchiveProvider):
        return replace(catalogue_of_archive(provider, mapping=columns), name=name)
    kind, rest = split_kind(cutouts)
    place = Path(unquote(rest.partition("?")[0]))
    found = find_catalogue(place) if kind == "mosaic" else None
    if found is None:
        msg = f"{cutouts} does not say which sources there are: name a catalogue"
        raise CatalogueError(msg, parameter="catalogue", actual=cutouts)
    return read_catalogue(found, mapping=columns, name=name)


def name_at(cutouts: str, table: str | None = None) -> str:
    """Name of a catalogue: that of its table, or of the folder of its cutouts.

    Examples
    --------
    >>> name_at("first:?cache=x", "/data/dr1.csv.gz"), name_at("/data/mirabest")
    ('dr1', 'mirabest')
    """
    if table is not None:
        return Path(table).name.partition(".")[0]
    kind, rest = split_kind(cutouts)
    text = rest if kind is None else unquote(rest.partition("?")[0])
    path = Path(text).absolute()
    return path.name if path.is_dir() else path.name.partition(".")[0]


def find_catalogue(folder: Path) -> Path | None:
    """``catalogue.csv``, .vot, .fits, .parquet and so on of a folder; None without."""
    for ending in _CATALOGUE_ENDINGS:
        path = folder / f"catalogue{ending}"
        if path.is_file():
            return path
    return None


def catalogue_of_archive(
    provider: ArchiveProvider, *, mapping: dict[str, str] | None = None
) -> Catalogue:
    """Sources of an archive of cutouts, as `catalogue_of_folder` finds them.

    Raises
    ------
    CatalogueError
        Nothing in it can be used, or its catalogue is at fault.
    CutoutUnavailableError
        It is absent or damaged.
    """
    path = Path(provider.location)
    names = provider.names()
    for ending in _CATALOGUE_ENDINGS:
        # At the root, or in the one folder that holds everything.
        places = (f"catalogue{ending}", f"{provider.top}/catalogue{ending}")
        member = next((name for name in places if name in names), None)
        if member is not None:
            data = provider.member(member, _MAX_MEMBER_BYTES + 1)
            if len(data) > _MAX_MEMBER_BYTES:
                msg = (
                    f"{member} of {path} has more than {_MAX_MEMBER_BYTES} bytes; "
                    "give it as --catalogue"
                )
                raise CatalogueError(msg, limit=_MAX_MEMBER_BYTES)
            return read_catalogue(
                path / member, mapping=mapping, name=path.stem, data=data
            )
    return _from_cutouts(
        path.stem,
        path,
        (name for name in names if _is_cutout(name.rpartition("/")[2])),
        lambda name: read_cutout(provider.read(Source(name, 0.0, 0.0, cutout=name))),
    )


def _from_cutouts(
    name_of_all: str,
    place: Path,
    names: Iterable[str],
    cutout_of: Callable[[str], Cutout],
) -> Catalogue:
    sources: list[Source] = []
    problems: list[RowProblem] = []
    for name, source_id in _ids(names).items():
        try:
            _check_name(name, source_id)
            centre = cutout_of(name).centre()
        except (CutoutError, CutoutUnavailableError, CatalogueError, OSError) as exc:
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
        msg = f"no cutout in {place} can be used; {first}"
        raise CatalogueError(msg)
    return make_catalogue(name_of_all, sources, (), problems)


def _check_name(name: str, source_id: str) -> None:
    """Whether a file's name can be one of a cutout, and its ID one of a source."""
    try:
        name.encode()
        checked_id(source_id)
    except UnicodeEncodeError as exc:
        msg = "its name is not UTF-8"
        raise CatalogueError(msg) from exc
    except ValueError as exc:
        raise CatalogueError(str(exc)) from exc


def _is_cutout(name: str) -> bool:
    return name.lower().endswith(tuple(_CUTOUT_ENDINGS)) and not name.startswith(".")


def _ids(names: Iterable[str]) -> dict[str, str]:
    """ID of each file: its bare name, with its folder where names repeat."""
    bare: dict[str, str] = {}
    for name in sorted(names, key=lambda name: name.split("/")):
        file = name.rpartition("/")[2]
        ending = next(e for e in _CUTOUT_ENDINGS if file.lower().endswith(e))
        bare[name] = file[: -len(ending)]
    counts = Counter(bare.values())
    return {name: name if counts[own] > 1 else own for name, own in bare.items()}
