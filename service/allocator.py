"""Memory that was given back goes back to the system, in a process of many threads."""

import asyncio
import ctypes
import gc
import os
import sys
from typing import Any

# mallopt's number for it, of glibc's malloc.h.
_ARENA_MAX = -8

_VARIABLE = "MALLOC_ARENA_MAX"

# Two, as threads that compute are few; glibc makes up to eight for each core.
_ARENAS = 2

_EVERY_S = 30.0


def _libc() -> Any:
    """The C library, where it is glibc; None of another."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "gnu_get_libc_version") else None


def keep_libraries() -> None:
    """Never look through what is there now for what nobody has any more.

    Those are some 400,000 objects of libraries, which stay: to look through them stops
    all answers for 0.2 s, every few minutes under load. To be called by a process that
    does nothing but serve, when its application is made.
    """
    gc.freeze()


def share_arenas() -> None:
    """Let all threads allocate from the same places, so that less lies between.

    To be called before they are many. Where glibc's own variable is set, it is in force
    already.
    """
    library = _libc()
    if library is not None and _VARIABLE not in os.environ:
        library.mallopt(_ARENA_MAX, _ARENAS)


async def give_back_for_ever() -> None:
    """Give back again and again what nobody uses.

    glibc keeps what was once used at a time: some 20 MB for each thread that has ever
    searched, at 10^5 sources.
    """
    library = _libc()
    while library is not None:
        await asyncio.sleep(_EVERY_S)
        await asyncio.to_thread(library.malloc_trim, 0)
