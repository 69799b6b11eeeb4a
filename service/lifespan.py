"""What the application has for its life, from the first to the last thing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import torch
from fastapi import FastAPI

from twinjet.index.api_keys import ApiKeys
from twinjet.index.rates import Rates
from twinjet.service.config import Config
from twinjet.service.keyring import Keyring
from twinjet.service.metrics import Metrics
from twinjet.service.rate_limits import RateLimits
from twinjet.service.readiness import measure
from twinjet.service.resources import Resources


@asynccontextmanager
async def held(app: FastAPI, settings: Config, figures: Metrics) -> AsyncIterator[None]:
    """Resources, keys and limits, in the state of the application.

    Parameters
    ----------
    app
        Of which they are.
    settings
        In force.
    figures
        Of what is served; they are measured after each look for a new generation.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    async with AsyncExitStack() as ends:
        resources = await asyncio.to_thread(Resources, settings)
        ends.push_async_callback(asyncio.to_thread, resources.close)
        app.state.resources = resources
        limits = RateLimits(
            lambda: Rates(settings.metadata_url, settings.files),
            requests_per_minute=settings.requests_per_minute,
            uploads_per_minute=settings.uploads_per_minute,
        )
        ends.push_async_callback(asyncio.to_thread, limits.close)
        app.state.rate_limits = limits
        keyring = Keyring(lambda: ApiKeys(resources.store.engine), settings.admin_key)
        ends.push_async_callback(keyring.close)
        app.state.keyring = keyring
        resources.inference.start()
        ends.push_async_callback(resources.inference.stop)
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
