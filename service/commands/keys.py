"""``twinjet keys``: who may use the service, and how much of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from twinjet.index.api_keys import SCOPES, ApiKey, ApiKeys, Scope
from twinjet.index.store import SourceStore
from twinjet.service.commands.options import (
    HOME,
    JSON,
    config_of,
    errors,
    existing_store_of,
    store_of,
)
from twinjet.service.commands.text import print_json, say
from twinjet.service.config import Config

# A hundred years: what is meant is no end at all.
_MOST_DAYS = 36_500

_MOST_A_MINUTE = 1_000_000


@click.group()
def keys() -> None:
    """Make, list and revoke the keys of the service."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice(SCOPES),
    default="read",
    show_default=True,
    help="read: search and look; ingest: write sessions and lists, too; admin: all.",
)
@click.option(
    "--expires-days",
    type=click.IntRange(1, _MOST_DAYS),
    help="Days until it ends; never when absent.",
)
@click.option(
    "--requests-per-minute",
    type=click.IntRange(0, _MOST_A_MINUTE),
    help="Instead of TWINJET_REQUESTS_PER_MINUTE; 0 for no limit.",
)
@click.option(
    "--uploads-per-minute",
    type=click.IntRange(0, _MOST_A_MINUTE),
    help="Instead of TWINJET_UPLOADS_PER_MINUTE; 0 for no limit.",
)
@HOME
@JSON
def create(
    name: str,
    scope: Scope,
    expires_days: int | None,
    requests_per_minute: int | None,
    uploads_per_minute: int | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Make a key for NAME and print it: this once, for it is kept nowhere."""
    days = None if expires_days is None else timedelta(days=expires_days)
    with _keys(home) as known:
        key, token = known.create(
            name,
            scope,
            expires_at=None if days is None else datetime.now(UTC) + days,
            requests_per_minute=requests_per_minute,
            uploads_per_minute=uploads_per_minute,
        )
    if as_json:
        print_json(_members(key) | {"key": token})
        return
    say(token)
    errors.print("It is shown this once. Send it as Authorization: Bearer KEY")


@keys.command("list")
@HOME
@JSON
def list_keys(home: Path | None, as_json: bool) -> None:
    """List all keys, the oldest first, without their secrets."""
    with _keys(home, existing_store_of) as known:
        found = known.all()
    for key in found:
        if as_json:
            print_json(_members(key))
        else:
            say(_line(key))


@keys.command()
@click.argument("prefix")
@HOME
def revoke(prefix: str, home: Path | None) -> None:
    """End the key of PREFIX for good; servers know it within a second.

    PREFIX is what `twinjet keys list` shows, or the key itself.
    """
    with _keys(home, existing_store_of) as known:
        key = known.revoke(prefix)
    say(f"{key.prefix} {key.ended(datetime.now(UTC))}")


@contextmanager
def _keys(
    home: Path | None, opened: Callable[[Config], SourceStore] = store_of
) -> Iterator[ApiKeys]:
    store = opened(config_of(home))
    try:
        yield ApiKeys(store.engine)
    finally:
        store.close()


def _members(key: ApiKey) -> dict[str, Any]:
    return {
        "prefix": key.prefix,
        "name": key.name,
        "scope": key.scope,
        "requests_per_minute": key.requests_per_minute,
        "uploads_per_minute": key.uploads_per_minute,
        "created_at": key.created_at.isoformat(),
        "expires_at": key.expires_at and key.expires_at.isoformat(),
        "revoked_at": key.revoked_at and key.revoked_at.isoformat(),
        "used_at": key.used_at and key.used_at.isoformat(),
    }


def _line(key: ApiKey) -> str:
    ended = key.ended(datetime.now(UTC))
    parts = [key.prefix, key.scope, key.name, f"made {key.created_at:%Y-%m-%d %H:%M}"]
    if key.requests_per_minute is not None:
        parts.append(f"{key.requests_per_minute} requests a minute")
    if key.uploads_per_minute is not None:
        parts.append(f"{key.uploads_per_minute} uploads a minute")
    used = "never used" if key.used_at is None else f"used {key.used_at:%Y-%m-%d %H:%M}"
    parts.append(used)
    if ended is not None:
        parts.append(ended)
    elif key.expires_at is not None:
        parts.append(f"until {key.expires_at:%Y-%m-%d %H:%M}")
    return ", ".join(parts)
