"""Long answers, which are made while they are sent, a piece at a time."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from typing import TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool

_T = TypeVar("_T")

# For all of them together: each piece is as much work as some searches.
AT_A_TIME = 1


def in_turns(request: Request, pieces: Generator[_T]) -> AsyncGenerator[_T]:
    """Each piece made in a thread when it is its turn; a slow reader has none.

    Downloads have no place among the requests that are computed, for they last as long
    as their clients like; so they share this, and many of them are each slower.
    """
    return one_by_one(request.app.state.pieces, pieces)


async def one_by_one(
    turn: asyncio.Semaphore, pieces: Generator[_T]
) -> AsyncGenerator[_T]:
    """The same, under any bound."""
    try:
        while True:
            async with turn:
                piece = await run_in_threadpool(next, pieces, None)
            if piece is None:
                return
            yield piece
    finally:  # of a client that has gone, too
        pieces.close()
