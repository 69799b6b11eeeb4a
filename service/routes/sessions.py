"""Discovery: sessions, their labels, rounds and candidates."""

import re
from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response

from twinjet.index.discovery.discovery import Discovery
from twinjet.index.discovery.export import WRITERS, Format, session_table
from twinjet.index.discovery.labelling import create_session, few_lists, label
from twinjet.index.discovery.rounds import (
    MAX_CANDIDATES,
    candidates_of,
    make_round,
    round_of,
)
from twinjet.index.discovery.session import (
    MAX_MARKS,
    MAX_NAME,
    MAX_NOTES,
    check_text,
)
from twinjet.index.discovery.sessions import SessionStore
from twinjet.service.dependencies import ResourcesDep, RootDep, ServedDep
from twinjet.service.json_body import JsonBodyRoute
from twinjet.service.paging import next_page
from twinjet.service.responses import BODY, problems
from twinjet.service.routes.generations import PARQUET
from twinjet.service.schemas import GenerationOut
from twinjet.service.schemas_sessions import (
    CandidateOut,
    CandidatesOut,
    LabelFilter,
    LabelsIn,
    MarkOut,
    MarksOut,
    ProposedOut,
    RoundIn,
    RoundOut,
    RoundsOut,
    SessionChange,
    SessionIn,
    SessionOut,
    SessionReport,
    SessionsOut,
)
from twinjet.service.scopes import INGEST, READ

router = APIRouter(
    tags=["discovery"],
    responses=problems(503),
    dependencies=[READ],
    route_class=JsonBodyRoute,
)

_MEDIA_TYPES: dict[Format, tuple[str, str]] = {
    "csv": ("text/csv; charset=utf-8", "csv"),
    "votable": ("application/x-votable+xml", "vot"),
    "parquet": (PARQUET, "parquet"),
}

_MAX_ROUNDS = MAX_MARKS

_KNOWN = problems(404)
_CHANGED = problems(404, 409)
_SENT = problems(404, 409, *BODY)


def kept(held: ResourcesDep) -> SessionStore:
    """Sessions, whether or not there is a generation to look in."""
    return SessionStore(held.store.engine)


def discovery(held: ResourcesDep, served: ServedDep) -> Discovery:
    """Sessions in the generation in force."""
    return Discovery(
        served.searcher.generation,
        held.store,
        radius_arcsec=held.config.duplicate_radius_arcsec,
    )


SessionsDep = Annotated[SessionStore, Depends(kept)]
DiscoveryDep = Annotated[Discovery, Depends(discovery)]
RoundNumber = Annotated[int, Path(ge=1, le=_MAX_ROUNDS)]
WhereQuery = Annotated[
    str | None, Query(max_length=2000, description="Filter on columns")
]


@router.post(
    "/sessions",
    status_code=201,
    summary="Begin a session with examples",
    responses=_SENT,
    dependencies=[INGEST],
)
def create(
    here: DiscoveryDep, root: RootDep, response: Response, body: SessionIn
) -> SessionOut:
    session = create_session(
        here,
        body.name,
        examples=body.examples,
        examples_from=body.examples_from,
        exclude=body.exclude,
        notes=body.notes,
    )
    out = SessionOut.of(session, root)
    response.headers["Location"] = out.links.self
    return out


@router.get("/sessions", summary="Sessions, the one that changed last first")
def list_sessions(
    request: Request,
    sessions: SessionsDep,
    root: RootDep,
    *,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=100_000)] = 0,
) -> SessionsOut:
    found = sessions.sessions(limit=limit + 1, offset=offset)
    following = str(offset + limit)
    return SessionsOut(
        sessions=[SessionOut.of(one, root) for one in found[:limit]],
        next=next_page(request, root, offset=following) if found[limit:] else None,
    )


@router.get(
    "/sessions/{session_id}",
    summary="One session, and what has vanished",
    responses=_KNOWN,
)
def one_session(
    session_id: str, here: DiscoveryDep, served: ServedDep, root: RootDep
) -> SessionReport:
    standing = here.standing(session_id)
    counts = Counter(mark.label or "unlabelled" for mark in standing.marks)
    return SessionReport(
        **SessionOut.of(standing.session, root).model_dump(),
        generation=GenerationOut.of(served.manifest),
        counts=dict(sorted(counts.items())),
        vanished=[mark.source_id for mark in standing.vanished],
        rounds=len(here.sessions.rounds(session_id)),
    )


@router.patch(
    "/sessions/{session_id}",
    summary="Change name, notes or lists",
    responses=_SENT,
    dependencies=[INGEST],
)
def change(
    session_id: str, sessions: SessionsDep, root: RootDep, body: SessionChange
) -> SessionOut:
    name, notes = body.name, body.notes
    changed = sessions.update(
        session_id,
        version=body.version,
        name=None if name is None else check_text("name", name, least=1, most=MAX_NAME),
        notes=None if notes is None else check_text("notes", notes, most=MAX_NOTES),
        exclude=None if body.exclude is None else few_lists(body.exclude),
    )
    return SessionOut.of(changed, root)


@router.delete(
    "/sessions/{session_id}",
    status_code=204,
    summary="Forget a session",
    responses=_KNOWN | problems(507),
    dependencies=[INGEST],
)
def delete(session_id: str, sessions: SessionsDep) -> None:
    sessions.delete(session_id)


@router.get(
    "/sessions/{session_id}/labels",
    summary="Labelled and proposed sources",
    responses=_KNOWN,
)
def labels(
    request: Request,
    session_id: str,
    here: DiscoveryDep,
    served: ServedDep,
    root: RootDep,
    *,
    label: Annotated[
        LabelFilter | None, Query(description="none: proposed and not labelled")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=MAX_MARKS)] = 0,
) -> MarksOut:
    standing = here.standing(session_id)
    wanted = None if label == "none" else label
    marks = [m for m in standing.marks if label is None or m.label == wanted]
    page = marks[offset : offset + limit]
    sources = here.sources_of(standing, page)
    more = len(marks) > offset + limit
    following = str(offset + limit)
    return MarksOut(
        generation=GenerationOut.of(served.manifest),
        session_version=standing.session.version,
        labels=[
            MarkOut.of(mark, sources.get(mark.source_id), served, root) for mark in page
        ],
        next=next_page(request, root, offset=following) if more else None,
    )


@router.post(
    "/sessions/{session_id}/labels",
    summary="Give, change or withdraw labels",
    responses=_SENT,
    dependencies=[INGEST],
)
def give_labels(
    session_id: str,
    here: DiscoveryDep,
    served: ServedDep,
    root: RootDep,
    body: LabelsIn,
) -> MarksOut:
    marks = label(here, session_id, [one.wanted() for one in body.labels])
    standing = here.standing(session_id)
    sources = here.sources_of(standing, marks)
    return MarksOut(
        generation=GenerationOut.of(served.manifest),
        session_version=standing.session.version,
        labels=[
            MarkOut.of(mark, sources.get(mark.source_id), served, root)
            for mark in marks
        ],
    )


@router.get(
    "/sessions/{session_id}/rounds",
    summary="Rounds, and what they came from",
    responses=_KNOWN,
)
def rounds(session_id: str, sessions: SessionsDep) -> RoundsOut:
    sessions.get(session_id)
    return RoundsOut(rounds=[RoundOut.of(one) for one in sessions.rounds(session_id)])


@router.get(
    "/sessions/{session_id}/rounds/{number}", summary="One round", responses=_KNOWN
)
def one_round(
    session_id: str,
    number: RoundNumber,
    here: DiscoveryDep,
    served: ServedDep,
    root: RootDep,
) -> ProposedOut:
    proposed = round_of(here, session_id, number)
    return ProposedOut.with_candidates(proposed, served, root)


@router.put(
    "/sessions/{session_id}/rounds/{number}",
    summary="Propose candidates that were never proposed; again, the same",
    responses=_SENT,
    dependencies=[INGEST],
)
def put_round(
    session_id: str,
    number: RoundNumber,
    here: DiscoveryDep,
    served: ServedDep,
    root: RootDep,
    *,
    body: Annotated[RoundIn | None, Body()] = None,
) -> ProposedOut:
    wishes = (body or RoundIn()).wishes()
    proposed = make_round(here, session_id, number, wishes)
    return ProposedOut.with_candidates(proposed, served, root)


@router.get(
    "/sessions/{session_id}/candidates",
    summary="All candidates, the best first",
    responses=_CHANGED,
)
def candidates(
    session_id: str,
    here: DiscoveryDep,
    served: ServedDep,
    root: RootDep,
    *,
    k: Annotated[int, Query(ge=1, le=1000, description="Candidates wanted")] = 50,
    where: WhereQuery = None,
) -> CandidatesOut:
    standing, found = candidates_of(here, session_id, count=k, where=where)
    return CandidatesOut(
        session_version=standing.session.version,
        generation=GenerationOut.of(served.manifest, exact=True),
        candidates=[CandidateOut.of(one, served, root) for one in found],
    )


@router.get(
    "/sessions/{session_id}/export",
    response_class=Response,
    responses=_CHANGED
    | {200: {"content": {kind: {} for kind, _ in _MEDIA_TYPES.values()}}},
    summary="Labels and candidates as CSV, VOTable or Parquet, with provenance",
)
def export(
    session_id: str,
    here: DiscoveryDep,
    *,
    format: Annotated[  # noqa: A002 - the parameter's name on the wire
        Format, Query(description="Of the table")
    ] = "csv",
    candidates: Annotated[
        int, Query(ge=0, le=MAX_CANDIDATES, description="The best so many")
    ] = 100,
    where: WhereQuery = None,
) -> Response:
    table = session_table(here, session_id, candidates=candidates, where=where)
    kind, ending = _MEDIA_TYPES[format]
    plain = re.sub(r"[^A-Za-z0-9._]+", "-", table.provenance["session"])[:100].strip(
        "-"
    )
    name = f"{plain}-v{table.provenance['session_version']}.{ending}"
    return Response(
        WRITERS[format](table),
        media_type=kind,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
