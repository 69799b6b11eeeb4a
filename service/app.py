"""The application: `create_app` wires everything, nothing happens at import."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.metadata import version

import torch
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.middleware.cors import CORSMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from twinjet.index.api_keys import ApiKeys
from twinjet.index.rates import Rates
from twinjet.service import errors, logs
from twinjet.service.access import Access
from twinjet.service.config import Config
from twinjet.service.headers import SecurityHeaders
from twinjet.service.keyring import Keyring
from twinjet.service.limits import BodyLimit, BodyPace
from twinjet.service.metrics import Metrics
from twinjet.service.observation import Observation, Unforeseen
from twinjet.service.rate_limits import RateLimits
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
from twinjet.service.scopes import Level, description
from twinjet.service.timings import ServerTiming

# Between a page of another origin and this service.
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_SENT_HEADERS = ("Authorization", "Idempotency-Key", "X-Request-ID")
_TOLD_HEADERS = (
    *("Twinjet-Generation", "Twinjet-Encoder", "Twinjet-Catalogue", "Twinjet-Exact"),
    *("Server-Timing", "X-Request-ID", "Retry-After", "Link", "Location"),
    *("Content-Disposition", "WWW-Authenticate"),
)

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
    anonymous = _open_to_all(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if settings.threads:
            torch.set_num_threads(settings.threads)
        resources = await asyncio.to_thread(Resources, settings)
        app.state.resources = resources
        keyring = Keyring(ApiKeys(resources.store.engine), settings.admin_key)
        app.state.keyring = keyring
        limits = RateLimits(
            lambda: Rates(settings.metadata_url, settings.files),
            requests_per_minute=settings.requests_per_minute,
            uploads_per_minute=settings.uploads_per_minute,
        )
        app.state.rate_limits = limits
        await asyncio.to_thread(resources.refresh)
        await asyncio.to_thread(measure, resources, figures)
        watch = asyncio.create_task(
            resources.refresh_for_ever(lambda: measure(resources, figures))
        )
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
            await keyring.close()
            await asyncio.to_thread(limits.close)
            await asyncio.to_thread(resources.close)
            figures.close()

    app = FastAPI(
        title="Twinjet",
        version=version("twinjet"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # It would lead to whatever host the request named.
        redirect_slashes=False,
    )
    app.state.metrics = figures
    errors.install(app)
    # The one that is added last sees the request first.
    app.add_middleware(BodyLimit, max_upload_bytes=settings.max_upload_bytes)
    app.add_middleware(
        BodyPace,
        stall_s=settings.body_stall_s,
        bytes_per_s=settings.body_bytes_per_s,
    )
    app.add_middleware(Access, anonymous=anonymous)
    app.add_middleware(Unforeseen)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=_METHODS,
            allow_headers=_SENT_HEADERS,
            expose_headers=_TOLD_HEADERS,
        )
    app.add_middleware(SecurityHeaders, hsts_s=settings.hsts_s)
    app.add_middleware(ServerTiming)
    app.add_middleware(Observation, metrics=figures)
    if settings.trusted_proxies:
        proxies = list(settings.trusted_proxies)
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=proxies)
    app.add_middleware(RequestIds)
    # JSON before uploads, where they have a path in common.
    for module in (
        *(pages, docs, examples, batch, similar, probe, sources, generations),
        *(outliers, jobs, health, metrics, sessions, lists),
    ):
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
