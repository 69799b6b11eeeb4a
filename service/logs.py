"""The log: text for people, or a JSON object on each line for machines."""

import logging
import sys
import threading
from types import TracebackType
from typing import IO, Literal

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from twinjet.service.request_ids import current, current_trace

Format = Literal["text", "json"]

_TEXT = "%(asctime)s %(levelname)s %(message)s"

# Loggers with handlers of their own, which would write text.
_FOREIGN = ("dbos", "uvicorn")

_log = logging.getLogger(__name__)


class _Standard(logging.StreamHandler[IO[str]]):
    """Writes to what is standard error when it writes."""

    def __init__(self, log_format: Format) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(formatter(log_format))
        self.addFilter(identified)

    @property
    def stream(self) -> IO[str]:  # type: ignore[override]
        return sys.stderr


def formatter(log_format: Format) -> logging.Formatter:
    """How a record is written.

    JSON has ``time`` (UTC, RFC 3339), ``level``, ``logger``, ``message``, what the
    record was given as ``extra``, and ``exc_info`` with a traceback. It is ASCII on
    one line, whatever the record says: control characters are escaped.
    """
    if log_format == "text":
        return logging.Formatter(_TEXT)
    return JsonFormatter(
        ["levelname", "name", "message"],
        rename_fields={"levelname": "level", "name": "logger"},
        timestamp="time",
        # Of uvicorn: the message once more, with colours.
        reserved_attrs=[*RESERVED_ATTRS, "color_message"],
    )


def identified(record: logging.LogRecord) -> bool:
    """Filter that keeps every record, with the request and the trace it is of."""
    request_id = current()
    if request_id is not None:
        record.request_id = request_id
    trace_id = current_trace()
    if trace_id is not None:
        record.trace_id = trace_id
    return True


def configure(log_format: Format) -> None:
    """Write the log of this process to standard error; again, in another format.

    Text has warnings and errors. JSON has a line for each request, too, and whatever
    else would be text: lines of the server and of the engine of jobs, warnings of
    Python, exceptions that nobody caught. uvicorn's own lines on requests, which have
    the whole address, are left out of it.
    """
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, _Standard):
            root.removeHandler(handler)
    ours = _Standard(log_format)
    root.addHandler(ours)
    # What is wrong with a form is told to who sent it.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    if log_format == "text":
        return
    logging.getLogger("twinjet").setLevel(logging.INFO)
    for name in _FOREIGN:
        logger = logging.getLogger(name)
        logger.handlers[:] = [ours]
        logger.propagate = False
    logging.getLogger("uvicorn.error").handlers.clear()
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False
    logging.captureWarnings(True)  # noqa: FBT003 - the only argument there is
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def _uncaught(
    kind: type[BaseException], exc: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, exc, trace)
        return
    _log.critical("the process ends: %s", kind.__name__, exc_info=(kind, exc, trace))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or issubclass(args.exc_type, SystemExit):
        return
    name = args.thread.name if args.thread else "unknown"
    exc_info = (args.exc_type, args.exc_value, args.exc_traceback)
    _log.error("thread %s ends: %s", name, args.exc_type.__name__, exc_info=exc_info)
