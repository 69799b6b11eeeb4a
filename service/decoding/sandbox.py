"""What a decoder may take and do: limits of this process, for the rest of its life."""

import ctypes
import math
import os
import resource
import signal
import sys
import time
from pathlib import Path

from twinjet.service.decoding.syscalls import only_memory_and_open_sockets

ROOM_BYTES = 256 * 2**20
"""Memory for one upload: 16 Mpx take 150 MiB, a gzip of 64 MiB takes 120."""

CPU_S = 5
"""For one upload: the largest takes a second."""

WALL_S = 8.0
"""From the first byte to the answer; kept by who waits for it."""

# Its socket and /dev/null thrice are in use.
_MAX_OPEN_FILES = 8

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def enter() -> bool:
    """Take away what decoding does not need; there is no way back.

    Everywhere: memory, written files (none), open files, core dumps, processes. On
    Linux this process ends with its parent and gains no privileges by what it runs.

    Returns
    -------
    bool
        Whether system calls are filtered, too: no network, no files, no processes, no
        signals. Linux on x86-64 and ARM has that for everybody.
    """
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, _MAX_OPEN_FILES)
    _limit(resource.RLIMIT_NPROC, 0)
    if sys.platform != "linux":
        return False
    _limit(resource.RLIMIT_AS, _address_space_bytes() + ROOM_BYTES)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_PDEATHSIG")
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
    return only_memory_and_open_sockets(libc)


def allow_cpu() -> None:
    """Let the next upload have its seconds of processor time; then SIGXCPU."""
    # The limit is in whole seconds of all that this process has used.
    soft = math.ceil(time.process_time()) + CPU_S
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _limit(what: int, most: int) -> None:
    resource.setrlimit(what, (most, most))


def _address_space_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
