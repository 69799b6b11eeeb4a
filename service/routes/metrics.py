"""Figures for Prometheus."""

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import PlainTextResponse

from twinjet.service.dependencies import ResourcesDep
from twinjet.service.metrics import Metrics
from twinjet.service.readiness import measure
from twinjet.service.scopes import READ

router = APIRouter(tags=["operations"], dependencies=[READ])


@router.get(
    "/metrics",
    summary="Figures for Prometheus: requests, durations, what is served",
    response_class=PlainTextResponse,
)
def metrics(
    request: Request,
    held: ResourcesDep,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    figures: Metrics = request.app.state.metrics
    measure(held, figures)
    text, media_type = figures.exposition(accept)
    return Response(text, headers={"Content-Type": media_type})
