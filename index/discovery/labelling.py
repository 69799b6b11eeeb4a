"""Sessions are begun, and sources labelled."""

from collections.abc import Sequence
from dataclasses import dataclass

from twinjet.index.discovery.discovery import Discovery
from twinjet.index.discovery.session import (
    MAX_EXCLUDED_LISTS,
    MAX_LABELS,
    MAX_NAME,
    MAX_NOTE,
    MAX_NOTES,
    Change,
    DiscoverySession,
    Label,
    Mark,
    check_text,
)
from twinjet.index.discovery.standing import rows_listed
from twinjet.index.errors import (
    InvalidQueryError,
    NoExamplesError,
    SessionLimitError,
)
from twinjet.index.source import Source

# Labels in one request.
MAX_CHANGES = 1000


@dataclass(frozen=True)
class Wanted:
    """A label that somebody gives or changes, or withdraws (None)."""

    source_id: str
    label: Label | None
    note: str | None = None
    version: int = 0


def create_session(
    discovery: Discovery,
    name: str,
    *,
    examples: Sequence[str] = (),
    examples_from: str | None = None,
    exclude: Sequence[str] = (),
    notes: str = "",
) -> DiscoverySession:
    """Begin a session.

    Parameters
    ----------
    name
        Unique, 1 to `MAX_NAME` characters.
    examples
        IDs of sources of the kind that is sought.
    examples_from
        A list whose sources are examples, too.
    exclude
        Lists of known sources, which are never proposed.
    notes
        In words.

    Raises
    ------
    UnknownExamplesError
        IDs that the generation does not have.
    UnknownListError
        A list is not there.
    NoExamplesError
        There are none, or the generation has none of the list.
    SessionConflictError
        The name is taken.
    InvalidQueryError, SessionLimitError
        A text is too long or no text, or there is too much of something.
    """
    name = check_text("name", name, least=1, most=MAX_NAME)
    notes = check_text("notes", notes, most=MAX_NOTES)
    rows = set(discovery.rows_named(examples, "examples").values())
    if examples_from is not None:
        listed = rows_listed(examples_from, discovery.generation, discovery.lists)
        rows.update(listed.tolist())
    if not rows:
        msg = "no example is in this index: give IDs of sources of the kind that "
        msg += "is sought, or a list that has some"
        raise NoExamplesError(msg, parameter="examples", limit=1, actual=0)
    if len(rows) > MAX_LABELS:
        msg = f"at most {MAX_LABELS} examples; there were {len(rows)}"
        raise SessionLimitError(
            msg, parameter="examples", limit=MAX_LABELS, actual=len(rows)
        )
    sources = discovery.store.sources_by_row(discovery.number, sorted(rows))
    changes = [Change(s.source_id, s.ra, s.dec, "example") for s in sources]
    return discovery.sessions.create(
        name, notes=notes, exclude=few_lists(exclude), changes=changes
    )


def label(
    discovery: Discovery, session_id: str, wanted: Sequence[Wanted]
) -> list[Mark]:
    """Give, change or withdraw labels: all of them, or none.

    Sources may be labelled that were never proposed. One that has vanished keeps
    its label, and it can be changed.

    Raises
    ------
    UnknownSessionError
        There is none of this ID.
    UnknownExamplesError
        IDs that neither the session nor the generation has.
    SessionConflictError
        A source was labelled by somebody else since the version that was seen.
    InvalidQueryError, SessionLimitError
        There are none or too many, one is named twice, or a note is no text.
    """
    if not 1 <= len(wanted) <= MAX_CHANGES:
        msg = f"give 1 to {MAX_CHANGES} labels at a time; there were {len(wanted)}"
        raise InvalidQueryError(
            msg,
            parameter="labels",
            limit=f"1 to {MAX_CHANGES}",
            actual=len(wanted),
        )
    marks = {m.source_id: m for m in discovery.sessions.with_marks(session_id)[1]}
    names = [one.source_id for one in wanted if one.source_id not in marks]
    rows = discovery.rows_named(names, "labels")
    found = discovery.store.sources_by_row(discovery.number, list(rows.values()))
    sources: dict[str, Mark | Source] = {
        **marks,
        **dict(zip(rows, found, strict=True)),
    }
    changes: dict[str, Change] = {}
    for one in wanted:
        source = sources[one.source_id]
        if source.source_id in changes:
            msg = f"{source.source_id} is labelled twice in one request"
            raise InvalidQueryError(msg, parameter="labels", actual=source.source_id)
        note = None if one.note is None else check_text("note", one.note, most=MAX_NOTE)
        changes[source.source_id] = Change(
            source.source_id, source.ra, source.dec, one.label, note, one.version
        )
    return discovery.sessions.label(session_id, list(changes.values()))


def few_lists(names: Sequence[str]) -> list[str]:
    """Names of lists to leave out, each once.

    Raises
    ------
    SessionLimitError
        There are more than `MAX_EXCLUDED_LISTS`.
    """
    each = sorted(set(names))
    if len(each) > MAX_EXCLUDED_LISTS:
        msg = f"a session leaves out at most {MAX_EXCLUDED_LISTS} lists; there were "
        msg += f"{len(each)}: make one list of them"
        raise SessionLimitError(
            msg, parameter="exclude", limit=MAX_EXCLUDED_LISTS, actual=len(each)
        )
    return each
