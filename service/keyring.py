"""Whose key came with a request, looked up twice a second for each key that is used."""

import asyncio
import hmac
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import TypeVar

from pydantic import SecretStr
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from twinjet.index.api_keys import MAX_BYTES, USED_EVERY, ApiKey, ApiKeys
from twinjet.index.errors import DatabaseDamagedError
from twinjet.service.scopes import Level

_log = logging.getLogger(__name__)

# A key that is revoked is known so long; all processes have promised a second.
_KNOWN_S = 0.5

# Keys that are known at a time; others cost a look into the store.
_KNOWN = 1024

# The database answers in so long a time, or it is away.
_PATIENCE_S = 2.0

_THREADS = 4

_T = TypeVar("_T")

_REALM = 'Bearer realm="twinjet"'
_INVALID = "invalid_token"


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    level: Level
    key: str | None = None
    """Prefix of the key, ``admin`` for that of the settings; None without one."""
    requests_per_minute: int | None = None
    """Instead of the limit of the service; None for that one."""
    uploads_per_minute: int | None = None


class Keyring:
    """Finds out whose a key is.

    Parameters
    ----------
    keys
        Those of the installation, or the error that says why there are none.
    admin_key
        Of the settings: it opens everything, also when the store is away.
    now
        The clock that keys expire by.
    """

    def __init__(
        self,
        keys: Callable[[], ApiKeys],
        admin_key: SecretStr | None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._keys = keys
        secret = None if admin_key is None else admin_key.get_secret_value().encode()
        self._admin_key = secret
        self._now = now
        self._known: OrderedDict[bytes, tuple[ApiKey | None, float]] = OrderedDict()
        self._noted: dict[str, datetime] = {}
        self._notes: set[asyncio.Task[None]] = set()
        # What is being looked up for a key, and since when.
        self._asking: dict[bytes, tuple[asyncio.Task[ApiKey | None], float]] = {}
        # Of its own: nobody's long search is to be waited for.
        self._threads = ThreadPoolExecutor(_THREADS, "keys")

    async def caller(self, token: bytes) -> Caller:
        """Who bears this key.

        Raises
        ------
        HTTPException
            401 for a key that is unknown, or was revoked, or has expired, which is
            told to who has the whole key alone; 503 when the store is away.
        """
        ours = self._admin_key
        if ours is not None and hmac.compare_digest(token, ours):
            return Caller("admin", "admin")
        key = None if len(token) > MAX_BYTES else await self._find(token)
        if key is None:
            message = "the key is unknown"
            raise refused(message, error=_INVALID)
        now = self._now()
        ended = key.ended(now)
        if ended is not None:
            message = f"the key {key.prefix} {ended}"
            raise refused(message, error=_INVALID)
        self._note(key, now)
        return Caller(
            key.scope, key.prefix, key.requests_per_minute, key.uploads_per_minute
        )

    async def close(self) -> None:
        """Wait for what is being noted."""
        await asyncio.gather(*self._notes, return_exceptions=True)
        self._threads.shutdown(wait=False)

    async def _find(self, token: bytes) -> ApiKey | None:
        place = sha256(token).digest()
        now = time.monotonic()
        key, since = self._known.get(place, (None, -math.inf))
        if now - since <= _KNOWN_S:
            return key
        # Those who come at once with one key ask once; what a slow store was asked
        # longer ago it may have answered before the key was revoked.
        task, since = self._asking.get(place, (None, -math.inf))
        if task is None or now - since > _KNOWN_S:
            task = asyncio.create_task(self._look(token, place, now))
            self._asking[place] = task, now
            task.add_done_callback(partial(self._has_looked, place))
        return await asyncio.shield(task)

    def _has_looked(self, place: bytes, task: asyncio.Task[ApiKey | None]) -> None:
        if self._asking.get(place, (None, 0.0))[0] is task:
            del self._asking[place]

    async def _look(self, token: bytes, place: bytes, asked: float) -> ApiKey | None:
        look = self._in_thread(lambda: self._keys().match(token))
        try:
            key = await asyncio.wait_for(look, _PATIENCE_S)
        except (SQLAlchemyError, DatabaseDamagedError, TimeoutError) as exc:
            _log.warning("a key is refused, for the store does not answer: %s", exc)
            message = "keys cannot be looked up, for the metadata store does not answer"
            raise HTTPException(503, f"{message}; try again in a moment") from exc
        if asked < self._known.get(place, (None, -math.inf))[1]:
            return key  # somebody has asked later, and had an answer before
        self._known[place] = key, asked
        self._known.move_to_end(place)
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        return key

    def _in_thread(self, work: Callable[[], _T]) -> asyncio.Future[_T]:
        return asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _note(self, key: ApiKey, now: datetime) -> None:
        """Have it written down when the key was used; nobody waits for it."""
        last = self._noted.get(key.prefix, key.used_at)
        if last is not None and now - last < USED_EVERY:
            return
        self._noted[key.prefix] = now
        task = asyncio.create_task(self._write(key.prefix, now))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _write(self, prefix: str, now: datetime) -> None:
        try:
            await self._in_thread(lambda: self._keys().used(prefix, now))
        except (SQLAlchemyError, DatabaseDamagedError) as exc:
            _log.warning("when key %s was used is not noted: %s", prefix, exc)


def refused(detail: str, *, error: str | None = None) -> HTTPException:
    """A 401, with the challenge of RFC 6750."""
    challenge = _REALM if error is None else f'{_REALM}, error="{error}"'
    return HTTPException(401, detail, {"WWW-Authenticate": challenge})


def insufficient(held: Level, wanted: Level) -> HTTPException:
    """A 403 that names the scope wanted."""
    challenge = f'{_REALM}, error="insufficient_scope", scope="{wanted}"'
    detail = f"the key has the scope {held}; this needs {wanted}"
    return HTTPException(403, detail, {"WWW-Authenticate": challenge})
