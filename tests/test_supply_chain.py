"""What is installed: versions without known faults, licences that may be shipped."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent

# The first versions without faults that strangers' requests or files could reach, as of
# 2026-11-28; to be looked through with every release.
SAFE = {
    "astropy": ("7.2", "decoders of tiles were hardened (astropy PR 20255)"),
    "faiss-cpu": ("1.13", "readers of damaged files were hardened (faiss PR 5485)"),
    "jinja2": ("3.1.6", "CVE-2025-27516"),
    "pillow": ("12.3", "CVE-2026-40192, CVE-2026-42311, CVE-2026-55380"),
    "python-multipart": ("0.0.31", "CVE-2026-24486, CVE-2026-40347, CVE-2026-42561"),
    "starlette": ("1.5.1", "CVE-2025-62727, CVE-2026-54283"),
    "torch": ("2.6", "CVE-2025-32434"),
}

# May be shipped with a program under any licence; MPL binds its own files alone.
ALLOWED = re.compile(
    r"(0BSD|BSD|MIT|ISC|HPND|PSF|Python Software|MPL|Mozilla|Apache|Unlicense|Zlib|BSL"
    r"|CC0|CNRI|LLVM|The MIT|New BSD|Modified BSD|3-Clause BSD|Historical Permission)"
    r"[-A-Za-z0-9.,:/()& ]*",
    re.IGNORECASE,
)

# By name, each with its reason.
PASSED_OVER = {
    "psycopg": "LGPL: used as a library, unchanged, and may be replaced",
    "psycopg-binary": "LGPL: the same",
}


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def test_pins_are_not_below_what_is_safe() -> None:
    pinned = pins()
    assert {"starlette", "pillow", "python-multipart", "faiss-cpu"} <= pinned.keys()
    low = {
        name: (str(pinned[name]), least, reason)
        for name, (least, reason) in SAFE.items()
        if name in pinned and pinned[name] < Version(least)
    }
    assert not low


def test_the_lock_of_the_image_has_the_pins_and_a_hash_of_each() -> None:
    text = (ROOT / "requirements.lock").read_text()
    entries = re.findall(
        r"^(\S+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", text, re.MULTILINE
    )
    assert len(entries) == text.count("==")
    locked = {name: Version(version) for name, version, _ in entries}
    pinned = pins()
    assert {name: pinned[name] for name in locked if name in pinned} == {
        name: version for name, version in locked.items() if name in pinned
    }
    # All that the service needs; what torch brings with it is its own affair.
    needed = {canonicalize_name(p.name) for p in installed("twinjet", set())}
    bare = {canonicalize_name(p.name) for p in installed("torch", set())}
    assert needed - bare - {"twinjet"} <= locked.keys()


def test_requirements_ask_for_nothing_below_what_is_safe() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [Requirement(text) for text in project["dependencies"]]
    low = [
        str(requirement)
        for requirement in asked
        if canonicalize_name(requirement.name) in SAFE
        and not _from(requirement, SAFE[canonicalize_name(requirement.name)][0])
    ]
    assert not low


def _from(requirement: Requirement, least: str) -> bool:
    bounds = [s.version for s in requirement.specifier if s.operator == ">="]
    return any(Version(bound) >= Version(least) for bound in bounds)


def installed(name: str, seen: set[str]) -> Iterator[Distribution]:
    """A package and all that it needs to run, each once."""
    key = canonicalize_name(name)
    if key in seen:
        return
    seen.add(key)
    try:
        found = distribution(name)
    except PackageNotFoundError:  # on this system it is not needed
        return
    yield found
    for text in found.requires or ():
        needed = Requirement(text)
        if needed.marker is None or needed.marker.evaluate({"extra": ""}):
            yield from installed(needed.name, seen)


def licences(package: Distribution) -> list[str]:
    """As a package tells them: an expression, classifiers, or a word."""
    told = package.metadata
    for expression in told.get_all("License-Expression") or ():
        return [
            one.strip("() ") for one in re.split(r"\s(?:AND|OR|WITH)\s", expression)
        ]
    classifiers = told.get_all("Classifier") or []
    named = [c.rsplit(" :: ", 1)[1] for c in classifiers if c.startswith("License ::")]
    named = [one for one in named if one != "OSI Approved"]
    words = told.get_all("License") or ["unknown"]
    return named or [words[0].splitlines()[0].strip()]


def test_licences_of_what_runs_are_allowed() -> None:
    packages = [p for p in installed("twinjet", set()) if p.name != "twinjet"]
    assert len(packages) > 50
    odd = {
        package.name: licences(package)
        for package in packages
        if canonicalize_name(package.name) not in PASSED_OVER
        and not all(ALLOWED.fullmatch(one) for one in licences(package))
    }
    assert not odd


@pytest.mark.parametrize(
    "licence", ["GPL-3.0-only", "AGPL-3.0", "GNU General Public License v3 (GPLv3)"]
)
def test_what_would_bind_us_is_not_allowed(licence: str) -> None:
    assert not ALLOWED.fullmatch(licence)
