"""VOTables of archives as plain rows, and the services that they describe.

astropy reads them; pyvo, which knows their meaning too, asks by itself and would pass
by every limit of `twinjet.index.cutouts.polite`.
"""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import votable

from twinjet.index.cutouts.answers import not_wanted
from twinjet.index.cutouts.errors import ArchiveTroubleError

_SODA = "ivo://ivoa.net/std/soda#sync"

Row = dict[str, Any]


@dataclass(frozen=True)
class Descriptor:
    """A service by which rows can be used (DataLink 1.1, section 4)."""

    name: str | None
    """By which rows refer to it."""
    url: str
    """Where it is."""
    inputs: dict[str, tuple[str | None, str]]
    """By name in capitals: the column that gives a parameter, or its value."""

    def values(self, row: Row) -> dict[str, str]:
        """Parameters that the service needs for a row; empty ones are left out."""
        found = {
            name: str(row.get(column.lower(), "")) if column else value
            for name, (column, value) in self.inputs.items()
        }
        return {name: value for name, value in found.items() if value}


@dataclass(frozen=True)
class Answer:
    """What a VOTable says."""

    rows: tuple[Row, ...]
    """By column name and by column ID, in small letters, without missing values."""
    soda: tuple[Descriptor, ...]
    """Synchronous cutout services."""


def read_votable(data: bytes, host: str) -> Answer:
    """Read the results of a VOTable, and its descriptors of SODA services.

    Parameters
    ----------
    data
        The answer, as it came.
    host
        Who answered, for messages.

    Raises
    ------
    NoCoverageError, ArchiveTroubleError
        It is a page, damaged, empty, or says that the query has failed.
    """
    if b"<VOTABLE" not in data[:4096].upper():
        raise not_wanted(data, host)
    try:
        document = votable.parse(io.BytesIO(data), verify="ignore")
        found = Answer(_rows(document), _soda(document))
    except Exception as exc:
        # expat, numpy and astropy raise classes of their own on damaged tables.
        msg = f"{host} sent a damaged VOTable: {exc!s:.200}"
        raise ArchiveTroubleError(msg, again=True) from exc
    if not document.resources:
        # Not "no coverage", which would be remembered: even an empty result is in one.
        msg = f"{host} sent a VOTable without results"
        raise ArchiveTroubleError(msg, again=True)
    for info in (i for r in [document, *document.resources] for i in r.infos):
        if (info.name or "").upper() == "QUERY_STATUS" and info.value == "ERROR":
            msg = (
                f"{host} refused the query: {info.content or 'no reason given'!s:.200}"
            )
            raise ArchiveTroubleError(msg)
    return found


def _rows(document: Any) -> tuple[Row, ...]:
    results = [r for r in document.resources if r.type != "meta" and r.tables]
    if not results:
        return ()
    table = results[0].tables[0]
    rows = []
    for values in table.array:
        row: Row = {}
        for field, value in zip(table.fields, values, strict=True):
            if not np.any(np.ma.getmaskarray(value)):
                row[field.name.lower()] = value
                row[(field.ID or field.name).lower()] = value
        rows.append(row)
    return tuple(rows)


def _soda(document: Any) -> tuple[Descriptor, ...]:
    found = []
    for resource in document.resources:
        about = {p.name: str(p.value) for p in resource.params}
        if not about.get("standardID", "").lower().startswith(_SODA):
            continue
        inputs = {
            entry.name.upper(): (entry.ref, _value(entry.value))
            for group in resource.groups
            if group.name == "inputParams"
            for entry in group.entries
        }
        if "accessURL" in about:
            found.append(Descriptor(resource.ID, about["accessURL"], inputs))
    return tuple(found)


def _value(value: Any) -> str:
    """Value of a parameter; those of intervals and shapes are ours to give."""
    return value if isinstance(value, str) else ""
