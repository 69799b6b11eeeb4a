"""Is the process alive, can it answer."""

from fastapi import APIRouter, Request, Response

from twinjet.service.dependencies import ResourcesDep
from twinjet.service.ending import Ending
from twinjet.service.errors import without_home
from twinjet.service.readiness import readiness
from twinjet.service.schemas import Health
from twinjet.service.scopes import PUBLIC

router = APIRouter(tags=["operations"], dependencies=[PUBLIC])


@router.get("/livez", summary="The process answers")
async def livez() -> Health:
    return Health(status="ok")


@router.get(
    "/readyz",
    summary="The service can answer a search",
    responses={
        503: {
            "model": Health,
            "description": "No index to answer from, or the service is ending",
        }
    },
)
def readyz(request: Request, held: ResourcesDep, response: Response) -> Health:
    found = readiness(held)
    number = None if found.generation is None else found.generation.number
    trouble = None if found.trouble is None else without_home(request, found.trouble)
    health = Health(status=found.status, generation=number, trouble=trouble)
    ending: Ending = request.app.state.ending
    if ending.begun:
        health.status, health.trouble = "unavailable", "the service is ending"
    if health.status == "unavailable":
        response.status_code = 503
    return health
