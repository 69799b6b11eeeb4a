"""A filter of system calls (seccomp): what is not on the list fails with EPERM.

The list is what it takes to compute and to answer on a socket that is open. So there is
no network, no file, no process, no signal to others, whatever code runs, and whoever
the user is: no privilege is needed, and containers without capabilities have it.
"""

import ctypes
import platform
import struct
from dataclasses import dataclass

# By name in the order of the table below.
_NAMES = (
    *("read", "write", "close", "fstat", "lseek", "mmap", "mprotect", "munmap", "brk"),
    *("mremap", "madvise", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn"),
    *("sigaltstack", "getpid", "gettid", "sendto", "recvfrom", "exit", "exit_group"),
    *("getrusage", "gettimeofday", "clock_gettime", "futex", "sched_yield"),
    *("sched_getaffinity", "getrandom", "restart_syscall"),
)


@dataclass(frozen=True)
class _Machine:
    """How a kernel calls its calls; from its ``unistd.h`` and ``audit.h``."""

    audit: int
    numbers: tuple[int, ...]
    prlimit: int
    seccomp: int


_MACHINES = {
    "x86_64": _Machine(
        audit=0xC000003E,
        numbers=(
            *(0, 1, 3, 5, 8, 9, 10, 11, 12),
            *(25, 28, 13, 14, 15),
            *(131, 39, 186, 44, 45, 60, 231),
            *(98, 96, 228, 202, 24),
            *(204, 318, 219),
        ),
        prlimit=302,
        seccomp=317,
    ),
    "aarch64": _Machine(
        audit=0xC00000B7,
        numbers=(
            *(63, 64, 57, 80, 62, 222, 226, 215, 214),
            *(216, 233, 134, 135, 139),
            *(132, 172, 178, 206, 207, 93, 94),
            *(165, 169, 113, 98, 124),
            *(123, 278, 128),
        ),
        prlimit=261,
        seccomp=277,
    ),
}

# Of linux/bpf_common.h, linux/seccomp.h and errno.h.
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_KILL_PROCESS, _EPERM, _ALLOW = 0x80000000, 0x00050001, 0x7FFF0000
_SET_MODE_FILTER, _TSYNC = 1, 1

# Offsets in struct seccomp_data: call, architecture, lower half of the first argument.
_NUMBER, _ARCHITECTURE, _FIRST = 0, 4, 16


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def only_memory_and_open_sockets(libc: ctypes.CDLL) -> bool:
    """Filter the calls of all threads of this process, for ever.

    ``PR_SET_NO_NEW_PRIVS`` must have been set.

    Returns
    -------
    bool
        False where this kernel or machine has no such filter.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return False
    code = _program(machine)
    program = _Program(len(code) // 8, code)
    done: int = libc.syscall(
        machine.seccomp, _SET_MODE_FILTER, _TSYNC, ctypes.byref(program)
    )
    return done == 0


def _program(machine: _Machine) -> bytes:
    """Instructions: operation, jumps when equal and when not, operand."""
    calls = [
        (_JUMP_EQUAL, len(machine.numbers) - place + 3, 0, number)
        for place, number in enumerate(machine.numbers)
    ]
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
        *calls,
        # Limits of this process, which is 0; never those of another.
        (_JUMP_EQUAL, 0, 2, machine.prlimit),
        (_LOAD, 0, 0, _FIRST),
        (_JUMP_EQUAL, 1, 0, 0),
        (_RETURN, 0, 0, _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
