"""A session as one table: what was labelled, what was seen, what may be next."""

import csv
import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import votable
from astropy.table import MaskedColumn, Table

from twinjet.index.discovery.discovery import Discovery
from twinjet.index.discovery.rounds import Candidate, candidates_of
from twinjet.index.discovery.session import LABELS, Mark
from twinjet.index.discovery.standing import Standing
from twinjet.index.source import Column, Source, Value

Format = Literal["csv", "votable", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)

_OWN = (
    Column("status", None, "text", "example, like, dislike, candidate or seen"),
    Column("source_id", None, "text", "ID in the catalogue", "meta.id;meta.main"),
    Column("ra", "deg", "number", "ICRS", "pos.eq.ra;meta.main"),
    Column("dec", "deg", "number", "ICRS", "pos.eq.dec;meta.main"),
    Column("rank", None, "number", "Of candidates, the best is 1", "meta.code"),
    Column("score", None, "number", "Distance from the boundary; no probability"),
    Column("similarity", None, "number", "Cosine to the nearest like"),
    Column("round", None, "number", "In which it was proposed"),
    Column("strategy", None, "text", "exploit: good; explore: uncertain"),
    Column("note", None, "text", "Of who labelled it", "meta.note"),
    Column("changed_at", None, "text", "Of label and note, UTC", "time.processing"),
    Column("generation", None, "number", "Build of the index", "meta.version"),
    Column("encoder", None, "text", "ID of the encoder card", "meta.id"),
    Column("catalogue", None, "text", "Name", "meta.id"),
    Column("catalogue_digest", None, "text", "Version of the catalogue", "meta.id"),
)

_WHOLE = frozenset(["rank", "round", "generation"])

# What XML 1.0 has no way to write.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class SessionTable:
    """Rows of values in the order of the columns, and where they come from.

    Attributes
    ----------
    columns
        Our own, then the catalogue's.
    rows
        None where a value is missing.
    provenance
        Session and its version, generation, encoder, catalogue and its digest, lists
        that were left out with theirs.
    """

    columns: tuple[Column, ...]
    rows: list[tuple[Value, ...]]
    provenance: dict[str, str]


def session_table(
    discovery: Discovery, session_id: str, *, candidates: int, where: str | None = None
) -> SessionTable:
    """Examples, likes, dislikes, candidates, and what else was seen.

    The same session and generation give the same table to the byte.

    Parameters
    ----------
    discovery, session_id
        Of what.
    candidates
        The best so many; none when 0.
    where
        Filter on the candidates.

    Raises
    ------
    UnknownSessionError, NoExamplesError, InvalidQueryError, FilterError
        As for `twinjet.index.discovery.rounds.candidates_of`.
    """
    found: list[Candidate] = []
    if candidates:
        standing, found = candidates_of(
            discovery, session_id, count=candidates, where=where
        )
    else:
        standing = discovery.standing(session_id)
    manifest = discovery.generation.manifest
    measured = discovery.store.generation(manifest.number).columns
    sources = discovery.sources_of(standing, standing.marks)
    built: Sequence[Value] = (
        manifest.number,
        manifest.encoder_id,
        manifest.catalogue_name,
        manifest.catalogue_digest,
    )

    def row(
        status: str, known: Source | Mark, mark: Mark | None, own: Sequence[Value]
    ) -> tuple[Value, ...]:
        source = sources.get(known.source_id, known)
        values = source.columns if isinstance(source, Source) else {}
        seen: Sequence[Value] = (None,) * 4
        if mark is not None:
            changed = mark.updated_at.isoformat() if mark.version else None
            seen = mark.round, mark.strategy, mark.note or None, changed
        return (
            *(status, known.source_id, source.ra, source.dec, *own, *seen, *built),
            *(values.get(column.name) for column in measured),
        )

    rows = [
        row(mark.label, mark, mark, (None, mark.score, mark.similarity))
        for label in LABELS
        for mark in standing.marks
        if mark.label == label
    ]
    for one in found:
        sources.setdefault(one.source.source_id, one.source)
        own = one.rank, one.score, one.similarity
        rows.append(row("candidate", one.source, one.mark, own))
    ranked = {one.source.source_id for one in found}
    rows += [
        row("seen", mark, mark, (None, mark.score, mark.similarity))
        for mark in standing.marks
        if mark.label is None and mark.round and mark.source_id not in ranked
    ]
    return SessionTable(
        columns=(*_OWN, *_named_apart(measured)),
        rows=rows,
        provenance=_provenance(discovery, standing, where),
    )


def as_csv(table: SessionTable) -> bytes:
    """CSV with a header; provenance is in columns, so that any reader takes it."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(column.name for column in table.columns)
    writer.writerows(table.rows)
    return text.getvalue().encode()


def as_votable(table: SessionTable) -> bytes:
    """VOTable with units, UCDs and the provenance as INFO."""
    columns = [
        _votable_column(column, [row[place] for row in table.rows])
        for place, column in enumerate(table.columns)
    ]
    document = votable.from_table(Table(columns))
    first = document.get_first_table()
    for field, column in zip(first.fields, table.columns, strict=True):
        field.ucd = column.ucd
    for name, value in table.provenance.items():
        document.infos.append(
            votable.tree.Info(name=name, value=_NO_XML.sub("\ufffd", value))
        )
    data = io.BytesIO()
    with warnings.catch_warnings():
        # UCDs and units are as the catalogue writes them, which may break a rule.
        warnings.simplefilter("ignore")
        document.to_xml(data, tabledata_format="tabledata")
    return data.getvalue()


def as_parquet(table: SessionTable) -> bytes:
    """Parquet with unit, description and UCD of each field, and the provenance."""
    fields, arrays = [], []
    for place, column in enumerate(table.columns):
        kind = {"text": pa.string(), "boolean": pa.bool_(), "number": pa.float64()}
        of_kind = pa.int64() if column.name in _WHOLE else kind[column.kind]
        values = [_of_kind(row[place], column) for row in table.rows]
        arrays.append(pa.array(values, of_kind))
        known = {
            "unit": column.unit,
            "description": column.description,
            "ucd": column.ucd,
        }
        metadata = {name: value for name, value in known.items() if value}
        fields.append(pa.field(column.name, of_kind, metadata=metadata))
    schema = pa.schema(fields, metadata=table.provenance)
    data = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), data)
    return data.getvalue()


WRITERS: Mapping[Format, Callable[[SessionTable], bytes]] = {
    "csv": as_csv,
    "votable": as_votable,
    "parquet": as_parquet,
}


def _named_apart(measured: Sequence[Column]) -> list[Column]:
    """Columns of the catalogue, those that are called as ours renamed."""
    taken = {column.name for column in _OWN} | {column.name for column in measured}
    apart: list[Column] = []
    for column in measured:
        name = column.name
        if any(column.name == own.name for own in _OWN):
            while name in taken:
                name = f"catalogue_{name}"
            taken.add(name)
        apart.append(
            Column(name, column.unit, column.kind, column.description, column.ucd)
        )
    return apart


def _provenance(
    discovery: Discovery, standing: Standing, where: str | None
) -> dict[str, str]:
    manifest, session = discovery.generation.manifest, standing.session
    known = {
        "session": session.name,
        "session_id": session.session_id,
        "session_version": str(session.version),
        "generation": str(manifest.number),
        "encoder": f"{manifest.encoder_name} {manifest.encoder_id}",
        "catalogue": manifest.catalogue_name,
        "catalogue_digest": manifest.catalogue_digest,
    }
    for name in session.exclude:
        known[f"excluded_{name}"] = discovery.lists.get(name).digest
    if where is not None:
        known["where"] = where
    return known


def _of_kind(value: Value, column: Column) -> Any:
    """A value of a column; a catalogue's text may hold numbers."""
    if value is None:
        return None
    if column.kind == "text":
        return str(value)
    return bool(value) if column.kind == "boolean" else value


def _votable_column(column: Column, values: Sequence[Value]) -> MaskedColumn:
    kind: type = {"text": str, "boolean": bool, "number": float}[column.kind]
    kind = int if column.name in _WHOLE else kind
    missing = [value is None for value in values]
    filled = [kind() if value is None else kind(value) for value in values]
    if kind is str:
        filled = [_NO_XML.sub("\ufffd", value) for value in filled]
    return MaskedColumn(
        np.array(filled, dtype=kind),
        name=column.name,
        mask=missing,
        unit=column.unit,
        description=column.description,
    )
