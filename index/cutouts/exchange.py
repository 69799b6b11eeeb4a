"""One exchange with an archive: redirects, deadlines, sizes and what a status means."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NoReturn

import httpx2 as httpx

from twinjet.index.cutouts.answers import page_message
from twinjet.index.cutouts.errors import ArchiveTroubleError, NoCoverageError
from twinjet.index.cutouts.gate import gate_of
from twinjet.model.decode import MAX_FILE_BYTES

# Those that pass by themselves (RFC 9110, section 15).
_AGAIN = frozenset({429, 500, 502, 503, 504})

# SODA 1.0, section 4.2: a cutout without pixels. A service that has moved or is broken
# says 404, 400 or 410 of every source, so these are no refusal of one.
_NO_PIXELS = 204

_MAX_REDIRECTS = 5

# Of a page that says what is wrong.
_ERROR_BYTES = 65_536


@dataclass(frozen=True)
class Politeness:
    """How an archive is asked; the defaults suit a small institute's server."""

    rate_per_s: float = 2.0
    """Requests a second to one host, evenly spaced."""
    concurrency: int = 2
    """Requests to one host at the same time."""
    connect_s: float = 15.0
    """Longest wait for a connection."""
    read_s: float = 60.0
    """Longest silence within an answer; a mosaic may take this long to begin."""
    deadline_s: float = 120.0
    """Longest time of a whole answer."""
    attempts: int = 5
    """Times that a request is made before the archive counts as in trouble."""
    backoff_s: float = 1.0
    """The wait after the first failure is drawn from 0 to this, then doubled."""
    longest_wait_s: float = 120.0
    """Of one back-off; an archive that asks for more is not asked in this run."""
    max_bytes: int = MAX_FILE_BYTES
    """Of an answer."""


class Exchange:
    """Sends requests in turn and reads their answers; every thread may use it.

    Parameters
    ----------
    http
        Sends; it must not follow redirects by itself.
    politeness
        Limits.
    hosts
        Host names that an archive may send us on to, besides itself.
    """

    def __init__(
        self, http: httpx.Client, politeness: Politeness, hosts: frozenset[str]
    ) -> None:
        self._http = http
        self._politeness = politeness
        self._hosts = hosts

    def body(self, request: httpx.Request) -> bytes:
        """Bytes of an answer, wherever the archive sends us on to.

        Raises
        ------
        NoCoverageError, ArchiveTroubleError
            There is none, for good or for now.
        """
        archive = request.url
        for _ in range(_MAX_REDIRECTS + 1):
            with gate_of(request.url.netloc.decode()).turn(
                interval_s=1 / self._politeness.rate_per_s,
                concurrency=self._politeness.concurrency,
                longest_wait_s=self._politeness.longest_wait_s,
            ):
                answer = self._answer(request)
            if isinstance(answer, bytes):
                return answer
            self.check_way(archive, answer.url)
            request = answer
        msg = f"{archive.host} sent us on more than {_MAX_REDIRECTS} times"
        raise ArchiveTroubleError(msg)

    def _answer(self, request: httpx.Request) -> bytes | httpx.Request:
        """Bytes of one answer, or the request that it sends us on to."""
        host = request.url.host
        deadline = time.monotonic() + self._politeness.deadline_s
        try:
            response = self._http.send(request, stream=True)
            try:
                if response.next_request is not None:
                    return response.next_request
                if response.status_code == httpx.codes.OK:
                    return self._read(response, self._politeness.max_bytes, deadline)
                self._refuse(response, deadline)
            finally:
                response.close()
        except httpx.TransportError as exc:
            again = not isinstance(exc, httpx.UnsupportedProtocol)
            raise ArchiveTroubleError(_in_words(exc, host), again=again) from exc

    def _read(self, response: httpx.Response, limit: int, deadline: float) -> bytes:
        """All bytes of an answer, as they are sent."""
        host = response.url.host
        parts, size = [], 0
        for part in response.iter_raw():
            parts.append(part)
            size += len(part)
            if size > limit:
                msg = f"the answer of {host} is larger than {limit} bytes"
                raise ArchiveTroubleError(msg)
            if time.monotonic() > deadline:
                msg = (
                    f"the answer of {host} took longer than "
                    f"{self._politeness.deadline_s:g} s; {size} bytes had come"
                )
                raise ArchiveTroubleError(msg, again=True)
        return b"".join(parts)

    def _refuse(self, response: httpx.Response, deadline: float) -> NoReturn:
        """Raise what a status other than 200 means."""
        host, status = response.url.host, response.status_code
        try:
            page = self._read(response, _ERROR_BYTES, deadline)
            said = page_message(page) if page else ""
        except (ArchiveTroubleError, httpx.TransportError):
            said = ""
        msg = f"{host} answered {status} {response.reason_phrase}".rstrip()
        msg += f": {said}" if said else ""
        if status in _AGAIN:
            wait_s = _retry_after_s(response.headers.get("Retry-After"))
            gate_of(response.url.netloc.decode()).close_for(wait_s, msg)
        if status == _NO_PIXELS:
            raise NoCoverageError(msg)
        raise ArchiveTroubleError(msg, again=status in _AGAIN, refused=True)

    def check_way(self, archive: httpx.URL, target: httpx.URL) -> None:
        """Refuse to be sent to a host nobody named, or off an encrypted way.

        Raises
        ------
        ArchiveTroubleError
            The target is such.
        """
        if target.host != archive.host and target.host not in self._hosts:
            msg = (
                f"{archive.host} sent us on to {target.host!r}, which is not "
                "among the hosts that were allowed"
            )
            raise ArchiveTroubleError(msg)
        if target.scheme not in {"https", archive.scheme}:
            msg = f"{archive.host} sent us on from {archive.scheme} to {target.scheme}"
            raise ArchiveTroubleError(msg)


def _in_words(exc: httpx.TransportError, host: str) -> str:
    if isinstance(exc, httpx.ConnectTimeout):
        return f"no connection to {host} in time"
    if isinstance(exc, httpx.TimeoutException):
        return f"{host} was silent for too long"
    if isinstance(exc, httpx.ConnectError):
        return f"no connection to {host}: {exc}"
    return f"{host} broke off: {exc or type(exc).__name__}"


def _retry_after_s(value: str | None) -> float:
    """Seconds of a Retry-After header, a number or a date; 0 when it is neither."""
    if value is None:
        return 0.0
    if value.strip().isdecimal():
        return min(float(value), 1e9)
    try:
        then = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return max(0.0, (then - datetime.now(UTC)).total_seconds())
