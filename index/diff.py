"""What a new generation changes of the one before, source by source.

Counted by the database, whatever the size of the catalogue.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from twinjet.index.schema import SourceRow
from twinjet.index.sky import chord_of

# A position that changes by less is the same one, written with other digits.
MOVED_ARCSEC = 0.05

# Sources of each kind of change that are named.
_EXAMPLES = 10


@dataclass(frozen=True)
class Diff:
    """Counts of sources, by `source_id`."""

    before: int = 0
    after: int = 0
    added: int = 0
    removed: int = 0
    moved: int = 0
    """By 0.05 arcsec or more."""
    new_pixels: int = 0
    """Whose cutout is another file."""
    corrected: int = 0
    """Of which a measured column, the survey or the cutout's name changed."""
    unchanged: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict)
    """Some IDs for each of these."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def diff_of(engine: sa.Engine, old: int, new: int) -> Diff:
    """How the sources of generation `new` differ from those of `old`."""
    before, after = aliased(SourceRow), aliased(SourceRow)
    same = sa.and_(
        before.generation == old,
        after.generation == new,
        before.source_id == after.source_id,
    )
    dx, dy, dz = before.x - after.x, before.y - after.y, before.z - after.z
    moved = dx * dx + dy * dy + dz * dz >= chord_of(MOVED_ARCSEC) ** 2
    # A generation of an earlier version has no digests: then nothing is known.
    new_pixels = sa.func.coalesce(before.cutout_digest != after.cutout_digest, False)
    other_columns = before.columns != after.columns
    if engine.dialect.name == "sqlite":
        texts = [sa.cast(side.columns, sa.Text) for side in (before, after)]
        other_columns = sa.and_(
            other_columns, ~sa.func.same_json(*texts, type_=sa.Boolean)
        )
    corrected = sa.or_(
        other_columns,
        before.survey.is_distinct_from(after.survey),
        before.cutout.is_distinct_from(after.cutout),
    )
    kinds = {
        "added": _lacking(new, old),
        "removed": _lacking(old, new),
        "moved": sa.select(after.source_id).where(same, moved),
        "new_pixels": sa.select(after.source_id).where(same, new_pixels),
        "corrected": sa.select(after.source_id).where(same, corrected),
        "unchanged": sa.select(after.source_id).where(
            same, ~moved, ~new_pixels, ~corrected
        ),
    }
    counts, examples = {}, {}
    with engine.connect() as connection:
        for kind, query in kinds.items():
            counts[kind] = _count(connection, query)
            if kind != "unchanged":
                some = query.order_by(sa.text("1")).limit(_EXAMPLES)
                examples[kind] = [str(name) for name in connection.scalars(some)]
        totals = [
            _count(
                connection, sa.select(SourceRow.row).where(SourceRow.generation == n)
            )
            for n in (old, new)
        ]
    return Diff(before=totals[0], after=totals[1], **counts, examples=examples)


def _lacking(there: int, here: int) -> sa.Select[str]:
    """IDs of one generation that another lacks."""
    one, other = aliased(SourceRow), aliased(SourceRow)
    match = sa.exists().where(
        other.generation == here, other.source_id == one.source_id
    )
    return sa.select(one.source_id).where(one.generation == there, ~match)


def _count(connection: sa.Connection, query: sa.Select[Any]) -> int:
    return (
        connection.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0
    )
