"""Is the process alive, can it answer."""

from fastapi import APIRouter, Response

from twinjet.service.dependencies import ResourcesDep
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
    responses={503: {"model": Health, "description": "No index to answer from"}},
)
def readyz(held: ResourcesDep, response: Response) -> Health:
    found = readiness(held)
    if found.generation is None:
        response.status_code = 503
    number = None if found.generation is None else found.generation.number
    return Health(status=found.status, generation=number, trouble=found.trouble)
