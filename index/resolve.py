"""What an ID, a name or a position typed by a person can mean."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from twinjet.index.errors import UnknownSourceError
from twinjet.index.names import parse_position
from twinjet.index.source import Source
from twinjet.index.store import SourceStore

# J-names truncate their digits and follow the host, not the radio centroid.
_POSITION_RADIUS_ARCSEC = 60.0


@dataclass(frozen=True)
class Match:
    """A source that the text can mean, and why."""

    source: Source
    kind: Literal["id", "name", "position"]
    separation_arcsec: float | None = None
    """From the position that the text spells."""


def resolve(store: SourceStore, number: int, text: str, *, limit: int) -> list[Match]:
    """Sources that a text can mean, the likeliest first.

    The exact ID, the same name in another spelling, names that contain the text,
    then sources near a position that the text spells.

    Parameters
    ----------
    store
        Where to look.
    number
        Of the generation.
    text
        As typed.
    limit
        At most so many.
    """
    matches: list[Match] = []
    with suppress(UnknownSourceError):
        _, source = store.row_of(number, text.strip())
        kind: Literal["id", "name"] = (
            "id" if source.source_id == text.strip() else "name"
        )
        matches.append(Match(source, kind))
    matches += [Match(s, "name") for s in store.containing(number, text, limit)]
    position = parse_position(text)
    if position is not None:
        near = store.cone(number, *position, _POSITION_RADIUS_ARCSEC, limit=limit)
        matches += [Match(source, "position", gap) for _, source, gap in near]
    first_of_each = {match.source.source_id: match for match in reversed(matches)}
    ordered = sorted(first_of_each.values(), key=matches.index)
    return ordered[:limit]
