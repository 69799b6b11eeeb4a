"""Keys in the store: what is kept of them, what opens, what has ended."""

import re
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from twinjet.index.api_keys import MAX_BYTES, MAX_NAME, ApiKeys
from twinjet.index.errors import ApiKeyError, UnknownApiKeyError
from twinjet.index.schema import ApiKeyRow

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.fixture
def keys(engine: sa.Engine) -> ApiKeys:
    return ApiKeys(engine)


def test_a_key_is_found_by_its_whole_text_alone(keys: ApiKeys) -> None:
    key, token = keys.create("survey", "ingest", uploads_per_minute=5)
    assert keys.match(token.encode()) == key
    assert (key.name, key.scope, key.uploads_per_minute) == ("survey", "ingest", 5)
    other = keys.create("other", "admin")[1]
    swapped = f"tj_{key.prefix}_{other.split('_', 2)[2]}"
    for wrong in (
        *(token[:-1], f"{token}x", token.upper(), swapped, f"tj_{key.prefix}_"),
        *(f"tj_{key.prefix}", "tj__", "tj_", "", f"xx{token[2:]}", f" {token}"),
        *(f"tj_%_{token[16:]}", "tj_000000000000_x", f"{token}\0"),
    ):
        assert keys.match(wrong.encode()) is None


def test_what_is_not_ascii_or_too_long_is_no_key(keys: ApiKeys) -> None:
    prefix = keys.create("survey", "read")[0].prefix
    for wrong in ("ключ", f"tj_{prefix}_é", "\ud7ff" * 100, "\x80"):
        assert keys.match(wrong.encode()) is None
        assert keys.match(wrong.encode("utf-16")) is None
    assert keys.match(b"\xff\xfe") is None
    assert keys.match(f"tj_{prefix}_".encode() + b"x" * MAX_BYTES) is None


def test_the_store_has_no_secret(keys: ApiKeys, engine: sa.Engine) -> None:
    key, token = keys.create("survey", "read")
    form = re.fullmatch(r"tj_([0-9a-f]{12})_([A-Za-z0-9_-]{43})", token)
    assert form is not None
    assert form[1] == key.prefix
    with engine.connect() as connection:
        kept = str(connection.execute(sa.select(ApiKeyRow.__table__)).all())
    assert key.prefix in kept
    assert form[2] not in kept
    assert len({keys.create("again", "read")[1] for _ in range(20)}) == 20


def test_a_key_ends_when_it_expires_or_is_revoked(keys: ApiKeys) -> None:
    key, token = keys.create("visitor", "read", expires_at=NOON)
    assert key.ended(NOON - timedelta(microseconds=1)) is None
    assert key.ended(NOON) == "expired at 2026-11-28T12:00:00Z"
    revoked = keys.revoke(key.prefix)
    assert keys.revoke(key.prefix) == revoked == keys.match(token.encode())
    assert str(revoked.ended(NOON - timedelta(days=1))).startswith("was revoked at ")
    assert keys.all() == [revoked]


def test_a_key_that_is_not_there_is_not_revoked(keys: ApiKeys) -> None:
    with pytest.raises(UnknownApiKeyError, match="000000000000"):
        keys.revoke("000000000000")


@pytest.mark.parametrize("name", ["", "x" * (MAX_NAME + 1), "a\nb", "\x1b[31m"])
def test_a_name_is_text_that_can_be_printed(keys: ApiKeys, name: str) -> None:
    with pytest.raises(ApiKeyError, match="1 to 100 characters"):
        keys.create(name, "read")


def test_use_is_noted_once_a_minute(keys: ApiKeys) -> None:
    key = keys.create("survey", "read")[0]
    assert key.used_at is None
    for seconds, noted in ((0, 0), (59, 0), (61, 61), (60, 61), (121, 61), (122, 122)):
        keys.used(key.prefix, NOON + timedelta(seconds=seconds))
        [seen] = keys.all()
        assert seen.used_at == NOON + timedelta(seconds=noted)
