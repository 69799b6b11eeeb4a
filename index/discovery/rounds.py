"""Rounds of proposals, and the ranking of all candidates."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from twinjet.index.discovery.discovery import Discovery, check_within
from twinjet.index.discovery.proposals import Proposal, propose, ranked, ranker_of
from twinjet.index.discovery.session import Mark, Round
from twinjet.index.discovery.standing import Standing, labelled_of, seen_of
from twinjet.index.errors import (
    NoCandidatesError,
    SessionConflictError,
    UnknownSessionError,
)
from twinjet.index.source import Source

# Candidates of a round, and of a ranking.
MAX_COUNT = 100
MAX_CANDIDATES = 10_000

DEFAULT_COUNT = 10

# Of a round, what is asked for being uncertain: benchmarks/results/hunt.md.
DEFAULT_EXPLORE = 0.3

# A round is made again when somebody labels meanwhile.
_ATTEMPTS = 10


@dataclass(frozen=True)
class Wishes:
    """What a round is to be.

    Attributes
    ----------
    count
        Candidates wanted, 1 to `MAX_COUNT`; fewer when there are no more.
    explore
        0 to 1: which part of them is to be uncertain instead of good.
    where
        Filter on columns, in the grammar of `twinjet.index.where`.
    """

    count: int = DEFAULT_COUNT
    explore: float = DEFAULT_EXPLORE
    where: str | None = None


@dataclass(frozen=True)
class Candidate:
    """A source that may be of the kind."""

    rank: int
    score: float
    """Distance from the boundary between likes and the rest; larger is earlier."""
    similarity: float
    """Cosine to the nearest like."""
    source: Source
    mark: Mark | None
    """That it has without a label, if it was proposed."""


@dataclass(frozen=True)
class Proposed:
    """A round as it is now.

    Attributes
    ----------
    round
        What it came from.
    candidates
        In the order in which they were proposed, each with its source in this
        generation; None where that has vanished.
    """

    round: Round
    candidates: list[tuple[Mark, Source | None]]


def make_round(
    discovery: Discovery,
    session_id: str,
    number: int,
    wishes: Wishes,
) -> Proposed:
    """Make a round, or find the one that was made with the same wishes.

    The same labels, lists and rounds in the same generation give the same
    proposals; no source is proposed twice, nor one at the place of another.

    Parameters
    ----------
    session_id
        Of the session.
    number
        The last round's plus one, or that of one there is.
    wishes
        What it is to be.

    Raises
    ------
    UnknownSessionError
        There is none of this ID.
    SessionConflictError
        The round was made with other wishes, or there was no end of labels
        while it was made.
    NoExamplesError
        Nothing that is liked is in this generation.
    NoCandidatesError
        All were seen, are known or filtered out.
    InvalidQueryError, FilterError
        The number is none of those, or a wish is out of bounds.
    SessionLimitError
        The session has seen too many sources.
    """
    check_within("count", wishes.count, 1, MAX_COUNT)
    check_within("explore", wishes.explore, 0, 1)
    for _ in range(_ATTEMPTS):
        rounds = discovery.sessions.rounds(session_id)
        for made in rounds:
            if made.number == number:
                _same_wishes(made, wishes)
                return round_of(discovery, session_id, number)
        standing = discovery.standing(session_id)
        check_within("number", number, 1, len(rounds) + 1)
        proposals, made = _made(discovery, standing, number, wishes)
        marks = _marks(discovery, proposals, made)
        if discovery.sessions.add_round(
            session_id, standing.session.version, made, marks
        ):
            return round_of(discovery, session_id, number)
    msg = f"the session was changed {_ATTEMPTS} times while a round was made"
    raise SessionConflictError(msg, limit=_ATTEMPTS, actual=_ATTEMPTS)


def round_of(discovery: Discovery, session_id: str, number: int) -> Proposed:
    """A round that was made.

    Raises
    ------
    UnknownSessionError
        No such session, or it has no such round.
    """
    standing = discovery.standing(session_id)
    rounds = discovery.sessions.rounds(session_id)
    made = next((one for one in rounds if one.number == number), None)
    if made is None:
        msg = f"the session has {len(rounds)} rounds and no round {number}"
        raise UnknownSessionError(
            msg, parameter="number", limit=len(rounds), actual=number
        )
    marks = [mark for mark in standing.marks if mark.round == number]
    marks.sort(key=lambda mark: mark.place or 0)
    sources = discovery.sources_of(standing, marks)
    return Proposed(made, [(mark, sources.get(mark.source_id)) for mark in marks])


def candidates_of(
    discovery: Discovery, session_id: str, *, count: int, where: str | None = None
) -> tuple[Standing, list[Candidate]]:
    """All that may be of the kind, by what is labelled now, the best first.

    Among them is what was proposed and not labelled; what is labelled or known is
    not, nor what is at the place of such a source.

    Raises
    ------
    UnknownSessionError, NoExamplesError, InvalidQueryError, FilterError
        As for `propose`.
    """
    check_within("count", count, 1, MAX_CANDIDATES)
    standing = discovery.standing(session_id)
    labelled = labelled_of(
        standing,
        discovery.generation,
        discovery.lists,
        radius_arcsec=discovery.radius_arcsec,
    )
    allowed = labelled.unlabelled & _passing(discovery, where)
    found = ranked(
        discovery.generation,
        ranker_of(discovery.generation, labelled),
        np.flatnonzero(allowed),
        count,
        discovery.radius_arcsec,
    )
    marks = {mark.source_id: mark for mark in standing.marks}
    rows = zip(
        found.scores.tolist(),
        found.similarities.tolist(),
        discovery.store.sources_by_row(discovery.number, found.rows.tolist()),
        strict=True,
    )
    return standing, [
        Candidate(rank, score, alike, source, marks.get(source.source_id))
        for rank, (score, alike, source) in enumerate(rows, start=1)
    ]


def _made(
    discovery: Discovery,
    standing: Standing,
    number: int,
    wishes: Wishes,
) -> tuple[list[Proposal], Round]:
    radius = discovery.radius_arcsec
    labelled = labelled_of(
        standing, discovery.generation, discovery.lists, radius_arcsec=radius
    )
    seen = seen_of(standing, discovery.generation, radius_arcsec=radius)
    allowed = labelled.unlabelled & ~seen & _passing(discovery, wishes.where)
    if not allowed.any():
        filtered = "" if wishes.where is None else ", or does not pass the filter"
        msg = "there are no more candidates: every source has been seen or is known"
        raise NoCandidatesError(msg + filtered, parameter="where", actual=wishes.where)
    proposals = propose(
        discovery.generation,
        ranker_of(discovery.generation, labelled),
        np.flatnonzero(allowed),
        count=wishes.count,
        explore=wishes.explore,
        radius_arcsec=radius,
    )
    manifest = discovery.generation.manifest
    return proposals, Round(
        number=number,
        count=wishes.count,
        explore=wishes.explore,
        where=wishes.where,
        generation=manifest.number,
        encoder_id=manifest.encoder_id,
        catalogue_name=manifest.catalogue_name,
        catalogue_digest=manifest.catalogue_digest,
        likes=len(labelled.likes),
        dislikes=len(labelled.dislikes),
        created_at=datetime.now(UTC),
    )


def _marks(
    discovery: Discovery, proposals: Sequence[Proposal], made: Round
) -> list[Mark]:
    rows = [proposal.row for proposal in proposals]
    sources = discovery.store.sources_by_row(discovery.number, rows)
    return [
        Mark(
            source_id=source.source_id,
            ra=source.ra,
            dec=source.dec,
            label=None,
            note="",
            version=0,
            updated_at=made.created_at,
            round=made.number,
            place=place,
            strategy=proposal.strategy,
            score=proposal.score,
            similarity=proposal.similarity,
        )
        for place, (proposal, source) in enumerate(
            zip(proposals, sources, strict=True), start=1
        )
    ]


def _passing(discovery: Discovery, where: str | None) -> NDArray[np.bool_]:
    count = len(discovery.generation.index)
    if where is None:
        return np.ones(count, np.bool_)
    passing = np.zeros(count, np.bool_)
    passing[discovery.store.select_rows(discovery.number, where=where)] = True
    return passing


def _same_wishes(made: Round, wishes: Wishes) -> None:
    for name, value in asdict(wishes).items():
        before = getattr(made, name)
        if before != value:
            msg = (
                f"round {made.number} was made with {name} {before!r}, not {value!r}; "
                "the next one may have that"
            )
            raise SessionConflictError(
                msg, parameter=name, limit=str(before), actual=str(value)
            )
