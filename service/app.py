"""The application: `create_app` wires everything, nothing happens at import."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version

from fastapi import Depends, FastAPI
from fastapi.staticfiles import StaticFiles

from twinjet.service import errors, logs, tracing
from twinjet.service.config import Config, configured
from twinjet.service.ending import Ending
from twinjet.service.lifespan import held
from twinjet.service.metrics import Metrics
from twinjet.service.middleware import add_middleware
from twinjet.service.misconfiguration import ConfigError
from twinjet.service.parameters import known_parameters
from twinjet.service.protocol import PATIENCE
from twinjet.service.routes import (
    batch,
    docs,
    examples,
    generations,
    health,
    jobs,
    lists,
    metrics,
    outliers,
    pages,
    probe,
    sessions,
    similar,
    sources,
)
from twinjet.service.scopes import Level, description

_DESCRIPTION = """
Show it one radio galaxy, it finds the twins.

Angles are ICRS degrees unless a name says arcsec. Similarity is the cosine between
embeddings. Errors are problem documents (RFC 9457). In a query string write the `+`
of a name as `%2B`.
"""


def _of_environment() -> Config:
    try:
        return configured()
    except ConfigError as exc:
        sys.exit(f"twinjet: {exc}")


def create_app(config: Config | None = None) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    config
        Settings; from the environment when None, as for `uvicorn --factory`, which
        ends with one line where one of them cannot be used.
    """
    settings = config or _of_environment()
    logs.configure(settings.log_format)
    figures = Metrics()
    traces = tracing.spans()
    anonymous = _open_to_all(settings)
    ending = Ending(settings.drain_s)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, object]]:
        try:
            async with held(app, settings, figures):
                ending.wait_for_signal()
                yield {PATIENCE: settings.connection_stall_s}
        finally:
            figures.close()
            if traces is not None:
                await asyncio.to_thread(traces.close)

    app = FastAPI(
        title="Twinjet",
        version=version("twinjet"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # It would lead to whatever host the request named.
        redirect_slashes=False,
        # `tracing` and `metrics` tell what there is to tell.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.home = settings.home
    app.state.metrics = figures
    app.state.ending = ending
    errors.install(app)
    add_middleware(
        app,
        settings,
        anonymous=anonymous,
        figures=figures,
        traces=traces,
        ending=ending,
    )
    # JSON before uploads, where they have a path in common.
    for module in (
        *(examples, batch, similar, probe, sources, generations),
        *(outliers, jobs, sessions, lists),
    ):
        app.include_router(module.router, dependencies=[Depends(known_parameters)])
    # Pages, probes and scrapers may add to an address what they like.
    for module in (pages, docs, health, metrics):
        app.include_router(module.router)
    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")
    described = partial(description, app, anonymous)
    app.openapi = described  # type: ignore[method-assign]  # as its manual has it
    return app


def _open_to_all(settings: Config) -> Level:
    """What needs no key."""
    if settings.anonymous == "none":
        return "public"
    return settings.anonymous or "read"
