"""What is easily forgotten: packages in the list, settings in the README."""

import ast
import tomllib
from pathlib import Path

import pytest
import yaml

from twinjet.service.app import create_app
from twinjet.service.cli import COMMANDS
from twinjet.service.config import Config

ROOT = Path(__file__).parent.parent
TOP = ("model", "index", "service")
SOURCES = sorted(path for top in TOP for path in (ROOT / top).rglob("*.py"))


def test_every_package_is_listed_for_the_wheel() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {
        "twinjet." + ".".join(path.parent.relative_to(ROOT).parts)
        for path in SOURCES
        if path.name == "__init__.py"
    }
    assert found == set(listed["packages"])


def test_every_top_package_says_that_it_is_typed() -> None:
    assert all((ROOT / top / "py.typed").is_file() for top in TOP)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_is_imported_under_its_bare_name(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = (
            [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        )
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            names = [node.module or ""]
        assert not {name.partition(".")[0] for name in names} & set(TOP)


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", Config.model_fields)
def test_every_setting_is_in_the_readme(readme: str, name: str) -> None:
    assert f"`TWINJET_{name.upper()}`" in readme
    assert Config.model_fields[name].description


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(readme: str, command: str) -> None:
    assert f"`twinjet {command}`" in readme


def test_every_route_is_in_the_readme_and_described(readme: str) -> None:
    for path, operations in create_app(Config()).openapi()["paths"].items():
        plain = path.replace(":path", "")
        for part in (plain, plain.removeprefix("/sources/{source_id}") or plain):
            if f"{part}" in readme:
                break
        else:
            pytest.fail(f"{path} is not in the README")
        assert all(operation["summary"] for operation in operations.values())


def test_what_the_image_copies_is_sent_to_its_build() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = {
        path.removeprefix("./")
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for path in line.split()[1:-1]
    }
    sent = (ROOT / ".dockerignore").read_text().splitlines()
    assert {"constraints.txt", "requirements.lock", "service"} <= copied
    assert copied <= {line.removeprefix("!") for line in sent if line.startswith("!")}


def test_compose_has_the_services_and_no_secret() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert set(compose["services"]) == {"api", "worker", "postgres"}
    password = compose["services"]["postgres"]["environment"]["POSTGRES_PASSWORD"]
    assert password.startswith("${")


def test_the_image_does_not_run_as_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert "USER twinjet" in lines
    assert any(line.startswith("HEALTHCHECK") for line in lines)


def test_weights_stay_small() -> None:
    weights = list((ROOT / "model" / "weights").glob("*.safetensors"))
    assert weights
    assert sum(path.stat().st_size for path in weights) <= 30e6
