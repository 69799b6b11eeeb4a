"""What a decoder may take and do: limits of this process, for the rest of its life."""

import ctypes
import math
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from twinjet.service.decoding.syscalls import only_memory_and_open_sockets


@dataclass(frozen=True)
class Allowance:
    """What one file may take."""

    room_bytes: int
    """Memory."""
    cpu_s: int
    """Processor time."""
    wall_s: float
    """From the first byte to the answer; kept by who waits for it."""
    reply_bytes: int
    """Of what comes of it."""


IMAGE = Allowance(
    # 16 Mpx take 150 MiB, a gzip of 64 MiB takes 120.
    room_bytes=256 * 2**20,
    # The largest takes a second.
    cpu_s=5,
    wall_s=8.0,
    # 512 px; recipes have some 80.
    reply_bytes=4 * 512**2,
)
"""Of a cutout."""

TABLE = Allowance(
    # 200,000 rows of 16 columns take 160 MiB.
    room_bytes=384 * 2**20,
    # 45 MB of VOTable took 16 s on a core of 2026, 62 MB of CSV 3 s.
    cpu_s=20,
    wall_s=40.0,
    # 200,000 IDs of some length.
    reply_bytes=32 * 2**20,
)
"""Of a table that names sources."""

# Its socket and /dev/null thrice are in use.
_MAX_OPEN_FILES = 8

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def enter(allowance: Allowance) -> bool:
    """Take away what decoding does not need; there is no way back.

    Everywhere: memory, written files (none), open files, core dumps, processes. On
    Linux this process ends with its parent and gains no privileges by what it runs.

    Parameters
    ----------
    allowance
        Of each file.

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
    _limit(resource.RLIMIT_AS, _address_space_bytes() + allowance.room_bytes)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_PDEATHSIG")
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
    return only_memory_and_open_sockets(libc)


def allow_cpu(seconds: int) -> None:
    """Let the next file have some seconds of processor time; then SIGXCPU."""
    # The limit is in whole seconds of all that this process has used.
    soft = math.ceil(time.process_time()) + seconds
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _limit(what: int, most: int) -> None:
    resource.setrlimit(what, (most, most))


def _address_space_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
