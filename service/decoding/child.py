"""What each process of a pool does: files come on standard input, which is a socket.

Imports neither torch nor a database nor a web framework: it starts in a second and
takes 100 MB.
"""

import gc
import socket
import traceback
from collections.abc import Callable
from typing import Any

from astropy.utils import iers

from twinjet.index.errors import TwinjetIndexError
from twinjet.model.errors import CutoutError
from twinjet.service.decoding import sandbox
from twinjet.service.decoding.sandbox import Allowance
from twinjet.service.decoding.wire import MAX_TEXT, receive, send

Answer = tuple[dict[str, Any], bytes]
Work = Callable[[dict[str, Any], bytes], Answer]


def main(work: Work, allowance: Allowance) -> None:
    """Do some work with each file that comes, until the line is closed.

    Parameters
    ----------
    work
        Done with each task and its file, inside the sandbox. What it needs of the disk
        is read already: later no file can be opened.
    allowance
        For each file.
    """
    line = socket.socket(fileno=0)
    # Tables of the Earth's rotation are not fetched for a stranger's header.
    iers.conf.auto_download = False
    # What is there now stays: nobody's file is to wait while it is looked through.
    gc.freeze()
    filtered = sandbox.enter(allowance)
    send(line, {"kind": "ready", "filtered": filtered})
    while (asked := receive(line)) is not None:
        sandbox.allow_cpu(allowance.cpu_s)
        task, data = asked
        send(line, *_answered(work, task, data))


def _answered(work: Work, task: dict[str, Any], data: bytes) -> Answer:
    try:
        return work(task, data)
    except (CutoutError, TwinjetIndexError) as exc:
        return _refusal(exc), b""
    except MemoryError:
        return {"kind": "failed", "cause": "MemoryError", "at": ""}, b""
    except Exception as exc:  # noqa: BLE001 - whatever it is, it is told to the parent
        # Where, never what: the text of an exception has bytes of the file.
        last = traceback.extract_tb(exc.__traceback__)[-1]
        at = f"{last.name} in {last.filename.rpartition('/')[2]}:{last.lineno}"
        return {"kind": "failed", "cause": type(exc).__name__, "at": at}, b""


def _refusal(exc: CutoutError | TwinjetIndexError) -> dict[str, Any]:
    return {
        "kind": "refused",
        "error": type(exc).__name__,
        "message": printable(str(exc)),
        "parameter": exc.parameter and printable(exc.parameter),
        "limit": exc.limit,
        "actual": printable(exc.actual) if isinstance(exc.actual, str) else exc.actual,
        "candidates": getattr(exc, "candidates", None),
    }


def printable(text: str) -> str:
    """What is believed of a text: libraries tell damage in several lines."""
    line = " ".join(text[: 2 * MAX_TEXT].split())[:MAX_TEXT]
    return "".join(c if c.isprintable() else "?" for c in line)
