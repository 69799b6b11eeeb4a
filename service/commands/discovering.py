"""What commands of discovery share: where sessions are, and how rows are printed."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from twinjet.index.discovery.discovery import Discovery
from twinjet.index.discovery.labelling import Wanted
from twinjet.index.discovery.rounds import Candidate, Proposed
from twinjet.index.discovery.session import LABELS, Label
from twinjet.index.errors import LabelsError
from twinjet.index.probe import read_labels
from twinjet.index.source import Source
from twinjet.service.commands.options import (
    config_of,
    existing_store_of,
    open_current,
)
from twinjet.service.commands.text import print_json, stdout

Told = tuple[str, Label | None]


def discovery_of(home: Path | None) -> Discovery:
    """Sessions in the generation in force."""
    config = config_of(home)
    store = existing_store_of(config)
    radius = config.duplicate_radius_arcsec
    return Discovery(open_current(config, store), store, radius_arcsec=radius)


def labels_of(file: Path) -> list[Told]:
    """Labels of a CSV of id and label.

    Raises
    ------
    LabelsError
        It is no such table, or has other labels than ours.
    """
    try:
        told = read_labels(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as exc:
        msg = f"{file} is not UTF-8 text: byte {exc.start} is not"
        raise LabelsError(msg) from exc
    found: list[Told] = []
    for source_id, text in told.items():
        known = next((one for one in LABELS if one == text.lower()), None)
        if known is None:
            msg = (
                f"{source_id} is labelled {text[:50]!r}; there are {', '.join(LABELS)}"
            )
            raise LabelsError(msg, parameter="label", actual=text[:50])
        found.append((source_id, known))
    return found


def wanted_of(
    here: Discovery, session_id: str, told: Sequence[Told], note: str | None
) -> list[Wanted]:
    """Labels as changes of what is now: who types them sees no version."""
    marks = here.sessions.with_marks(session_id)[1]
    versions = {mark.source_id: mark.version for mark in marks}
    others = [name for name, _ in told if name not in versions]
    rows = here.store.rows_named(here.number, others)
    sources = here.store.sources_by_row(here.number, list(rows.values()))
    for name, source in zip(rows, sources, strict=True):
        versions[name] = versions.get(source.source_id, 0)
    return [Wanted(name, label, note, versions.get(name, 0)) for name, label in told]


def report_of(here: Discovery, session_id: str) -> dict[str, Any]:
    """A session with its labels counted, what has vanished, and its rounds."""
    standing = here.standing(session_id)
    counts = Counter(mark.label or "unlabelled" for mark in standing.marks)
    return asdict(standing.session) | {
        "generation": here.number,
        "counts": dict(sorted(counts.items())),
        "vanished": [mark.source_id for mark in standing.vanished],
        "rounds": [asdict(one) for one in here.sessions.rounds(session_id)],
    }


def rows_of_round(proposed: Proposed) -> list[dict[str, Any]]:
    """Candidates of a round, those whose source has vanished by ID alone."""
    return [
        {
            "round": mark.round,
            "place": mark.place,
            "strategy": mark.strategy,
            "score": mark.score,
            "similarity": mark.similarity,
            "label": mark.label,
            **(_plain(source) if source else {"source_id": mark.source_id}),
        }
        for mark, source in proposed.candidates
    ]


def rows_of_ranking(candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    """Candidates, the best first."""
    return [
        {
            "rank": one.rank,
            "score": one.score,
            "similarity": one.similarity,
            "round": one.mark.round if one.mark else None,
            **_plain(one.source),
        }
        for one in candidates
    ]


def print_rows(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """As CSV with a header, or as JSON."""
    if as_json:
        print_json(rows, indent=2)
        return
    # The widest row has all columns: one without a source has fewer.
    fields = max(rows, key=len, default={})
    writer = csv.DictWriter(stdout(), list(fields))
    writer.writeheader()
    for row in rows:
        short = {
            name: f"{row[name]:.4f}"
            for name in ("score", "similarity")
            if row[name] is not None
        }
        writer.writerow(dict(row) | short)


def _plain(source: Source) -> dict[str, Any]:
    place = {"source_id": source.source_id, "ra": source.ra, "dec": source.dec}
    return place | {k: v for k, v in source.columns.items() if k not in place}
