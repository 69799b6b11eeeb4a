"""First data release of Radio Galaxy Zoo (Wong et al. 2025, MNRAS; arXiv 2412.14502).

Ten per cent of its rows are the same sky classified once more, under another subject:
these become one source.
"""

import io
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from twinjet.index.catalogue import Catalogue, make_catalogue, read_catalogue
from twinjet.index.errors import CatalogueError, CatalogueFormatError
from twinjet.index.ingest.duplicates import merged
from twinjet.index.source import Column, RowProblem, Source, Value

ZENODO_API = "https://zenodo.org/api"
RECORD = "10656393"
FILE = "RGZ_DR1_tables.tar.gz"
FILE_MD5 = "6e6c681075528dfbbcba9e0cf9f56941"
RADIO_TABLE = "DR1_FIRST_radio_classifications.csv"
HOST_TABLE = "DR1_FIRST_host_properties.csv"

# Of 99,602 rows, 92,632 are farther than this from each other; FIRST's beam is 5.4.
SAME_SOURCE_ARCSEC = 5.0

# Unpacked, of one table; the largest has 12 MB.
_MAX_TABLE_BYTES = 512 * 2**20

# Our name, unit and meaning of a column. The release's own units were not at hand:
# those given are what its values look like; where they do not tell there is none.
RADIO_COLUMNS: Mapping[str, Column] = {
    "rgzid": Column("rgz_id", None, "text", "Name in Radio Galaxy Zoo"),
    "zooniverseid": Column("zooniverse_id", None, "text", "Subject of Zooniverse"),
    "n_votes": Column("n_votes", None, "number", "Votes for this classification"),
    "n_total": Column("n_total", None, "number", "Votes for the subject"),
    "cl": Column("consensus", None, "number", "Weighted consensus level, 0.65 to 1"),
    "n_comp": Column("n_components", None, "number", "Radio components"),
    "n_peaks": Column("n_peaks", None, "number", "Brightness peaks"),
    "lae": Column("extent_arcsec", "arcsec", "number", "Largest angular extent"),
    "tsa": Column("solid_angle", None, "number", "Total solid angle (TSA)"),
    "ol": Column("outermost_level_mjy", "mJy", "number", "Outermost contour (OL)"),
    "tf": Column("total_flux_mjy", "mJy", "number", "Total flux density"),
    "tf_err": Column("total_flux_err_mjy", "mJy", "number", "Its error"),
    "dc": Column("dc", None, "number", "Column DC of the release"),
}

_COUNT = Column("n_classifications", None, "number", "Rows of the release merged here")
_ALSO = Column("merged_rows", None, "text", "CatIDs of these rows, the best first")


def download_rgz(
    folder: Path, *, api: str = ZENODO_API, record: str | None = None
) -> Path:
    """Download the tables of the release (CC BY 4.0), 8 MB; raises as `download`.

    Another record than the first one has its own checksum, which must be right too.
    """
    from twinjet.index.ingest.zenodo import download  # noqa: PLC0415 - an extra

    md5sum = FILE_MD5 if record is None else None
    return download(record or RECORD, FILE, folder, md5sum=md5sum, api=api)


def read_rgz(path: Path, *, radius_arcsec: float = SAME_SOURCE_ARCSEC) -> Catalogue:
    """Read the FIRST sources of the release, each once, with their hosts.

    Parameters
    ----------
    path
        The ``.tar.gz`` of the release.
    radius_arcsec
        Rows nearer than this to a better one are the same source.

    Returns
    -------
    Catalogue
        Sources named by RGZID, in the order of CatID; position and columns are those
        of the row with the highest consensus, then the most votes. Columns of the
        hosts begin with ``host_``, and are missing where there is no host.

    Raises
    ------
    CatalogueFormatError
        The file is damaged, or no release.
    CatalogueError
        No row of its radio table can be used.
    """
    tables = _tables(path, (RADIO_TABLE, HOST_TABLE))
    radio = read_catalogue(
        Path(RADIO_TABLE), mapping={"source_id": "CatID"}, data=tables[RADIO_TABLE]
    )
    hosts = _hosts(tables[HOST_TABLE])
    host_columns = _host_columns(hosts.columns)
    by_subject = {_subject(host): host for host in reversed(list(hosts.sources))}
    known = [c for c in radio.columns if c.name in RADIO_COLUMNS]
    sources: list[Source] = []
    for rows in merged(list(radio.sources), radius_arcsec, rank=_rank):
        best = rows[0]
        columns: dict[str, Value] = {
            RADIO_COLUMNS[c.name].name: best.columns[c.name] for c in known
        }
        columns[_COUNT.name] = len(rows)
        columns[_ALSO.name] = " ".join(row.source_id for row in rows)
        columns |= _host_values(
            next((by_subject[s] for s in map(_subject, rows) if s in by_subject), None),
            host_columns,
        )
        sources.append(replace(best, survey="FIRST", columns=columns))
    columns_of_all = [
        *(replace(RADIO_COLUMNS[c.name], kind=c.kind) for c in known),
        *(_COUNT, _ALSO, *host_columns.values()),
    ]
    problems = (*radio.problems, *hosts.problems)
    return make_catalogue("rgz-dr1", _named(sources), columns_of_all, problems)


def _rank(row: Source) -> tuple[float, float]:
    """By what the best of several rows comes first."""
    return -_number(row, "cl"), -_number(row, "n_votes")


def _number(row: Source, column: str) -> float:
    value = row.columns.get(column)
    return float(value) if isinstance(value, int | float) else 0.0


def _subject(row: Source) -> tuple[Value, Value]:
    return row.columns.get("zooniverseid"), row.columns.get("rgzid")


def _named(sources: list[Source]) -> list[Source]:
    """Sources under their RGZID; with the CatID where two have the same."""
    named, seen = [], set()
    for source in sources:
        name = str(source.columns.get("rgz_id") or f"RGZ CatID {source.source_id}")
        if name in seen:
            name = f"{name} (CatID {source.source_id})"
        seen.add(name)
        named.append(replace(source, source_id=name))
    return named


def _hosts(data: bytes) -> Catalogue:
    """The table of hosts; without a usable row, an empty one that says so."""
    mapping = {"source_id": "CatID", "ra": "Host_RA", "dec": "Host_Dec"}
    try:
        return read_catalogue(Path(HOST_TABLE), mapping=mapping, data=data)
    except CatalogueFormatError:
        raise
    except CatalogueError as exc:
        problem = RowProblem(line=None, source_id=None, reason=f"no hosts: {exc}")
        return make_catalogue(HOST_TABLE, [], [], [problem])


def _host_columns(columns: Sequence[Column]) -> dict[str, Column]:
    """Columns of the hosts under our names, with the position first."""
    ours = {
        "ra": Column("host_ra_deg", "deg", "number", "Position of the host, ICRS"),
        "dec": Column("host_dec_deg", "deg", "number", "Position of the host, ICRS"),
    }
    for column in columns:
        if column.name not in {"rgzid", "zooniverseid"}:
            name = f"host_{column.name.removeprefix('host_')}"
            ours[column.name] = replace(column, name=name)
    return ours


def _host_values(
    host: Source | None, columns: Mapping[str, Column]
) -> dict[str, Value]:
    if host is None:
        return dict.fromkeys((column.name for column in columns.values()), None)
    values = {"ra": host.ra, "dec": host.dec, **host.columns}
    return {column.name: values[name] for name, column in columns.items()}


def _tables(path: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Members of a tar by their names, in whatever folder they are."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(path.read_bytes()), mode="r:gz") as tar:
            for member in tar:
                name = Path(member.name).name
                if name not in names or not member.isfile():
                    continue
                if member.size > _MAX_TABLE_BYTES:
                    msg = f"{name} in {path} has {member.size} bytes: no release"
                    raise CatalogueFormatError(msg, limit=_MAX_TABLE_BYTES)
                file = tar.extractfile(member)
                found[name] = file.read() if file else b""
    except (OSError, EOFError, tarfile.TarError, zlib.error) as exc:
        msg = f"{path} cannot be read as a .tar.gz: {exc}"
        raise CatalogueFormatError(msg) from exc
    if lacking := [name for name in names if name not in found]:
        msg = f"{path} has no {lacking[0]}: it is not the release {FILE}"
        raise CatalogueFormatError(msg)
    return found
