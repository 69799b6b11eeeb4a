"""What a session of discovery holds."""

import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from twinjet.index.discovery.proposals import Strategy
from twinjet.index.errors import InvalidQueryError

Label = Literal["example", "like", "dislike"]
LABELS: tuple[Label, ...] = get_args(Label)

# What is sought; the rest of the labels is what is not.
POSITIVE: tuple[Label, ...] = ("example", "like")

# The ranker is fitted to all of them with each request.
MAX_LABELS = 10_000
# Proposed or labelled; somebody who has seen so many has catalogued them.
MAX_MARKS = 50_000
MAX_SESSIONS = 10_000
MAX_EXCLUDED_LISTS = 20
MAX_NAME = 200
MAX_NOTES = 20_000
MAX_NOTE = 2000


@dataclass(frozen=True)
class DiscoverySession:
    """A search for more of a kind."""

    session_id: str
    name: str
    """Unique, as a person gave it."""
    notes: str
    exclude: tuple[str, ...]
    """Names of the lists whose sources are left out, in alphabetical order."""
    version: int
    """Larger with every change of labels, rounds, lists, name or notes."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class Mark:
    """What a session knows of a source."""

    source_id: str
    ra: float
    dec: float
    """ICRS degrees, when it was labelled or proposed."""
    label: Label | None
    """None: it was proposed and not labelled, or the label was withdrawn."""
    note: str
    version: int
    """Changes of label and note so far: what the next change must name."""
    updated_at: datetime
    round: int | None
    """In which it was proposed, if it was."""
    place: int | None
    """From 1, in its round."""
    strategy: Strategy | None
    score: float | None
    similarity: float | None
    """Score and similarity when it was proposed."""


@dataclass(frozen=True)
class Change:
    """A label to give, to change or to withdraw."""

    source_id: str
    ra: float
    dec: float
    label: Label | None
    note: str | None = None
    """None leaves the note as it is."""
    version: int = 0
    """Of the mark that was seen; 0 where there was none or nobody had labelled it."""


@dataclass(frozen=True)
class Round:
    """Candidates that were proposed together, and what they came from."""

    number: int
    count: int
    """As wanted; there may have been fewer."""
    explore: float
    where: str | None
    generation: int
    encoder_id: str
    catalogue_name: str
    catalogue_digest: str
    likes: int
    """Labelled sources that the ranker was fitted to, examples among them."""
    dislikes: int
    created_at: datetime


def check_text(name: str, text: str, *, least: int = 0, most: int) -> str:
    """Text of a person, without blanks at its ends, that every database can keep.

    Raises
    ------
    InvalidQueryError
        It is too short or too long, or has control characters other than line breaks
        and tabs, or halves of characters.

    Examples
    --------
    >>> check_text("name", " hybrids ", most=20)
    'hybrids'
    """
    text = text.strip()
    if not least <= len(text) <= most:
        msg = f"{name} has {least} to {most} characters; it had {len(text)}"
        raise InvalidQueryError(
            msg, parameter=name, limit=f"{least} to {most}", actual=len(text)
        )
    for character in text:
        if unicodedata.category(character) in {"Cc", "Cs"} and character not in "\n\t":
            msg = f"{name} has the character U+{ord(character):04X}, which is no text"
            raise InvalidQueryError(
                msg, parameter=name, actual=f"U+{ord(character):04X}"
            )
    return text
