"""Files of Zenodo's records, whole or not at all."""

import json
from hashlib import md5
from pathlib import Path
from typing import Any

from twinjet.index.cutouts.answers import not_wanted
from twinjet.index.cutouts.errors import ArchiveTroubleError
from twinjet.index.cutouts.exchange import Politeness
from twinjet.index.cutouts.polite import PoliteClient
from twinjet.index.durable import publish_file
from twinjet.index.errors import CatalogueError, CutoutUnavailableError

# Kept in memory until its checksum is right. Tables of 10^5 sources have 8 MB.
MAX_FILE_BYTES = 256 * 2**20

# Zenodo lets guests ask 60 times a minute; a file takes two requests.
_POLITENESS = Politeness(
    rate_per_s=1.0, read_s=60.0, deadline_s=900.0, max_bytes=MAX_FILE_BYTES
)


def download(
    record: str,
    name: str,
    folder: Path,
    *,
    md5sum: str | None = None,
    api: str,
    politeness: Politeness = _POLITENESS,
) -> Path:
    """Download a file of a record, if it is not there already.

    Parameters
    ----------
    record
        Number of the record: the end of its DOI.
    name
        Of the file within the record.
    folder
        Where it goes.
    md5sum
        That it must have, in hexadecimal: nothing is asked when a file with it is
        there. When None the record is asked what it should be.
    api
        URL of the service.
    politeness
        How it is asked.

    Returns
    -------
    Path
        Of the file.

    Raises
    ------
    CatalogueError
        There is no such record or file, another checksum, or no answer.
    """
    path = folder / name
    if Path(name).name != name or name in {".", ".."}:
        msg = f"{name!r} is no name of a file"
        raise CatalogueError(msg, actual=name)
    if md5sum is not None and _md5_of(path) == md5sum:
        return path
    client = PoliteClient(politeness)
    url = f"{api}/records/{record}"
    try:
        link, said = client.ask(url, lambda data, host: _file(data, host, name))
        expected = md5sum or said
        if expected != said:
            msg = f"{name} of {url} has the MD5 {said}; it must be {expected}"
            raise CatalogueError(msg, limit=expected, actual=said)
        if _md5_of(path) == expected:
            return path
        data = client.ask(
            link, lambda data, host: _checked(data, host, expected), sent_by=url
        )
    except CutoutUnavailableError as exc:
        msg = f"{name} cannot be downloaded: {exc}"
        raise CatalogueError(msg) from exc
    folder.mkdir(parents=True, exist_ok=True)
    half_done = path.with_name(f"{name}.tmp")
    half_done.write_bytes(data)
    publish_file(half_done, path)
    return path


def _file(data: bytes, host: str, name: str) -> tuple[str, str]:
    """Where a file of a record is, and its MD5."""
    try:
        files: list[dict[str, Any]] = json.loads(data)["files"]
        found = {file["key"]: file for file in files}
        if name in found:
            file = found[name]
            return file["links"]["self"], str(file["checksum"]).removeprefix("md5:")
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as exc:
        raise not_wanted(data, host) from exc
    msg = f"the record of {host} has no file {name!r}; it has {', '.join(found)[:200]}"
    raise ArchiveTroubleError(msg)


def _checked(data: bytes, host: str, expected: str) -> bytes:
    found = md5(data, usedforsecurity=False).hexdigest()
    if found != expected:
        msg = f"{host} sent {len(data)} bytes with the MD5 {found}, not {expected}"
        raise ArchiveTroubleError(msg, again=True)
    return data


def _md5_of(path: Path) -> str | None:
    try:
        return md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    except FileNotFoundError:
        return None
