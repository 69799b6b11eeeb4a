"""The service among strangers: proxies, other origins, hostile hosts, headers."""

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

import pytest
from clients import client_of
from fastapi.testclient import TestClient
from pydantic import ValidationError

from twinjet.service.config import Config
from twinjet.service.logs import formatter

ORIGIN = "https://sky.example"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type",
}


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(formatter("json"))
    logger = logging.getLogger("twinjet")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield text
    logger.removeHandler(handler)
    logger.setLevel(level)


def forwarded(*addresses: str) -> dict[str, str]:
    return {"X-Forwarded-For": ", ".join(addresses), "X-Forwarded-Proto": "https"}


def test_a_proxy_that_is_not_trusted_is_not_believed(
    fresh: Config, written: io.StringIO
) -> None:
    with client_of(
        fresh, requests_per_minute=2, trusted_proxies="10.0.0.0/8", hsts_s=60
    ) as client:
        answers = [
            client.get("/encoders", headers=forwarded(f"198.51.100.{number}"))
            for number in range(3)
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert all("strict-transport-security" not in one.headers for one in answers)
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert {line["client"] for line in lines if "client" in line} == {"192.0.2.1"}
    assert "198.51.100" not in written.getvalue()


def test_a_trusted_proxy_says_who_asks(fresh: Config, written: io.StringIO) -> None:
    settings: dict[str, Any] = {
        "trusted_proxies": "192.0.2.1,10.0.0.0/8",
        "requests_per_minute": 1,
    }
    with client_of(fresh, **settings, hsts_s=60) as client:
        for sent, expected in (
            (forwarded("198.51.100.1"), 200),
            (forwarded("198.51.100.2", "10.1.2.3"), 200),
            (forwarded("198.51.100.1"), 429),
            # What the client itself wrote in front is not what the proxy saw.
            (forwarded("203.0.113.9", "198.51.100.2"), 429),
        ):
            answer = client.get("/encoders", headers=sent)
            assert answer.status_code == expected, sent
            assert answer.headers["strict-transport-security"] == "max-age=60"
        assert "strict-transport-security" not in client.get("/livez").headers
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    seen = [line["client"] for line in lines if "client" in line]
    assert seen == ["198.51.100.1", "198.51.100.2"] * 2 + ["192.0.2.1"]


def test_nobody_is_believed_where_nothing_is_said(fresh: Config) -> None:
    with client_of(fresh, "127.0.0.1", requests_per_minute=1) as client:
        codes = [
            client.get("/encoders", headers=forwarded(address)).status_code
            for address in ("198.51.100.1", "198.51.100.2")
        ]
    assert codes == [200, 429]


def test_a_hostile_host_is_in_no_answer(client: TestClient) -> None:
    hostile = {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Prefix": "/evil.example",
        "Forwarded": "host=evil.example",
    }
    for path in (
        *("/", "/docs", "/openapi.json", "/sources?limit=1", "/encoders", "/docs/"),
        *("/similar/T100%2B003?k=2", "/sessions/", "/static/js", "/static/../x"),
    ):
        answer = client.get(path, headers=hostile, follow_redirects=False)
        assert "evil.example" not in answer.text, path
        assert "evil.example" not in str(answer.headers), path
        assert not answer.is_redirect, path


def test_other_origins_are_told_nothing_where_none_is_listed(
    client: TestClient,
) -> None:
    assert (
        "access-control-allow-origin"
        not in client.options("/similar", headers=PREFLIGHT).headers
    )
    answer = client.get("/encoders", headers={"Origin": ORIGIN})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_listed_origin_may_ask_and_read(fresh: Config) -> None:
    settings: dict[str, Any] = {"cors_origins": f"{ORIGIN}, http://localhost:8080"}
    with client_of(
        fresh, **settings, anonymous="none", requests_per_minute=1
    ) as client:
        for _ in range(3):  # needs no key, and is not counted
            answer = client.options("/similar", headers=PREFLIGHT)
            assert answer.status_code == 200
            assert answer.headers["access-control-allow-origin"] == ORIGIN
        refused = client.get("/encoders", headers={"Origin": ORIGIN})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == ORIGIN
        told = refused.headers["access-control-expose-headers"]
        assert {"Server-Timing", "X-Request-ID", "Retry-After", "Link"} <= set(
            told.split(", ")
        )
        assert "access-control-allow-credentials" not in refused.headers
        other = {**PREFLIGHT, "Origin": f"{ORIGIN}.evil.example"}
        answer = client.options("/similar", headers=other)
        assert answer.status_code == 400
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", ["/", "/encoders", "/nothing", "/static/js/api.js"])
def test_answers_keep_to_their_own_origin(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not [part for part in policy if "http" in part or "unsafe" in part]
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "camera=()" in headers["permissions-policy"]
    assert "strict-transport-security" not in headers


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("cors_origins", "*"), ("cors_origins", "null"), ("cors_origins", "sky")),
        *(("cors_origins", f"{ORIGIN}/"), ("cors_origins", f"{ORIGIN}/path")),
        *(("cors_origins", f"{ORIGIN}:443"), ("cors_origins", "https://*.example")),
        *(("cors_origins", "HTTPS://SKY.example"), ("cors_origins", "ftp://sky")),
        *(("cors_origins", "https://a@sky"), ("cors_origins", "https://sky:99999")),
        *(("trusted_proxies", "proxy"), ("trusted_proxies", "10.0.0.1/8")),
        *(("trusted_proxies", "*"), ("trusted_proxies", "10.0.0.0/33")),
        *(
            ("anonymous", "admin"),
            ("admin_key", "swordfish"),
            ("requests_per_minute", -1),
        ),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        Config(**{name: value})
    assert [fault["loc"] for fault in refused.value.errors()] == [(name,)]
    assert "swordfish" not in str(refused.value)


def test_lists_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINJET_CORS_ORIGINS", f" {ORIGIN} , http://[::1]:8080,")
    monkeypatch.setenv("TWINJET_TRUSTED_PROXIES", "127.0.0.1, ::1,10.0.0.0/8")
    config = Config()
    assert config.cors_origins == (ORIGIN, "http://[::1]:8080")
    assert config.trusted_proxies == ("127.0.0.1", "::1", "10.0.0.0/8")


def test_crawlers_are_told_to_look_at_pages_alone(client: TestClient) -> None:
    answer = client.get("/robots.txt")
    assert answer.headers["content-type"].startswith("text/plain")
    rules = answer.text.splitlines()
    assert rules[:2] == ["User-agent: *", "Disallow: /"]
    allowed = [rule.removeprefix("Allow: ") for rule in rules[2:]]

    def may_look_at(path: str) -> bool:
        return any(
            path == rule[:-1] if rule.endswith("$") else path.startswith(rule)
            for rule in allowed
        )

    for page in ("/", "/docs"):
        loaded = re.findall(r'(?:src|href)="([^":#]+)"', client.get(page).text)
        assert loaded
        for path in [page, *(urljoin(page, one) for one in loaded)]:
            assert may_look_at(path), path
            assert client.get(path).status_code == 200
    for path in ("/sources", "/similar/T100%2B003", "/generations", "/jobs"):
        assert not may_look_at(path)
