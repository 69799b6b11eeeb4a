"""Figures for Prometheus."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from twinjet.service.dependencies import ResourcesDep
from twinjet.service.metrics import Metrics
from twinjet.service.readiness import measure
from twinjet.service.responses import problems
from twinjet.service.scopes import READ

router = APIRouter(tags=["operations"], dependencies=[READ])


@router.get(
    "/metrics",
    summary="Figures for Prometheus: requests, durations, what is served",
    response_class=PlainTextResponse,
    responses={503: problems(503)[503]},
)
def metrics(
    request: Request,
    held: ResourcesDep,
) -> Response:
    figures: Metrics = request.app.state.metrics
    measure(held, figures)
    text, media_type = figures.exposition(request.headers.get("accept", ""))
    return Response(text, headers={"Content-Type": media_type})
