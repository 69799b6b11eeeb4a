"""The application: `create_app` wires everything, nothing happens at import."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version

import torch
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from twinjet.service import errors, logs
from twinjet.service.admission import Admission
from twinjet.service.config import Config
from twinjet.service.ending import Ending, LastAnswers
from twinjet.service.headers import SecurityHeaders
from twinjet.service.limits import BodyLimit, BodyPace
from twinjet.service.metrics import Metrics
from twinjet.service.observation import Observation, Unforeseen
from twinjet.service.protocol import PATIENCE
from twinjet.service.readiness import measure
from twinjet.service.request_ids import RequestIds
from twinjet.service.resources import Resources
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
from twinjet.service.timings import ServerTiming

_DESCRIPTION = """
Show it one radio galaxy, it finds the twins.

Angles are ICRS degrees unless a name says arcsec. Similarity is the cosine between
embeddings. Errors are problem documents (RFC 9457). In a query string write the `+`
of a name as `%2B`.
"""


def create_app(config: Config | None = None) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    config
        Settings; from the environment when None, as for `uvicorn --factory`.
    """
    settings = config or Config()
    logs.configure(settings.log_format)
    figures = Metrics()
    ending = Ending(settings.drain_s)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, object]]:
        if settings.threads:
            torch.set_num_threads(settings.threads)
        resources = await asyncio.to_thread(Resources, settings)
        app.state.resources = resources
        await asyncio.to_thread(resources.refresh)
        await asyncio.to_thread(measure, resources, figures)
        watch = asyncio.create_task(
            resources.refresh_for_ever(lambda: measure(resources, figures))
        )
        ending.wait_for_signal()
        try:
            yield {PATIENCE: settings.connection_stall_s}
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
            await asyncio.to_thread(resources.close)
            figures.close()

    app = FastAPI(
        title="Twinjet",
        version=version("twinjet"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.metrics = figures
    app.state.ending = ending
    errors.install(app)
    # The one that is added last sees the request first.
    app.add_middleware(BodyLimit, max_upload_bytes=settings.max_upload_bytes)
    app.add_middleware(
        BodyPace,
        stall_s=settings.body_stall_s,
        bytes_per_s=settings.body_bytes_per_s,
    )
    app.add_middleware(Unforeseen)
    app.add_middleware(Admission, places=settings.reads, wait_s=settings.read_wait_s)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(ServerTiming)
    app.add_middleware(LastAnswers, ending=ending)
    app.add_middleware(Observation, metrics=figures)
    app.add_middleware(RequestIds)
    # JSON before uploads, where they have a path in common.
    for module in (
        *(pages, docs, examples, batch, similar, probe, sources, generations),
        *(outliers, jobs, health, metrics, sessions, lists),
    ):
        app.include_router(module.router)
    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")
    return app
