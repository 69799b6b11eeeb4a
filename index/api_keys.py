"""Keys by which programs and people use the service.

A key is ``tj_PREFIX_SECRET``. The prefix names it, in lists and in the log; of the
whole the store has the SHA-256 alone. The secret has 256 random bits, which nobody
guesses however fast the hash is, so a slow one would only cost us.
"""

import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Literal, get_args

import sqlalchemy as sa
from sqlalchemy.orm import Session

from twinjet.index.errors import ApiKeyError, UnknownApiKeyError
from twinjet.index.schema import ApiKeyRow

Scope = Literal["read", "ingest", "admin"]
"""What a key is good for; each has what stands before it, too."""

SCOPES: tuple[Scope, ...] = get_args(Scope)

MAX_NAME = 100

# Of a key; ours have 59.
MAX_BYTES = 128

_MARK = "tj"
_PREFIX_BYTES = 6
_SECRET_BYTES = 32

# How exactly it is known when a key was last used: one statement for each key and
# process in so long a time.
USED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class ApiKey:
    """A key, without its secret."""

    prefix: str
    """Of 12 hexadecimal digits; it names the key and opens nothing."""
    name: str
    scope: Scope
    requests_per_minute: int | None
    """Instead of the limit of the service; 0 for none."""
    uploads_per_minute: int | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None
    """To the minute."""

    def ended(self, now: datetime) -> str | None:
        """Why it opens nothing any more, if it does not."""
        if self.revoked_at is not None:
            return f"was revoked at {self.revoked_at:%Y-%m-%dT%H:%M:%SZ}"
        if self.expires_at is not None and now >= self.expires_at:
            return f"expired at {self.expires_at:%Y-%m-%dT%H:%M:%SZ}"
        return None


class ApiKeys:
    """The keys of an installation.

    Parameters
    ----------
    engine
        Of the metadata store, migrated.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(twinjet_write=True)

    def create(
        self,
        name: str,
        scope: Scope,
        *,
        expires_at: datetime | None = None,
        requests_per_minute: int | None = None,
        uploads_per_minute: int | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key; returns it and its whole text, which is not kept anywhere.

        Raises
        ------
        ApiKeyError
            The name is empty, too long, or cannot be printed.
        """
        if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
            msg = f"a key's name has 1 to {MAX_NAME} characters that can be printed"
            raise ApiKeyError(msg, parameter="name", limit=MAX_NAME, actual=len(name))
        prefix = secrets.token_hex(_PREFIX_BYTES)
        token = f"{_MARK}_{prefix}_{secrets.token_urlsafe(_SECRET_BYTES)}"
        row = ApiKeyRow(
            prefix=prefix,
            digest=_digest(token.encode()),
            name=name,
            scope=scope,
            requests_per_minute=requests_per_minute,
            uploads_per_minute=uploads_per_minute,
            created_at=datetime.now(UTC),
            expires_at=expires_at,
        )
        with Session(self._writer) as session, session.begin():
            session.add(row)
            session.flush()
            return _key(row), token

    def all(self) -> list[ApiKey]:
        """All of them, also those that have ended, the oldest first."""
        wanted = sa.select(ApiKeyRow).order_by(ApiKeyRow.created_at, ApiKeyRow.prefix)
        with Session(self._engine) as session:
            return [_key(row) for row in session.scalars(wanted)]

    def revoke(self, named: str) -> ApiKey:
        """End a key for good; one that is revoked stays as it is.

        Parameters
        ----------
        named
            Its prefix; or ``tj_PREFIX``, or the key, whose secret is in no message.

        Raises
        ------
        UnknownApiKeyError
            There is none of this prefix.
        """
        parts = named.split("_", 2)
        prefix = parts[1] if parts[0] == _MARK and len(parts) > 1 else named
        with Session(self._writer) as session, session.begin():
            row = session.get(ApiKeyRow, prefix)
            if row is None:
                msg = f"no key has the prefix {prefix[:100]!r}; `twinjet keys list`"
                raise UnknownApiKeyError(msg, parameter="prefix", actual=prefix[:100])
            row.revoked_at = row.revoked_at or datetime.now(UTC)
            return _key(row)

    def match(self, token: bytes) -> ApiKey | None:
        """The key that somebody gave, also one that has ended; None for no key of ours.

        Examples
        --------
        >>> engine = sa.create_engine("sqlite://")
        >>> ApiKeyRow.metadata.create_all(engine)
        >>> key, token = ApiKeys(engine).create("survey", "read")
        >>> ApiKeys(engine).match(token.encode()) == key
        True
        >>> ApiKeys(engine).match(token.encode() + b"x") is None
        True
        """
        prefix = _prefix_of(token)
        if prefix is None:
            return None
        with Session(self._engine) as session:
            row = session.get(ApiKeyRow, prefix)
        if row is None or not hmac.compare_digest(row.digest, _digest(token)):
            return None
        return _key(row)

    def used(self, prefix: str, at: datetime) -> None:
        """Note that a key was used, unless it is known to have been a minute ago."""
        known = ApiKeyRow.used_at
        stale = sa.or_(known.is_(None), known < at - USED_EVERY)
        change = sa.update(ApiKeyRow).where(ApiKeyRow.prefix == prefix, stale)
        with self._writer.begin() as connection:
            connection.execute(change.values(used_at=at))


def _prefix_of(token: bytes) -> str | None:
    """Of what has the form of a key of ours."""
    if len(token) > MAX_BYTES or not token.isascii():
        return None
    mark, _, rest = token.decode("ascii").partition("_")
    prefix, joint, _ = rest.partition("_")
    if mark != _MARK or not joint or len(prefix) != 2 * _PREFIX_BYTES:
        return None
    return prefix if prefix.isalnum() else None


def _digest(token: bytes) -> str:
    return sha256(token).hexdigest()


def _key(row: ApiKeyRow) -> ApiKey:
    return ApiKey(
        prefix=row.prefix,
        name=row.name,
        scope=SCOPES[SCOPES.index(row.scope)],
        requests_per_minute=row.requests_per_minute,
        uploads_per_minute=row.uploads_per_minute,
        created_at=_utc(row.created_at),
        expires_at=None if row.expires_at is None else _utc(row.expires_at),
        revoked_at=None if row.revoked_at is None else _utc(row.revoked_at),
        used_at=None if row.used_at is None else _utc(row.used_at),
    )


def _utc(at: datetime) -> datetime:
    """SQLite gives back what it was given without the zone, PostgreSQL in another."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
