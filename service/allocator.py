"""How the C library keeps memory that was given back, in a process of many threads."""

import ctypes
import os
import sys

# mallopt's number for it, of glibc's malloc.h.
_ARENA_MAX = -8

_VARIABLE = "MALLOC_ARENA_MAX"


def share_arenas(count: int) -> None:
    """Let all threads allocate from a few arenas instead of one of each one's own.

    An arena keeps some tens of MB of what its searches gave back, and glibc makes up to
    eight for each core, one after the other as threads meet. Where glibc's own variable
    is set it is in force already; other C libraries have no arenas.
    """
    if sys.platform != "linux" or _VARIABLE in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, count)
