"""The page for people."""

from importlib.metadata import version
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.templating import Jinja2Templates

from twinjet.service.scopes import PUBLIC

router = APIRouter(include_in_schema=False, dependencies=[PUBLIC])

_FOLDER = Path(__file__).parent.parent
STATIC = _FOLDER / "static"
_templates = Jinja2Templates(_FOLDER / "templates")


@router.get("/")
def page(request: Request) -> Response:
    return _templates.TemplateResponse(
        request, "index.html", {"version": version("twinjet")}
    )
