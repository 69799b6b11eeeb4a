"""How this process keeps its memory."""

import ctypes

# Numbers of mallopt(3), from glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Have freed memory kept for the next step of training.

    Otherwise glibc gives every large tensor back to the system, whose zeroed pages the
    next step waits for. With the same three settings given as environment variables a
    step of the shipped preset took 1.33 s on one core, and 1.83 s without (batch 128 in
    bfloat16, one short run each, November 2026); through this call it has not been
    timed. The process stays as large as it once was.

    Returns
    -------
    bool
        False where the C library is not glibc; nothing is changed then.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**26))
    return all(mallopt(*setting) == 1 for setting in settings)
