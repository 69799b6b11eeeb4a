"""What the application has for its life, from the first to the last thing."""

import asyncio
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager

import torch
from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI

from twinjet.index.api_keys import ApiKeys
from twinjet.index.rates import Rates
from twinjet.service.allocator import give_back_for_ever, share_arenas
from twinjet.service.config import Config
from twinjet.service.keyring import Keyring
from twinjet.service.metrics import Metrics
from twinjet.service.pieces import AT_A_TIME
from twinjet.service.rate_limits import RateLimits
from twinjet.service.readiness import measure
from twinjet.service.resources import Resources

# The thread that takes requests and refuses them needs the interpreter for a moment
# only, often; from each thread that computes it would wait for five times as long.
_SWITCH_S = 0.001

# Looks for generations, decoders that end, uploads that are searched for.
_OTHER_THREADS = 16


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
    share_arenas()
    sys.setswitchinterval(_SWITCH_S)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    # By default a small machine has fewer than there are places for requests, and what
    # else is done in threads, looks for a new generation say, would wait for them.
    threads = 2 * settings.places + _OTHER_THREADS
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(threads, "work"))
    # Of the framework, for what is not `async`: 40 by default, however many are let in.
    current_default_thread_limiter().total_tokens = threads
    app.state.pieces = asyncio.Semaphore(AT_A_TIME)
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
        ends.push_async_callback(resources.tables.stop)
        await asyncio.to_thread(resources.refresh)
        await asyncio.to_thread(measure, resources, figures)
        tasks = [
            asyncio.create_task(one)
            for one in (
                resources.refresh_for_ever(lambda: measure(resources, figures)),
                give_back_for_ever(),
            )
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
