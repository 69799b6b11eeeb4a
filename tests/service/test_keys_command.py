"""`twinjet keys`: made, shown once, listed, revoked."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from twinjet.index.api_keys import ApiKeys
from twinjet.index.database import create_engine
from twinjet.index.errors import UnknownApiKeyError
from twinjet.service.cli import cli
from twinjet.service.config import Config


def run(*arguments: str, home: Path) -> Result:
    done = CliRunner().invoke(cli, ["keys", *arguments, "--home", str(home)])
    if isinstance(done.exception, UnknownApiKeyError):
        raise done.exception
    return done


def test_a_key_is_made_shown_once_listed_and_revoked(tmp_path: Path) -> None:
    made = run("create", "survey", "--scope", "ingest", home=tmp_path)
    token = made.stdout.strip()
    assert "shown this once" in made.stderr
    prefix = token.split("_")[1]
    listed = run("list", home=tmp_path).stdout
    assert listed.startswith(f"{prefix}, ingest, survey, made ")
    assert token not in listed
    engine = create_engine(Config(home=tmp_path).metadata_url)
    key = ApiKeys(engine).match(token.encode())
    engine.dispose()
    assert key is not None
    assert key.scope == "ingest"
    assert f"{prefix} was revoked at " in run("revoke", prefix, home=tmp_path).stdout
    assert "was revoked at" in run("list", home=tmp_path).stdout


def test_a_key_is_revoked_by_what_it_begins_with(tmp_path: Path) -> None:
    token = run("create", "lost", home=tmp_path).stdout.strip()
    mark, prefix, secret = token.split("_", 2)
    for said in (f"{mark}_{prefix}", token):
        told = run("revoke", said, home=tmp_path).stdout
        assert told.startswith(f"{prefix} was revoked at ")
    with pytest.raises(UnknownApiKeyError) as raised:
        run("revoke", f"tj_000000000000_{secret}", home=tmp_path)
    assert secret not in str(raised.value)


def test_a_mistyped_home_is_not_made(tmp_path: Path) -> None:
    for command in (["list"], ["revoke", "tj_0"]):
        assert run(*command, home=tmp_path / "typo").exit_code == 1
    assert not (tmp_path / "typo").exists()


def test_a_key_is_json_for_programs(tmp_path: Path) -> None:
    arguments = ["--expires-days", "30", "--requests-per-minute", "600", "--json"]
    made = json.loads(run("create", "nightly", *arguments, home=tmp_path).stdout)
    assert made["key"].startswith(f"tj_{made['prefix']}_")
    assert (made["scope"], made["requests_per_minute"]) == ("read", 600)
    ends = datetime.fromisoformat(made["expires_at"])
    in_a_month = datetime.now(UTC) + timedelta(days=30)
    assert in_a_month - timedelta(hours=1) < ends <= in_a_month
    listed = json.loads(run("list", "--json", home=tmp_path).stdout)
    assert listed == {name: made[name] for name in made if name != "key"}


def test_what_cannot_be_a_key_is_refused(tmp_path: Path) -> None:
    assert run("create", "x", "--scope", "root", home=tmp_path).exit_code == 2
    assert run("create", "x", "--expires-days", "0", home=tmp_path).exit_code == 2
    with pytest.raises(UnknownApiKeyError, match="no key has the prefix 'none'"):
        run("revoke", "none", home=tmp_path)
