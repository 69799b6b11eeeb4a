"""The page for people."""

from importlib.metadata import version
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.templating import Jinja2Templates

from twinjet.service.scopes import PUBLIC

router = APIRouter(include_in_schema=False, dependencies=[PUBLIC])

_FOLDER = Path(__file__).parent.parent
STATIC = _FOLDER / "static"
# Answers have addresses of others in them, of which a crawler would ask for each.
_ROBOTS = """User-agent: *
Disallow: /
Allow: /$
Allow: /docs
Allow: /openapi.json$
Allow: /static/
"""
_templates = Jinja2Templates(_FOLDER / "templates")


@router.get("/")
def page(request: Request) -> Response:
    return _templates.TemplateResponse(
        request, "index.html", {"version": version("twinjet")}
    )


@router.get("/robots.txt")
def robots() -> PlainTextResponse:
    """What crawlers may look at (RFC 9309): the pages, and nothing that is computed."""
    return PlainTextResponse(_ROBOTS)
