"""Asking public archives over HTTP without being a burden, or a fool, to them.

`httpx2` asks (the kept successor of httpx, which this project has already), `tenacity`
repeats, `twinjet.index.cutouts.gate` spaces.
"""

import weakref
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import TypeVar

import httpx2 as httpx
from tenacity import (
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from twinjet.index.cutouts.errors import ArchiveTroubleError, NoCoverageError
from twinjet.index.cutouts.exchange import Exchange, Politeness
from twinjet.index.cutouts.gate import gate_of

T = TypeVar("T")

USER_AGENT = (
    f"twinjet/{version('twinjet')} (similarity search for radio galaxies; "
    f"python-httpx2/{httpx.__version__})"
)


class PoliteClient:
    """Asks archives; every thread may use it.

    Parameters
    ----------
    politeness
        How.
    hosts
        Host names that an archive may send us on to, besides itself.
    """

    def __init__(
        self,
        politeness: Politeness | None = None,
        *,
        hosts: frozenset[str] = frozenset(),
    ) -> None:
        self._politeness = politeness or Politeness()
        self._http = httpx.Client(
            # The bytes are kept as they are sent, so nothing may be packed on the way.
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
            timeout=httpx.Timeout(
                min(self._politeness.read_s, self._politeness.deadline_s),
                connect=self._politeness.connect_s,
            ),
        )
        self._exchange = Exchange(self._http, self._politeness, hosts)
        # A provider has no `close`: connections end with it.
        weakref.finalize(self, self._http.close)

    def ask(
        self,
        url: str,
        read: Callable[[bytes, str], T],
        *,
        params: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        sent_by: str | None = None,
    ) -> T:
        """Ask until there is an answer that can be read, or no hope of one.

        Parameters
        ----------
        url
            Where; what it has after a question mark stays.
        read
            Makes the result of the bytes and the host's name, and raises one of the
            two errors below.
        params
            Added to the URL.
        form
            Sent by POST; GET without it.
        sent_by
            URL of the archive in whose answer `url` was found.

        Raises
        ------
        NoCoverageError
            A status, or `read`, says that there is nothing.
        ArchiveTroubleError
            Anything else than an answer; it was asked for again where that may help.
        """
        try:
            target = httpx.URL(url).copy_merge_params(dict(params or {}))
            self._exchange.check_way(httpx.URL(sent_by or url), target)
        except httpx.InvalidURL as exc:
            msg = f"{url[:200]!r} is no URL: {exc}"
            raise ArchiveTroubleError(msg) from exc
        method = "GET" if form is None else "POST"
        request = self._http.build_request(method, target, data=form)
        repeat = Retrying(
            stop=stop_after_attempt(self._politeness.attempts),
            wait=wait_random_exponential(
                multiplier=self._politeness.backoff_s,
                max=self._politeness.longest_wait_s,
            ),
            retry=retry_if_exception(
                lambda exc: isinstance(exc, ArchiveTroubleError) and exc.again
            ),
            reraise=True,
        )
        try:
            result: T = repeat(self._ask_once, request, read)
        except ArchiveTroubleError as exc:
            if not exc.again:
                raise
            msg = f"{exc} (asked {self._politeness.attempts} times)"
            raise ArchiveTroubleError(msg) from exc
        return result

    def _ask_once(self, request: httpx.Request, read: Callable[[bytes, str], T]) -> T:
        gate = gate_of(request.url.netloc.decode())
        try:
            result = read(self._exchange.body(request), request.url.host)
        except ArchiveTroubleError as exc:
            if exc.again or exc.refused:
                gate.note(failed=True)
            raise
        except NoCoverageError:
            gate.note(failed=False)
            raise
        gate.note(failed=False)
        return result
