"""Answers as tables: CSV, VOTable and Parquet with the same rows and columns."""

import csv
import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io.votable import tree

from twinjet.index.batch import Result
from twinjet.index.outliers import Outlier
from twinjet.index.search import Neighbour
from twinjet.index.source import Column, Source

Format = Literal["csv", "votable", "parquet"]

MEDIA_TYPES: Mapping[Format, str] = {
    "csv": "text/csv",
    "votable": "application/x-votable+xml",
    "parquet": "application/vnd.apache.parquet",
}

_Kind = Literal["integer", "number", "text", "boolean"]

# Characters that XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_FRAME = "frame-icrs"

_VOTABLE_TYPES = {
    "integer": {"datatype": "long"},
    "number": {"datatype": "double"},
    "text": {"datatype": "unicodeChar", "arraysize": "*"},
    "boolean": {"datatype": "boolean"},
}

_ARROW_TYPES = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "text": pa.string(),
    "boolean": pa.bool_(),
}


@dataclass(frozen=True)
class TableColumn:
    """A column and its values, None where one is missing."""

    name: str
    kind: _Kind
    values: list[Any]
    unit: str | None = None
    ucd: str | None = None
    description: str | None = None


@dataclass(frozen=True)
class AnswerTable:
    """Rows of an answer, and what it came from."""

    name: str
    columns: list[TableColumn]
    about: Mapping[str, str] = field(default_factory=dict)
    """Provenance, as text by name."""

    def written(self, form: Format) -> bytes:
        """The table in a format: the same bytes for the same table."""
        return _WRITERS[form](self)


def neighbours_table(
    neighbours: Sequence[Neighbour], columns: Sequence[Column], about: Mapping[str, str]
) -> AnswerTable:
    """Neighbours with the columns of their catalogue."""
    sources = [n.source for n in neighbours]
    found = [*_scores(neighbours), *_of_sources(sources, columns)]
    return AnswerTable("neighbours", found, about)


def outliers_table(
    outliers: Sequence[Outlier], columns: Sequence[Column], about: Mapping[str, str]
) -> AnswerTable:
    """Isolated sources with the columns of their catalogue."""
    isolations = [one.isolation for one in outliers]
    found = [
        TableColumn(
            "rank", "integer", [o.rank for o in outliers], None, "stat.rank", "Place"
        ),
        TableColumn(
            "isolation",
            "number",
            [i.distance for i in isolations],
            None,
            "stat.value",
            "Mean of 1 - cosine to the nearest reference sources",
        ),
        TableColumn(
            "isolation_rank",
            "integer",
            [i.rank for i in isolations],
            None,
            "stat.rank",
            "1 for the most isolated of all sources",
        ),
        TableColumn(
            "isolation_percentile",
            "number",
            [i.percentile for i in isolations],
            None,
            "stat.value",
            "Percentage of sources that are less isolated",
        ),
    ]
    found += _of_sources([one.source for one in outliers], columns)
    return AnswerTable("outliers", found, about)


def batch_table(
    results: Sequence[Result], columns: Sequence[Column], about: Mapping[str, str]
) -> AnswerTable:
    """Neighbours of all rows one after another; a row that has none is one line."""
    lines: list[tuple[Result, Neighbour | None]] = []
    for result in results:
        lines += [(result, n) for n in result.neighbours] or [(result, None)]
    asked = [result.asked for result, _ in lines]
    positions = [one.position or (None, None) for one in asked]
    query = [None if r.source is None else r.source.source_id for r, _ in lines]
    problems = [None if r.error is None else str(r.error) for r, _ in lines]
    found = [
        TableColumn(
            "row",
            "integer",
            [one.row for one in asked],
            None,
            "meta.id;meta.record",
            "Of what was asked for, from 1, or the line of a CSV",
        ),
        TableColumn("asked_id", "text", [one.source_id for one in asked], None, ""),
        TableColumn("asked_ra", "number", [ra for ra, _ in positions], "deg", ""),
        TableColumn("asked_dec", "number", [dec for _, dec in positions], "deg", ""),
        TableColumn("query_source_id", "text", query, None, "meta.id"),
        TableColumn("problem", "text", problems, None, "meta.note"),
    ]
    neighbours = [n for _, n in lines]
    found += _scores(neighbours)
    sources = [None if n is None else n.source for n in neighbours]
    found += _of_sources(sources, columns)
    return AnswerTable("neighbours", found, about)


def _scores(neighbours: Sequence[Neighbour | None]) -> list[TableColumn]:
    def values(name: str) -> list[Any]:
        return [None if n is None else getattr(n, name) for n in neighbours]

    found = [
        TableColumn("rank", "integer", values("rank"), None, "stat.rank", "Place"),
        TableColumn(
            "similarity",
            "number",
            values("similarity"),
            None,
            "stat.value",
            "Cosine between embeddings, -1 to 1",
        ),
        TableColumn(
            "percentile",
            "number",
            values("percentile"),
            None,
            "stat.value",
            "Percentage of random pairs that are less similar",
        ),
        TableColumn(
            "expected_by_chance",
            "number",
            values("expected_by_chance"),
            None,
            "stat.value",
            "Sources that would be at least so similar to one drawn at random",
        ),
    ]
    scores = values("score")
    if any(score is not None for score in scores):
        about = "What the rank is by"
        made = TableColumn("score", "number", scores, None, "stat.value", about)
        found.insert(2, made)
    return found


def _of_sources(
    sources: Sequence[Source | None], columns: Sequence[Column]
) -> list[TableColumn]:
    def values(name: str) -> list[Any]:
        return [None if s is None else getattr(s, name) for s in sources]

    name, ra, dec = "meta.id;meta.main", "pos.eq.ra;meta.main", "pos.eq.dec;meta.main"
    found = [
        TableColumn("source_id", "text", values("source_id"), None, name),
        TableColumn("ra", "number", values("ra"), "deg", ra, "ICRS"),
        TableColumn("dec", "number", values("dec"), "deg", dec, "ICRS"),
        TableColumn("survey", "text", values("survey"), None, "meta.dataset"),
    ]
    measured = [
        TableColumn(
            column.name,
            column.kind,
            [None if s is None else s.columns.get(column.name) for s in sources],
            column.unit,
            column.ucd,
            column.description,
        )
        for column in columns
    ]
    # What every answer has keeps its name, whatever a catalogue calls its columns.
    ours = {"rank", "similarity", "score", "percentile", "expected_by_chance"}
    ours |= {c.name for c in found} | {"isolation", "row", "problem"}
    return found + [
        c if c.name not in ours else TableColumn(**vars(c) | {"name": f"{c.name}_"})
        for c in measured
    ]


def _csv(table: AnswerTable) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([column.name for column in table.columns])
    truth = {True: "true", False: "false"}
    for row in zip(*(column.values for column in table.columns), strict=True):
        writer.writerow([truth[v] if isinstance(v, bool) else v for v in row])
    return text.getvalue().encode()


def _votable(table: AnswerTable) -> bytes:
    document = tree.VOTableFile(version="1.4")
    resource = tree.Resource(type="results")
    document.resources.append(resource)
    # No column has a hyphen in its name, which is its ID.
    resource.coordinate_systems.append(tree.CooSys(ID=_FRAME, system="ICRS"))
    for name, value in {"QUERY_STATUS": "OK", **table.about}.items():
        info = tree.Info(name=name, value=_xml(value))
        info.ID = None  # a column may have this name
        resource.infos.append(info)
    element = tree.TableElement(document, name=table.name)
    element.ID = None
    resource.tables.append(element)
    with warnings.catch_warnings():
        # Units and UCDs are the catalogue's own, kept as they are written.
        warnings.simplefilter("ignore")
        for column in table.columns:
            made = tree.Field(
                document,
                name=_xml(column.name),
                unit=column.unit,
                ucd=column.ucd or None,
                ref=_FRAME if (column.ucd or "").startswith("pos.eq.") else None,
                **_VOTABLE_TYPES[column.kind],
            )
            made.description = _xml(column.description or "") or None
            element.fields.append(made)
        element.create_arrays(len(table.columns[0].values))
        for column, made in zip(table.columns, element.fields, strict=True):
            missing = [value is None for value in column.values]
            filler: Any = {"text": "", "boolean": False}.get(column.kind, 0)
            values = [filler if v is None else v for v in column.values]
            if column.kind == "text":
                values = [_xml(str(value)) for value in values]
            element.array[made.ID] = np.ma.array(values, mask=missing)
        file = io.BytesIO()
        document.to_xml(file)
    return file.getvalue()


def _parquet(table: AnswerTable) -> bytes:
    fields, arrays = [], []
    for column in table.columns:
        about = {
            "unit": column.unit,
            "ucd": column.ucd,
            "description": column.description,
        }
        kind = _ARROW_TYPES[column.kind]
        metadata = {name: text for name, text in about.items() if text}
        fields.append(pa.field(column.name, kind, metadata=metadata or None))
        arrays.append(pa.array(column.values, kind))
    schema = pa.schema(fields, metadata=dict(table.about))
    file = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), file)
    return file.getvalue()


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)


_WRITERS: Mapping[Format, Callable[[AnswerTable], bytes]] = {
    "csv": _csv,
    "votable": _votable,
    "parquet": _parquet,
}
