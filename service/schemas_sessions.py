"""Sessions of discovery and lists of known sources over the wire."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from twinjet.index.discovery.known import KnownList
from twinjet.index.discovery.labelling import MAX_CHANGES, Wanted
from twinjet.index.discovery.proposals import Strategy
from twinjet.index.discovery.rounds import (
    DEFAULT_COUNT,
    DEFAULT_EXPLORE,
    MAX_COUNT,
    Candidate,
    Proposed,
    Wishes,
)
from twinjet.index.discovery.session import (
    MAX_EXCLUDED_LISTS,
    MAX_NAME,
    MAX_NOTE,
    MAX_NOTES,
    DiscoverySession,
    Label,
    Mark,
    Round,
)
from twinjet.index.source import Source
from twinjet.service.schemas import GenerationOut, Links, SourceOut
from twinjet.service.served import Served

_SourceId = Annotated[str, Field(min_length=1, max_length=1000)]
_ListName = Annotated[str, Field(max_length=100)]
_Lists = Annotated[
    list[_ListName],
    Field(
        max_length=MAX_EXCLUDED_LISTS,
        description="Lists of known sources, which are never proposed",
    ),
]
_Name = Annotated[
    str, Field(min_length=1, max_length=MAX_NAME, description="Unique, in words")
]
_Notes = Annotated[str, Field(max_length=MAX_NOTES, description="In words")]


class SessionIn(BaseModel):
    """What is sought."""

    model_config = ConfigDict(extra="forbid")

    name: _Name
    examples: Annotated[
        list[_SourceId],
        Field(max_length=MAX_CHANGES, description="IDs of sources of the kind"),
    ] = []
    examples_from: Annotated[
        _ListName | None,
        Field(description="A list of known sources that are of the kind, too"),
    ] = None
    exclude: _Lists = []
    notes: _Notes = ""


class SessionChange(BaseModel):
    """What is to be changed; what is absent stays."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[int, Field(ge=1, description="Of the session that was seen")]
    name: _Name | None = None
    notes: _Notes | None = None
    exclude: _Lists | None = None


class LabelIn(BaseModel):
    """A label to give or to change; null withdraws it."""

    model_config = ConfigDict(extra="forbid")

    source_id: _SourceId
    label: Label | None
    note: Annotated[
        str | None, Field(max_length=MAX_NOTE, description="Absent, it stays")
    ] = None
    version: Annotated[
        int,
        Field(
            ge=0,
            le=2**31,
            description="Of the label that was seen, 0 where nobody had labelled it; "
            "409 where somebody has labelled it otherwise since",
        ),
    ] = 0

    def wanted(self) -> Wanted:
        """As the index takes it."""
        return Wanted(self.source_id, self.label, self.note, self.version)


class LabelsIn(BaseModel):
    """Labels; all are taken, or none."""

    model_config = ConfigDict(extra="forbid")

    labels: Annotated[list[LabelIn], Field(min_length=1, max_length=MAX_CHANGES)]


class RoundIn(BaseModel):
    """What a round is to be."""

    model_config = ConfigDict(extra="forbid")

    count: Annotated[int, Field(ge=1, le=MAX_COUNT, description="Candidates")] = (
        DEFAULT_COUNT
    )
    explore: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            allow_inf_nan=False,
            description="Part of them that is chosen for being uncertain",
        ),
    ] = DEFAULT_EXPLORE
    where: Annotated[
        str | None, Field(max_length=2000, description="Filter on columns")
    ] = None

    def wishes(self) -> Wishes:
        """As the index takes them."""
        return Wishes(self.count, self.explore, self.where)


class SessionLinks(BaseModel):
    """Where there is more about a session."""

    self: str
    labels: str
    rounds: str
    candidates: str
    export: str

    @classmethod
    def of(cls, session: DiscoverySession, root: str) -> Self:
        """Links of a session; `root` is the service's path prefix."""
        here = f"{root}/sessions/{session.session_id}"
        parts = ("labels", "rounds", "candidates", "export")
        return cls(self=here, **{part: f"{here}/{part}" for part in parts})


class SessionOut(BaseModel):
    """A session."""

    session_id: str
    name: str
    notes: str
    exclude: list[str]
    version: Annotated[int, Field(description="Larger with every change")]
    created_at: datetime
    updated_at: datetime
    links: SessionLinks

    @classmethod
    def of(cls, session: DiscoverySession, root: str) -> Self:
        """On the wire."""
        return cls(
            session_id=session.session_id,
            name=session.name,
            notes=session.notes,
            exclude=list(session.exclude),
            version=session.version,
            created_at=session.created_at,
            updated_at=session.updated_at,
            links=SessionLinks.of(session, root),
        )


class SessionsOut(BaseModel):
    """Sessions, the one that changed last first."""

    sessions: list[SessionOut]
    next: str | None


class SessionReport(SessionOut):
    """A session with what it knows of the generation in force."""

    generation: GenerationOut
    counts: Annotated[
        dict[str, int],
        Field(description="Sources by label; unlabelled: proposed, nothing said"),
    ]
    vanished: Annotated[
        list[str],
        Field(description="Labelled sources that this generation does not have"),
    ]
    rounds: Annotated[int, Field(description="Made so far; the next is one more")]


class MarkOut(BaseModel):
    """What a session knows of a source."""

    source_id: str
    label: Label | None
    note: str
    version: Annotated[int, Field(description="That the next change must name")]
    updated_at: datetime
    round: int | None
    place: int | None
    strategy: Strategy | None
    score: Annotated[
        float | None, Field(description="Distance from the boundary when proposed")
    ]
    similarity: Annotated[
        float | None, Field(description="Cosine to the nearest like when proposed")
    ]
    source: Annotated[SourceOut | None, Field(description="Null where it has vanished")]
    links: Links | None
    field_arcsec: float | None

    @classmethod
    def of(cls, mark: Mark, source: Source | None, served: Served, root: str) -> Self:
        """On the wire."""
        cutout = source is not None and served.has_cutout(source)
        return cls(
            source_id=mark.source_id,
            label=mark.label,
            note=mark.note,
            version=mark.version,
            updated_at=mark.updated_at,
            round=mark.round,
            place=mark.place,
            strategy=mark.strategy,
            score=mark.score,
            similarity=mark.similarity,
            source=None if source is None else SourceOut.of(source),
            links=None if source is None else Links.of(source, root, cutout=cutout),
            field_arcsec=None if source is None else served.field_of(source),
        )


class MarksOut(BaseModel):
    """Sources of a session, in the order of IDs."""

    generation: GenerationOut
    session_version: int
    labels: list[MarkOut]
    next: str | None = None


class RoundOut(BaseModel):
    """A round, and what it came from."""

    number: int
    count: int
    explore: float
    where: str | None
    generation: int
    encoder: str
    catalogue: str
    catalogue_digest: str
    likes: int
    dislikes: int
    created_at: datetime

    @classmethod
    def of(cls, made: Round) -> Self:
        """On the wire."""
        return cls(
            number=made.number,
            count=made.count,
            explore=made.explore,
            where=made.where,
            generation=made.generation,
            encoder=made.encoder_id,
            catalogue=made.catalogue_name,
            catalogue_digest=made.catalogue_digest,
            likes=made.likes,
            dislikes=made.dislikes,
            created_at=made.created_at,
        )


class RoundsOut(BaseModel):
    """All rounds, the first one first."""

    rounds: list[RoundOut]


class ProposedOut(RoundOut):
    """A round with its candidates, those of exploitation first."""

    candidates: list[MarkOut]

    @classmethod
    def with_candidates(cls, proposed: Proposed, served: Served, root: str) -> Self:
        """On the wire."""
        return cls(
            **RoundOut.of(proposed.round).model_dump(),
            candidates=[
                MarkOut.of(mark, source, served, root)
                for mark, source in proposed.candidates
            ],
        )


class CandidateOut(BaseModel):
    """A source that may be of the kind."""

    rank: int
    score: Annotated[
        float,
        Field(description="Distance from the boundary; larger is earlier"),
    ]
    similarity: Annotated[float, Field(description="Cosine to the nearest like")]
    round: Annotated[int | None, Field(description="In which it was proposed")]
    version: Annotated[int, Field(description="That a label must name")]
    field_arcsec: float | None
    source: SourceOut
    links: Links

    @classmethod
    def of(cls, candidate: Candidate, served: Served, root: str) -> Self:
        """On the wire."""
        source, mark = candidate.source, candidate.mark
        return cls(
            rank=candidate.rank,
            score=candidate.score,
            similarity=candidate.similarity,
            round=None if mark is None else mark.round,
            version=0 if mark is None else mark.version,
            field_arcsec=served.field_of(source),
            source=SourceOut.of(source),
            links=Links.of(source, root, cutout=served.has_cutout(source)),
        )


class CandidatesOut(BaseModel):
    """Candidates by what is labelled now, the best first."""

    session_version: int
    generation: GenerationOut
    candidates: list[CandidateOut]


class KnownListOut(BaseModel):
    """A named list of known sources."""

    name: str
    entries: int
    radius_arcsec: float
    digest: str
    updated_at: datetime

    @classmethod
    def of(cls, known: KnownList) -> Self:
        """On the wire."""
        return cls(
            name=known.name,
            entries=known.entries,
            radius_arcsec=known.radius_arcsec,
            digest=known.digest,
            updated_at=known.updated_at,
        )


class KnownListsOut(BaseModel):
    """All lists by name."""

    lists: list[KnownListOut]


LabelFilter = Literal["example", "like", "dislike", "none"]
