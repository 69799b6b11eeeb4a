"""Looks at a generation before it is published, as if nobody had made it."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinjet.index.checks import Check, Limits, Verification
from twinjet.index.cutouts.port import CutoutProvider
from twinjet.index.diff import Diff, diff_of
from twinjet.index.embed import embed_items
from twinjet.index.errors import GenerationDamagedError
from twinjet.index.generation import (
    OpenGeneration,
    canary_rows,
    index_name,
    open_generation,
    recall_of,
)
from twinjet.index.home import Home
from twinjet.index.keys import Item
from twinjet.index.sky import unit_vectors
from twinjet.index.source import Value
from twinjet.index.store import SourceStore
from twinjet.index.vectors.engine import VectorEngine
from twinjet.index.vectors.faiss_index import FaissIndex
from twinjet.model.encoder import Encoder

_NEIGHBOURS = 10

# Rows that are compared with the metadata store, and queries of quality and churn.
_SAMPLE = 256

# Sources that a check names.
_SHOWN = 5

# Rows of vectors that are looked at together.
_BLOCK = 65_536

# A column of so many different values is a name, of one value no class.
_CLASSES = range(2, 21)


def verify(
    number: int,
    folder: str,
    *,
    home: Home,
    store: SourceStore,
    encoder: Encoder,
    provider: CutoutProvider,
    limits: Limits,
    engine: VectorEngine | None = None,
) -> Verification:
    """Look at a generation, through the engine that will search it.

    Damaged files, rows that do not match and vectors of another length end it at once,
    for nothing else can be looked at then.
    """
    try:
        opened = open_generation(home.generation(folder), engine)
    except GenerationDamagedError as exc:
        return Verification([Check("files", passed=False, detail=str(exc))])
    checks = [Check("files", passed=True, detail="every checksum is right")]
    checks += _against_metadata(number, opened, store, encoder)
    checks.append(_vectors(opened))
    if engine is not None and not isinstance(opened.index, FaissIndex):
        checks.append(_engine(opened, engine))
    if not all(check.passed for check in checks):
        return Verification(checks)
    checks.append(_recall(opened, limits))
    checks.append(
        _canaries(
            number,
            opened,
            store=store,
            provider=provider,
            encoder=encoder,
            limits=limits,
        )
    )
    quality = _quality(number, opened, store)
    current = store.current()
    name = store.generation(number).catalogue_name
    if current is None or current.catalogue_name != name:
        return Verification(checks, quality=quality)
    diff = diff_of(store.engine, current.number, number)
    checks.append(_removed(diff, limits))
    kept = None
    try:
        before = open_generation(home.generation(current.folder))
    except GenerationDamagedError as exc:
        detail = f"not compared with those of generation {current.number}: {exc}"
        checks.append(Check("neighbours", passed=True, detail=detail))
    else:
        same_encoder = before.manifest.encoder_id == opened.manifest.encoder_id
        kept = _kept(before, opened, current.number, number, store, alike=same_encoder)
        if kept is not None and same_encoder:
            checks.append(
                Check(
                    "neighbours",
                    passed=kept >= limits.min_kept_neighbours,
                    detail=f"of ten neighbours of unchanged sources {10 * kept:.1f} "
                    f"are those of generation {current.number}",
                    value=kept,
                    limit=limits.min_kept_neighbours,
                )
            )
    checks += _lost_quality(quality, (current.report or {}), limits)
    return Verification(checks, diff, kept, quality)


def _against_metadata(
    number: int, opened: OpenGeneration, store: SourceStore, encoder: Encoder
) -> Iterator[Check]:
    """Counts, encoder, and whether rows are of the same sources on both sides."""
    manifest = opened.manifest
    counts = manifest.count, store.count(number), len(opened.index)
    yield Check(
        "counts",
        passed=len(set(counts)) == 1 and counts[0] > 0,
        detail="{} in the manifest, {} in the metadata, {} vectors".format(*counts),
    )
    yield Check(
        "encoder",
        passed=manifest.encoder_id == encoder.card.id,
        detail=f"vectors of {manifest.encoder_id}, this is {encoder.card.id}",
    )
    if len(set(counts)) > 1:
        return
    rows = _some(manifest.count, _SAMPLE)
    sources = store.sources_by_row(number, rows.tolist())
    there = unit_vectors([s.ra for s in sources], [s.dec for s in sources])
    off = float(np.abs(there - opened.positions[rows]).max())
    yield Check(
        "rows",
        passed=off < 1e-12,  # noqa: PLR2004 - rounding, a millionth of an arcsec
        detail=f"positions of {len(rows)} rows differ by {off:.1e} at most",
        value=off,
    )


def _vectors(opened: OpenGeneration) -> Check:
    """Finite, and of unit norm."""
    worst = 0.0
    for start in range(0, len(opened.vectors), _BLOCK):
        part = opened.vectors[start : start + _BLOCK]
        off = np.abs(np.einsum("nd,nd->n", part, part) - 1.0)
        worst = max(worst, float(np.where(np.isfinite(off), off, np.inf).max()))
    return Check(
        "vectors",
        passed=worst < 1e-4,  # noqa: PLR2004 - rounding of float32
        detail=f"squared norms differ from 1 by {worst:.1e} at most",
        value=worst,
    )


def _engine(opened: OpenGeneration, engine: VectorEngine) -> Check:
    """Whether the engine has the rows of the files."""
    manifest = opened.manifest
    name = index_name(manifest.number, manifest.digest)
    rows = _some(manifest.count, _SAMPLE)
    there = engine.open(name, manifest.count, None)
    kept = opened.index if there is None else there
    off = float(np.abs(kept.vectors(rows) - opened.vectors[rows]).max())
    return Check(
        "engine",
        passed=off == 0.0,
        detail=f"{len(rows)} rows of {opened.index.kind} differ by {off:.1e} at most "
        "from the files",
        value=off,
    )


def _recall(opened: OpenGeneration, limits: Limits) -> Check:
    try:
        recall = recall_of(opened.index, opened.vectors)
    except GenerationDamagedError as exc:
        return Check("recall", passed=False, detail=str(exc))
    recall = min(recall, opened.manifest.recall_at_10)
    return Check(
        "recall",
        passed=recall >= limits.min_recall,
        detail=f"recall at 10 against exact search is {recall:.3f}",
        value=recall,
        limit=limits.min_recall,
    )


def _canaries(
    number: int,
    opened: OpenGeneration,
    *,
    store: SourceStore,
    provider: CutoutProvider,
    encoder: Encoder,
    limits: Limits,
) -> Check:
    """Cutouts of some sources, embedded once more, find these very sources.

    Those that were replaced since are none of these, and the next build's.
    """
    rows = canary_rows(opened.manifest.count).tolist()
    sources = store.sources_by_row(number, rows)
    digests = store.cutout_digests(number, rows)
    shard, _ = embed_items(
        [Item(s, digest) for s, digest in zip(sources, digests, strict=True)],
        provider=provider,
        encoder=encoder,
        pixel_scale_arcsec=opened.manifest.pixel_scale_arcsec,
    )
    again = {
        item.source.source_id: vector
        for item, vector, reason in zip(
            shard.items, shard.embeddings, shard.reasons, strict=True
        )
        if reason is None
    }
    lost = [s.source_id for s in sources if s.source_id not in again]
    alike = {
        source.source_id: float(again[source.source_id] @ opened.vectors[row])
        for row, source in zip(rows, sources, strict=True)
        if source.source_id in again
    }
    worst = min(alike, key=alike.__getitem__, default="")
    detail = f"{len(alike)} cutouts were embedded once more"
    if alike:
        detail += f", alike their sources' vectors by {alike[worst]:.5f} at least"
        detail += f" ({worst})"
    if lost:
        shown = ", ".join(lost[:_SHOWN]) + (", ..." if len(lost) > _SHOWN else "")
        detail += f"; {len(lost)} are away or were replaced since: {shown}"
    may_be_lost = max(1, int(limits.max_lost_canaries * len(rows)))
    return Check(
        "canaries",
        passed=bool(alike)
        and len(lost) <= may_be_lost
        and alike[worst] >= limits.min_self_similarity,
        detail=detail,
        value=alike.get(worst),
        limit=limits.min_self_similarity,
    )


def _removed(diff: Diff, limits: Limits) -> Check:
    part = diff.removed / diff.before if diff.before else 0.0
    return Check(
        "removed",
        passed=part <= limits.max_removed,
        detail=f"{diff.removed} of {diff.before} sources are gone",
        value=part,
        limit=limits.max_removed,
    )


def _kept(
    before: OpenGeneration,
    after: OpenGeneration,
    old: int,
    new: int,
    store: SourceStore,
    *,
    alike: bool,
) -> float | None:
    """Part of ten neighbours that stay, among the sources that both have.

    Of vectors that are the same only, where the encoder is (`alike`).
    """
    rows = _some(before.manifest.count, _SAMPLE)
    queries = store.sources_by_row(old, rows.tolist())
    there = store.rows_of(new, [s.source_id for s in queries])
    parts = []
    for row, source in zip(rows, queries, strict=True):
        other = there.get(source.source_id)
        if other is None:
            continue
        vector, moved = before.vectors[row], after.vectors[other]
        if alike and float(vector @ moved) < 1 - 1e-5:
            continue
        one = _names(before, old, vector, store, also_in=new)
        two = _names(after, new, moved, store, also_in=old)
        shorter = min(len(one), len(two), _NEIGHBOURS + 1)
        if shorter > 1:
            same = len(set(one[:shorter]) & set(two[:shorter])) - 1  # itself
            parts.append(same / (shorter - 1))
    return float(np.mean(parts)) if parts else None


def _names(
    opened: OpenGeneration,
    number: int,
    query: NDArray[np.float32],
    store: SourceStore,
    *,
    also_in: int,
) -> list[str]:
    """Neighbours of a vector, itself among them, that another generation has too."""
    _, rows = opened.index.search(np.asarray(query), 4 * _NEIGHBOURS)
    names = [s.source_id for s in store.sources_by_row(number, rows.tolist())]
    there = store.rows_of(also_in, names)
    return [name for name in names if name in there]


def _quality(
    number: int, opened: OpenGeneration, store: SourceStore
) -> dict[str, dict[str, float]]:
    """For each column of classes, the part of ten neighbours of the same class."""
    columns = store.generation(number).columns
    if not columns or opened.manifest.count < 2 * _NEIGHBOURS:
        return {}
    rows = _some(opened.manifest.count, _SAMPLE)
    found = [
        opened.index.search(np.asarray(opened.vectors[row]), _NEIGHBOURS + 1)[1]
        for row in rows
    ]
    every = np.unique(np.concatenate([rows, *found])).tolist()
    sources = dict(zip(every, store.sources_by_row(number, every), strict=True))
    quality = {}
    for column in columns:
        name = column.name
        labels = {row: source.columns.get(name) for row, source in sources.items()}
        if column.kind == "number" and not all(map(_may_be_class, labels.values())):
            continue
        counts = Counter(v for v in (labels[row] for row in rows) if v is not None)
        total = sum(counts.values())
        if len(counts) not in _CLASSES or total < _NEIGHBOURS:
            continue
        same: list[bool] = []
        for row, neighbours in zip(rows, found, strict=True):
            mine = labels[row]
            if mine is not None:
                theirs = (labels[n] for n in neighbours if n != row)
                same += [label == mine for label in theirs if label is not None]
        if same:
            quality[name] = {
                "same_class_at_10": round(float(np.mean(same)), 4),
                "by_chance": round(sum((n / total) ** 2 for n in counts.values()), 4),
            }
    return quality


def _may_be_class(value: Value) -> bool:
    """Whether a number is an integer, as classes are written, or missing."""
    return value is None or float(value).is_integer()


def _lost_quality(
    quality: dict[str, dict[str, float]], report: dict[str, Any], limits: Limits
) -> Iterator[Check]:
    """Whether neighbours are of the same class about as often as before."""
    for name, before in report.get("quality", {}).items():
        if name in quality:
            was, now = before["same_class_at_10"], quality[name]["same_class_at_10"]
            yield Check(
                f"quality of {name}",
                passed=now >= was - limits.max_lost_quality,
                detail=f"of ten neighbours {10 * now:.1f} are of the same {name}, "
                f"{10 * was:.1f} before",
                value=now,
                limit=was - limits.max_lost_quality,
            )


def _some(count: int, most: int) -> NDArray[np.int64]:
    """Rows spread over all."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))
