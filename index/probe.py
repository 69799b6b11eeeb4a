"""Classes for a whole generation from a few labels.

::

    labels (source_id, label) -> linear probe -> class and confidence of each source

What is found can be given back, or be published: a new generation of the same
sources and vectors with two more columns, which filters see as any other.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from twinjet.index.durable import file_digest
from twinjet.index.errors import InvalidQueryError, LabelsError
from twinjet.index.generation import (
    Manifest,
    OpenGeneration,
    folder_name,
    index_name,
    load_generation,
    open_generation,
    write_generation,
)
from twinjet.index.home import Home
from twinjet.index.locks import only_builder
from twinjet.index.sky import sky_groups
from twinjet.index.source import Column
from twinjet.index.store import SourceStore
from twinjet.index.vectors.engine import VectorEngine
from twinjet.model.errors import DatasetError

if TYPE_CHECKING:
    from twinjet.model.probe import Probe

# Sources that are classified, read and written at a time.
_CHUNK = 10_000

# Fitting so many takes a minute; a linear probe gains nothing from more.
MAX_LABELS = 10_000

_SHOWN = 5

# HEALPix orders: 7.3 degrees to 13 arcsec.
_ORDERS = range(3, 15)
_ENOUGH_PLACES = 5

# What a filter can name, and what it means something else by.
_COLUMN = r"[a-z_][a-z0-9_]{0,59}"
_TAKEN = frozenset(["source_id", "survey", "ra", "dec"]) | {
    *("and", "or", "not", "in", "is", "null", "between", "like", "true", "false")
}


@dataclass(frozen=True)
class Classified:
    """A generation with the class of each of its sources.

    Attributes
    ----------
    probe
        What was fitted, with its report.
    classes
        Shape (N,): rows of the probe's classes.
    confidence
        Shape (N,).
    digest
        SHA-256 of the labels.
    """

    probe: "Probe"
    classes: NDArray[np.int64]
    confidence: NDArray[np.float64]
    digest: str

    def counts(self) -> dict[str, int]:
        """How many sources are of each class."""
        found = np.bincount(self.classes, minlength=len(self.probe.classes))
        return dict(zip(self.probe.classes, found.tolist(), strict=True))

    def most_confident(self, name: str, count: int) -> list[int]:
        """Rows of a class, the surest first."""
        rows = np.flatnonzero(self.classes == self.probe.classes.index(name))
        order = np.argsort(-self.confidence[rows], kind="stable")[:count]
        return [int(row) for row in rows[order]]


def read_labels(text: str) -> dict[str, str]:
    """Labels of a CSV table with the columns ``id`` (or ``source_id``) and ``label``.

    Rows without a label are passed over; a source may be named twice if its labels
    agree.

    Raises
    ------
    LabelsError
        It is no such table, is empty or too long, or a source has two labels.

    Examples
    --------
    >>> read_labels(chr(10).join(["id,label", "J0001,FRI", "J0002,FRII"]))
    {'J0001': 'FRI', 'J0002': 'FRII'}
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    names = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
    key = names.get("source_id") or names.get("id")
    value = names.get("label")
    if key is None or value is None:
        shown = ", ".join(names)[:200] or "none"
        msg = f"labels are a CSV table with the columns id and label; it has: {shown}"
        raise LabelsError(msg, parameter="file", actual=shown)
    labels: dict[str, str] = {}
    try:
        for row in reader:
            source_id, label = (row[key] or "").strip(), (row[value] or "").strip()
            if not (source_id and label):
                continue
            if labels.setdefault(source_id, label) != label:
                msg = f"{source_id[:100]!r} is labelled {labels[source_id][:50]!r} and "
                msg += f"{label[:50]!r} (line {reader.line_num}): keep one"
                raise LabelsError(msg, parameter="file", actual=source_id[:100])
            if len(labels) > MAX_LABELS:
                msg = f"more than {MAX_LABELS} labels"
                raise LabelsError(msg, parameter="file", limit=MAX_LABELS)
    except csv.Error as exc:
        msg = f"line {reader.line_num} of the labels: {exc}"
        raise LabelsError(msg, parameter="file") from exc
    if not labels:
        msg = "the table has no row with an id and a label"
        raise LabelsError(msg, parameter="file", actual=0)
    return labels


def classify(
    generation: OpenGeneration, store: SourceStore, labels: Mapping[str, str]
) -> Classified:
    """Fit a probe to labelled sources of a generation and ask it about all.

    Sources of one part of the sky are never both fitted and judged when its error
    is measured.

    Raises
    ------
    LabelsError
        IDs that the generation does not have, or too few labels of a class.
    """
    # scikit-learn is much of what a service would import, and few ask for classes.
    from twinjet.model.probe import fit_probe  # noqa: PLC0415

    number = generation.manifest.number
    rows_of = store.rows_of(number, list(labels))
    missing = [name for name in labels if name not in rows_of]
    if missing:
        shown = ", ".join(name[:60] for name in missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        msg = (
            f"{len(missing)} of {len(labels)} labelled sources are not in this index: "
        )
        msg += shown + more
        raise LabelsError(msg, parameter="file", limit=0, actual=len(missing))
    rows = np.array([rows_of[name] for name in labels], np.int64)
    names = np.array(list(labels.values()))
    vectors = generation.vectors
    try:
        probe = fit_probe(
            np.asarray(vectors[rows]),
            names,
            _places(generation.positions[rows], names),
        )
    except DatasetError as exc:
        raise LabelsError(
            str(exc), parameter="file", limit=exc.limit, actual=exc.actual
        ) from exc
    classes = np.empty(len(vectors), np.int64)
    confidence = np.empty(len(vectors))
    for start in range(0, len(vectors), _CHUNK):
        part = slice(start, start + _CHUNK)
        classes[part], confidence[part] = probe.predict(np.asarray(vectors[part]))
    text = "\n".join(f"{name}\0{label}" for name, label in sorted(labels.items()))
    return Classified(probe, classes, confidence, sha256(text.encode()).hexdigest())


def _places(
    positions: NDArray[np.float64], labels: NDArray[np.str_]
) -> NDArray[np.int64]:
    """Cells of the sky, as large as leave every class in five of them.

    A survey of the whole sky is divided in cells of 7 degrees, a single field in
    cells of arcminutes.
    """
    cells = sky_groups(positions, _ORDERS[0])
    for order in _ORDERS:
        cells = sky_groups(positions, order)
        each = [len(set(cells[labels == name].tolist())) for name in set(labels)]
        if min(each) >= _ENOUGH_PLACES:
            break
    return cells


def as_table(
    classified: Classified, store: SourceStore, number: int
) -> Iterator[Sequence[str]]:
    """Rows of source_id, ra, dec, class and confidence, with their heading."""
    yield "source_id", "ra", "dec", "class", "confidence"
    for start in range(0, len(classified.classes), _CHUNK):
        rows = range(start, min(start + _CHUNK, len(classified.classes)))
        for row, source in zip(rows, store.sources_by_row(number, rows), strict=True):
            yield (
                source.source_id,
                f"{source.ra:.6f}",
                f"{source.dec:.6f}",
                classified.probe.classes[classified.classes[row]],
                f"{classified.confidence[row]:.4f}",
            )


def publish_classes(
    classified: Classified,
    generation: OpenGeneration,
    *,
    home: Home,
    store: SourceStore,
    column: str,
    engine: VectorEngine | None = None,
) -> Manifest:
    """Publish a generation of the same sources with two more columns.

    Parameters
    ----------
    column
        Name of the class column; the confidence is ``<column>_confidence``.
        Columns of these names are replaced.
    engine
        What searches the vectors; FAISS in each process when None.

    Returns
    -------
    Manifest
        Of the generation that is now current.

    Raises
    ------
    BuildInProgressError
        A build is at work in this home.
    LabelsError
        Another generation has been published since.
    InvalidQueryError
        The column's name is none that a filter could write.
    """
    if not re.fullmatch(_COLUMN, column) or column in _TAKEN:
        msg = f"{column!r} cannot be a column: lower-case letters, digits and _, and "
        msg += f"none of {', '.join(sorted(_TAKEN))}"
        raise InvalidQueryError(msg, parameter="column", actual=column)
    old = generation.manifest
    added = [
        Column(
            column, kind="text", description="Class by a linear probe", ucd="src.class"
        ),
        Column(
            f"{column}_confidence",
            kind="number",
            description="Calibrated confidence in the class",
            ucd="stat.confidence",
        ),
    ]
    names = {c.name for c in added}
    with home.building(), only_builder(store.engine):
        current = store.current()
        if current is None or current.number != old.number:
            msg = f"generation {old.number} is no longer the current one; probe again"
            raise LabelsError(msg, actual=old.number)
        digest = sha256(f"{old.catalogue_digest} {column} {classified.digest}".encode())
        number = store.begin_generation(
            encoder_id=old.encoder_id,
            catalogue_name=old.catalogue_name,
            catalogue_digest=digest.hexdigest(),
            columns=[*(c for c in current.columns if c.name not in names), *added],
        )
        folder = home.generations / folder_name(number)
        manifest = write_generation(
            folder,
            replace(old, number=number, catalogue_digest=digest.hexdigest(), files={}),
            [(generation.vectors, generation.positions)],
        )
        for start in range(0, old.count, _CHUNK):
            rows = range(start, min(start + _CHUNK, old.count))
            sources = [
                replace(
                    source,
                    columns=dict(source.columns)
                    | {
                        column: classified.probe.classes[classified.classes[row]],
                        f"{column}_confidence": round(
                            float(classified.confidence[row]), 4
                        ),
                    },
                )
                for row, source in zip(
                    rows, store.sources_by_row(old.number, rows), strict=True
                )
            ]
            store.add_sources(number, start, sources)
        store.seal(number, file_digest(folder / "manifest.json"))
        if engine is not None:
            load_generation(folder, engine)
        open_generation(folder, engine)
        home.share(folder)
        store.publish_build(number, source_count=old.count, folder=folder_name(number))
        if engine is not None:
            engine.publish(index_name(number, manifest.digest))
    return manifest
