"""The program of a decoder that has been taken over: it does what its file says.

All else is the real one: the process, its limits, its filter, its socket.
"""

import ctypes
import json
import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twinjet.model.errors import MalformedFitsError
from twinjet.service.decoding import child, images
from twinjet.service.decoding.sandbox import IMAGE
from twinjet.service.decoding.wire import LENGTHS

_LINE = 0
_PARENT = os.getppid()


def _burn() -> None:
    while True:
        pass


def _allocate() -> None:
    held = []
    while True:
        held.append(bytearray(2**20))


def _wait() -> None:
    # Nothing comes: who has asked waits for an answer.
    os.read(_LINE, 1)


def _raise() -> None:
    msg = "\x1b[31m these are bytes of the file"
    raise ZeroDivisionError(msg)


def _end() -> None:
    os._exit(7)


def _crash() -> None:
    ctypes.string_at(0)


def _close() -> None:
    os.close(_LINE)
    _burn()


def _lie(head: bytes, image: bytes = b"") -> None:
    """Say what no decoder says, and wait."""
    os.write(_LINE, LENGTHS.pack(len(head), len(image)) + head + image)
    _wait()


def _say_more_and_more() -> None:
    while True:
        os.write(_LINE, b"\xff" * 2**20)


def _reach_out() -> None:
    """Try what it may not, and tell what has worked."""
    parent = _PARENT
    tries: dict[str, Callable[[], Any]] = {
        "TCP": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        "UDP": lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM),
        "other sockets": lambda: socket.socket(socket.AF_UNIX),
        "read": lambda: Path("/etc/hostname").read_bytes(),
        "environment of the service": Path(f"/proc/{parent}/environ").read_bytes,
        "list": lambda: list(Path("/").iterdir()),
        "write": lambda: Path("/tmp/odd").write_bytes(b"1"),  # noqa: S108
        "run": lambda: subprocess.run(["/bin/true"], check=True),
        "fork": os.fork,
        "thread": threading.Thread(target=int).start,
        "signal": lambda: os.kill(parent, 0),
        "limits of the service": lambda: resource.prlimit(parent, resource.RLIMIT_CPU),
        "more memory": lambda: resource.setrlimit(resource.RLIMIT_AS, (-1, -1)),
    }
    worked = []
    for name, attempt in tries.items():
        try:
            attempt()
        except (OSError, RuntimeError, ValueError):
            continue
        worked.append(name)
    raise MalformedFitsError(json.dumps(worked))


def _tell_environment() -> None:
    raise MalformedFitsError(" ".join(sorted(os.environ)))


_DEEDS: dict[bytes, Callable[[], None]] = {
    b"burn": _burn,
    b"allocate": _allocate,
    b"wait": _wait,
    b"raise": _raise,
    b"end": _end,
    b"crash": _crash,
    b"close": _close,
    b"no json": lambda: _lie(b"{"),
    b"a pickle": lambda: _lie(b"cos\nsystem\n(S'touch /tmp/odd'\ntR."),
    b"another error": lambda: _lie(_refusal(error="SystemExit")),
    b"an escape": lambda: _lie(_refusal(message="\x1b[31m")),
    b"more than asked": lambda: _lie(_refusal(surplus="1")),
    b"no number": lambda: _lie(_prepared().replace(b"1.0", b"NaN"), bytes(4 * 80**2)),
    b"no image": lambda: _lie(_prepared(), b""),
    b"white": lambda: _lie(_prepared(), b"\xff" * 4 * 80**2),
    b"wider": lambda: _lie(_prepared(side=79), bytes(4 * 79**2)),
    b"nowhere": lambda: _lie(_prepared(position=[0.0, 91.0]), bytes(4 * 80**2)),
    b"endless": _say_more_and_more,
    b"reach out": _reach_out,
    b"environment": _tell_environment,
}

LIES = (
    *("no json", "a pickle", "another error", "an escape", "more than asked"),
    *("no number", "no image", "white", "wider", "nowhere", "endless"),
)


def _refusal(**other: Any) -> bytes:
    said: dict[str, Any] = {
        "kind": "refused",
        "error": "NoImageError",
        "message": "it has none",
    }
    said |= {"parameter": None, "limit": None, "actual": None, "candidates": None}
    return json.dumps(said | other).encode()


def _prepared(**other: Any) -> bytes:
    said: dict[str, Any] = {
        "kind": "prepared",
        "side": 80,
        "noise": 1.0,
        "peak_snr": 9.5,
    }
    said |= {"position": None, "has_scale": True, "notes": [], "preparation_notes": []}
    return json.dumps(said | other).encode()


def _obeyed(task: dict[str, Any], data: bytes) -> child.Answer:
    if data in _DEEDS:
        _DEEDS[data]()
    return images.decoded(task, data)


if __name__ == "__main__":
    if "--never" in sys.argv:
        sys.exit(3)
    child.main(_obeyed, IMAGE)
