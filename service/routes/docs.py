"""The interactive description of the API, without any asset from elsewhere."""

from pathlib import Path

import fastapi_offline
from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from fastapi.templating import Jinja2Templates

from twinjet.service.scopes import PUBLIC

router = APIRouter(include_in_schema=False, dependencies=[PUBLIC])

_ASSETS = Path(fastapi_offline.__file__).parent / "static"
_templates = Jinja2Templates(Path(__file__).parent.parent / "templates")


@router.get("/docs")
def docs(request: Request) -> Response:
    return _templates.TemplateResponse(request, "docs.html", {})


@router.get("/docs/swagger-ui.js")
def script() -> FileResponse:
    return FileResponse(_ASSETS / "swagger-ui-bundle.js", media_type="text/javascript")


@router.get("/docs/swagger-ui.css")
def style() -> FileResponse:
    return FileResponse(_ASSETS / "swagger-ui.css", media_type="text/css")
