"""Tables of VizieR (Ochsenbein et al. 2000, A&AS 143, 23), whole or not at all."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlencode

from twinjet.index.catalogue import Catalogue, read_catalogue
from twinjet.index.cutouts.errors import ArchiveTroubleError
from twinjet.index.cutouts.exchange import Politeness
from twinjet.index.cutouts.polite import PoliteClient
from twinjet.index.durable import publish_file
from twinjet.index.errors import CatalogueError, CutoutUnavailableError

VIZIER = "https://vizier.cds.unistra.fr/viz-bin/votable"

MIRABEST = "J/MNRAS/466/4346/table1"
"""Miraghaei & Best (2017, MNRAS 466, 4346): the sources that MiraBest was made from."""

FIRST = "VIII/92/first14"
"""Catalogue of FIRST, version 2014 December 17 (Helfand et al. 2015, ApJ 801, 26)."""

# Kept in memory until it is whole; FIRST's 946,432 rows have about 400 MB as VOTable.
_MAX_BYTES = 2**30

_POLITENESS = Politeness(
    rate_per_s=1.0, read_s=300.0, deadline_s=3600.0, max_bytes=_MAX_BYTES
)

_END = b"</VOTABLE>"


def download_vizier(
    table: str,
    folder: Path,
    *,
    constraints: Mapping[str, str] | None = None,
    url: str = VIZIER,
    politeness: Politeness = _POLITENESS,
) -> Path:
    """Download a table, if it is not there already.

    Parameters
    ----------
    table
        Its name in VizieR, such as ``J/MNRAS/466/4346/table1``.
    folder
        Where it goes.
    constraints
        Column to condition, as VizieR writes them: ``{"Maj": ">15"}``.
    url
        Of the service.
    politeness
        How it is asked.

    Returns
    -------
    Path
        Of a VOTable with all columns and the position in ICRS degrees.

    Raises
    ------
    CatalogueError
        There is no such table, it is empty, or no answer.
    """
    fields = {
        "-source": table,
        "-out.all": "1",
        "-out.add": "_RAJ2000,_DEJ2000",
        "-out.max": "unlimited",
        "-oc.form": "dec",
        **(constraints or {}),
    }
    query = urlencode(fields)
    digest = sha256(f"{url}?{query}".encode()).hexdigest()[:12]
    path = folder / f"{table.replace('/', '-')}-{digest}.vot"
    if path.exists():
        return path
    try:
        data = PoliteClient(politeness).ask(f"{url}?{query}", _whole)
    except CutoutUnavailableError as exc:
        msg = f"{table} cannot be downloaded: {exc}"
        raise CatalogueError(msg, actual=table) from exc
    folder.mkdir(parents=True, exist_ok=True)
    half_done = path.with_suffix(".tmp")
    half_done.write_bytes(data)
    publish_file(half_done, path)
    return path


def read_vizier(
    path: Path, *, name: str, mapping: Mapping[str, str] | None = None
) -> Catalogue:
    """Sources of a downloaded table, named by position where it names none.

    Raises
    ------
    CatalogueError
        It cannot be used; a file that is no table is removed, to be fetched again.
    """
    try:
        return read_catalogue(path, mapping=mapping, name=name, name_rows=True)
    except CatalogueError:
        if not mapping:
            path.unlink(missing_ok=True)
        raise


def _whole(data: bytes, host: str) -> bytes:
    """The table; what ends early or says that it is an error is none."""
    if not data.rstrip().endswith(_END):
        start = data[:200].decode("ascii", "replace")
        msg = f"{host} sent no whole VOTable: {len(data)} bytes, {start!r}"
        raise ArchiveTroubleError(msg, again=True)
    if b"<TD>" not in data and b"<BINARY" not in data:
        said = data.partition(b"<INFO")[2][:300].decode("ascii", "replace")
        msg = f"{host} has no row of it: {said!r}"
        raise ArchiveTroubleError(msg)
    return data
