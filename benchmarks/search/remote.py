"""Contenders in servers, by Twinjet's adapters; the tests' servers, started here."""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

from machine import descendants
from workload import F32, I64

from twinjet.index.database import create_engine
from twinjet.index.vectors.engine import VectorEngine
from twinjet.index.vectors.milvus import MilvusEngine
from twinjet.index.vectors.pgvector import PgvectorEngine
from twinjet.index.vectors.port import VectorIndex

sys.path.append(str(Path(__file__).parents[2] / "tests" / "support"))
servers: Any = import_module("servers")

_NAME = "g000001_bench"


class Server(ABC):
    """A server that this process has started."""

    settings = ("",)

    def __init__(self) -> None:
        self.pids: list[int] = []
        self.kept = ExitStack()

    @abstractmethod
    def start(self, folder: Path, /) -> VectorEngine:
        """Start it; `pids` are its processes."""

    def build(self, vectors: F32, folder: Path) -> None:
        """Load it, as a build does."""
        engine = self.start(folder)
        started = time.perf_counter()
        engine.load(_NAME, vectors)
        self.load_s = time.perf_counter() - started
        index = engine.open(_NAME, len(vectors), vectors)
        assert index is not None
        self.index: VectorIndex = index

    def searcher(self, _setting: str, rows: I64 | None, k: int) -> Callable[[F32], I64]:
        """By the port."""
        return lambda q: self.index.search(q, k, among=rows)[1]

    def close(self) -> None:
        """Stop it."""
        self.kept.close()


class Pgvector(Server):
    """PostgreSQL with pgvector: HNSW in half precision."""

    def start(self, _folder: Path) -> VectorEngine:
        """On a free port."""
        server = self.kept.enter_context(
            servers.running_postgres(servers.pgvector_initdb())
        )
        database = create_engine(server.url)
        self.kept.callback(database.dispose)
        with database.connect() as connection:
            found = connection.exec_driver_sql(
                "SELECT pg_backend_pid(), current_setting('data_directory')"
            ).one()
        lines = (Path(found[1]) / "postmaster.pid").read_text().splitlines()
        self.pids = descendants(int(lines[0]))
        return PgvectorEngine(database)


class Milvus(Server):
    """Milvus standalone: IVF_FLAT."""

    def start(self, folder: Path) -> VectorEngine:
        """On a free port."""
        server = self.kept.enter_context(servers.running_milvus(folder / "milvus"))
        self.pids = [server.pid]
        return MilvusEngine(server.uri, timeout_s=120)
