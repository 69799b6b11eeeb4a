"""How much each caller may ask for, by key or by the network that it comes from."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv6Address, ip_address, ip_network

from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.types import Scope

from twinjet.index.errors import DatabaseDamagedError
from twinjet.index.rates import Rates, Refusal
from twinjet.service.content import FORM, media_type
from twinjet.service.errors import TooManyRequestsError
from twinjet.service.keyring import Caller

_log = logging.getLogger(__name__)

# A store that takes longer is away.
_PATIENCE_S = 0.5

# After a failure nothing is counted for so long.
_PAUSE_S = 5.0

# The store is away, or its file damaged: the next opening begins it anew.
_NOT_COUNTED = (SQLAlchemyError, DatabaseDamagedError, OSError)

# A household or an institute has one of these, and all of its addresses.
_IPV6_BITS = 64


class RateLimits:
    """Refuses callers that ask for too much; where it cannot be counted, nobody.

    Parameters
    ----------
    open_rates
        Opens the store of all processes.
    requests_per_minute, uploads_per_minute
        Of a caller whose key has no limits of its own; 0 for none.
    """

    def __init__(
        self,
        open_rates: Callable[[], Rates],
        *,
        requests_per_minute: int,
        uploads_per_minute: int,
    ) -> None:
        self._open = open_rates
        self._requests = requests_per_minute
        self._uploads = uploads_per_minute
        self._rates: Rates | None = None
        # Of its own, so that nothing is waited for but the counting.
        self._thread = ThreadPoolExecutor(1, "rates")
        # When it began with what it counts.
        self._since: float | None = None
        self._resume = 0.0

    async def check(self, scope: Scope, caller: Caller) -> None:
        """Count a request.

        Raises
        ------
        TooManyRequestsError
            There were too many in the last minute.
        """
        own = caller.requests_per_minute
        requests = self._requests if own is None else own
        own = caller.uploads_per_minute
        uploads = self._uploads if own is None else own
        if not (requests or uploads):
            return
        name = f"key {caller.key}" if caller.key else f"peer {network_of(scope)}"
        await self._take(name, requests, "requests")
        if uploads and media_type(Headers(scope=scope)) == FORM:
            await self._take(f"{name} uploads", uploads, "uploads")

    async def _take(self, name: str, limit: int, what: str) -> None:
        if not limit or time.monotonic() < self._resume:
            return
        if self._hangs():
            return  # the store was too slow, and still is
        task = self._thread.submit(self._count, name, limit)
        waited = asyncio.wrap_future(task)
        # Of many at once each waits for those before it, and the store is not slow.
        while not (await asyncio.wait([waited], timeout=_PATIENCE_S))[0]:
            if self._hangs():
                self._pause("the store does not answer")
                return
        try:
            refusal = waited.result()
        except _NOT_COUNTED as exc:
            self._pause(str(exc))
            return
        if refusal is not None:
            raise TooManyRequestsError(
                what, refusal.limit, refusal.actual, refusal.retry_after_s
            )

    def _hangs(self) -> bool:
        since = self._since
        return since is not None and time.monotonic() - since > _PATIENCE_S

    def _pause(self, reason: str) -> None:
        self._resume = time.monotonic() + _PAUSE_S
        _log.warning("for %.0f s requests are not counted: %s", _PAUSE_S, reason)

    def _count(self, name: str, limit: int) -> Refusal | None:
        self._since = time.monotonic()
        try:
            if self._rates is None:
                self._rates = self._open()
            return self._rates.take(name, limit)
        except _NOT_COUNTED:
            self._close()
            raise
        finally:
            self._since = None

    def _close(self) -> None:
        rates, self._rates = self._rates, None
        if rates is not None:
            rates.close()

    def close(self) -> None:
        """Close the store, unless it hangs."""
        if not self._hangs():
            self._thread.submit(self._close)
            self._thread.shutdown()


def network_of(scope: Scope) -> str:
    """Whom a request without a key is counted for.

    Examples
    --------
    >>> network_of({"client": ("192.0.2.7", 1)})
    '192.0.2.7'
    >>> network_of({"client": ("2001:db8:1:2:3::4", 1)})
    '2001:db8:1:2::/64'
    >>> network_of({"client": ("::ffff:192.0.2.7", 1)})
    '192.0.2.7'
    """
    client = scope.get("client")
    host = client[0] if client else "unknown"
    try:
        address = ip_address(host)
    except ValueError:  # a local socket, or what a proxy calls a client
        return str(host)[:50]
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ip_network((int(address), _IPV6_BITS), strict=False))
    return str(address)
