"""Is the process alive, can it answer."""

from fastapi import APIRouter, Response

from twinjet.index.errors import NoGenerationError
from twinjet.service.dependencies import ResourcesDep
from twinjet.service.schemas import Health

router = APIRouter(tags=["operations"])


@router.get("/livez", summary="The process answers")
async def livez() -> Health:
    return Health(status="ok")


@router.get(
    "/readyz",
    summary="The service can answer a search",
    responses={503: {"model": Health, "description": "No index to answer from"}},
)
def readyz(held: ResourcesDep, response: Response) -> Health:
    try:
        number = held.served.generation.number
    except NoGenerationError as exc:
        response.status_code = 503
        return Health(status="unavailable", trouble=str(exc))
    trouble = held.trouble or held.mismatch()
    return Health(
        status="degraded" if trouble else "ok", generation=number, trouble=trouble
    )
