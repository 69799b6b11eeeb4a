"""What is wrong with a setting is one line that names it."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import TWINJET

from twinjet.service.commands import serve
from twinjet.service.config import Config, configured
from twinjet.service.encoders import check_encoder
from twinjet.service.misconfiguration import ConfigError

WRONG = {
    "PORT": "70000",
    "VECTORS": "elsewhere",
    "VECTORS_MEMORY_MB": "0",
    "MAX_UPLOAD_BYTES": "many",
    "UPLOAD_QUEUE": "0",
    "UPLOAD_WAIT_S": "0",
    "DEADLINE_S": "-1",
    "KEEP_ALIVE_S": "0",
    "DECODERS": "257",
    "BODY_STALL_S": "nan",
    "BODY_BYTES_PER_S": "1.5",
    "THREADS": "-1",
    "WORKERS": "65",
    "KEEP_GENERATIONS": "0",
    "ADMIN_KEY": "short-secret",
    "LOG_FORMAT": "xml",
    "REFRESH_S": "0",
    "PICTURE_CACHE": "x",
    "DUPLICATE_RADIUS_ARCSEC": "3601",
    "DATABASE_URL": "mysql://host/name",
    "ROOT_PATH": "twinjet/",
}


@pytest.mark.parametrize(("name", "value"), WRONG.items())
def test_a_wrong_value_is_said_with_its_variable(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"TWINJET_{name}", value)
    with pytest.raises(ConfigError) as raised:
        configured()
    said = str(raised.value)
    assert said.startswith(f"TWINJET_{name}")
    assert "\n" not in said
    assert (value in said) == (name != "ADMIN_KEY")


def test_of_a_url_no_password_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINJET_DATABASE_URL", "mysql://me:secret@host/name")
    with pytest.raises(ConfigError, match=r"^TWINJET_DATABASE_URL") as raised:
        configured()
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("blank", [" ", "\n", "\t"])
def test_a_key_that_could_not_be_sent_is_refused(
    blank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWINJET_ADMIN_KEY", f"a key of sixteen characters{blank}")
    with pytest.raises(ConfigError, match="begins or ends with a blank") as raised:
        configured()
    assert "sixteen characters" not in str(raised.value).split("(")[0]


def test_an_unknown_variable_is_told_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TWINJET_PROT", "8001")
    with caplog.at_level(logging.WARNING):
        assert configured().port == Config().port
    assert caplog.messages == [
        "TWINJET_PROT is no setting and has no effect; the nearest is TWINJET_PORT"
    ]


def test_an_encoder_that_is_not_there_is_said_at_the_start(config: Config) -> None:
    absent = config.home / "absent.json"
    with pytest.raises(ConfigError, match=r"^TWINJET_ENCODER='.*absent\.json': no "):
        check_encoder(config.model_copy(update={"encoder": absent}))
    check_encoder(config)


@pytest.mark.parametrize(
    "command",
    [
        [str(TWINJET), "serve"],
        [
            *(sys.executable, "-m", "uvicorn", "--factory"),
            *("twinjet.service.app:create_app", "--port", "0"),
        ],
    ],
    ids=["serve", "uvicorn"],
)
def test_a_server_with_a_wrong_setting_ends_with_one_line(
    command: list[str], tmp_path: Path
) -> None:
    environment = os.environ | {
        "TWINJET_HOME": str(tmp_path / "home"),
        "TWINJET_UPLOAD_QUEUE": "none",
    }
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    lines = done.stderr.strip().splitlines()
    assert (done.returncode, len(lines)) == (1, 1), done.stderr
    assert lines[0].startswith("twinjet: TWINJET_UPLOAD_QUEUE='none': ")


def test_what_the_server_is_told(config: Config) -> None:
    told = serve._settings(
        config.model_copy(update={"keep_alive_s": 77, "connections": 8})
    )
    assert told.timeout_keep_alive == 77
    # uvicorn refuses what the last one asks.
    assert told.limit_concurrency == 9
    assert not told.proxy_headers
