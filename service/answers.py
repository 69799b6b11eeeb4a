"""Answers of searches on the wire."""

from typing import Any

from fastapi import Request

from twinjet.index.options import MAX_OFFSET
from twinjet.index.search import Answer
from twinjet.index.source import Source
from twinjet.service.paging import next_page
from twinjet.service.resources import Served
from twinjet.service.schemas import (
    GenerationOut,
    Links,
    NeighbourOut,
    QueryOut,
    SimilarOut,
    SourceOut,
)


def similar_out(
    request: Request, served: Served, root: str, answer: Answer, query: QueryOut
) -> SimilarOut:
    """An answer with links, and the address of the next page."""
    return SimilarOut(
        query=query,
        generation=GenerationOut.of(served.manifest, exact=answer.exact),
        neighbours=[
            NeighbourOut.of(
                neighbour,
                root,
                served.field_of(neighbour.source),
                cutout=served.has_cutout(neighbour.source),
            )
            for neighbour in answer.neighbours
        ],
        next=_next_page(request, served, root, answer),
        timings_ms={name: round(ms, 3) for name, ms in answer.timings_ms.items()},
    )


def known_source(source: Source | None, served: Served, root: str) -> dict[str, Any]:
    """Members of the query for a catalogued source."""
    if source is None:
        return {}
    return {
        "source": SourceOut.of(source),
        "links": Links.of(source, root, cutout=served.has_cutout(source)),
        "field_arcsec": served.field_of(source),
    }


def _next_page(
    request: Request, served: Served, root: str, answer: Answer
) -> str | None:
    """The same question to the same generation, further down."""
    if not answer.more or not answer.neighbours:
        return None
    if answer.neighbours[-1].rank > MAX_OFFSET:
        return None
    return next_page(
        request,
        root,
        generation=str(served.manifest.number),
        offset=str(answer.neighbours[-1].rank),
    )
