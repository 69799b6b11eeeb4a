"""Milvus, one server or a cluster, by its own client (extra ``milvus``).

A generation is one collection of float32 rows. Milvus has no transactions: a
collection has its name only once it is whole, as a folder of ours has.
"""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import grpc
from pymilvus import DataType, MilvusClient, MilvusException

from twinjet.index.errors import IndexUnavailableError, LostVectorsError
from twinjet.index.vectors.engine import check_held
from twinjet.index.vectors.milvus_index import MilvusIndex
from twinjet.index.vectors.policy import SCAN_FROM, lists_for
from twinjet.index.vectors.port import Vectors

_log = logging.getLogger(__name__)

_PREFIX = "twinjet_"
_HALF = "_half"
_ALIAS = "twinjet_current"

# What servers and the small one say of a collection that is not there; codes differ.
_GONE = re.compile(r"(?i)collection .*(not found|not exist)|can't find collection")

# Rows of one request: 4 MB of 515 numbers, and the client repeats them as text.
_INSERT_ROWS = 2048

# Between two questions whether a collection can be asked.
_WAIT_S = 0.1

TIMEOUT_S = 30.0
"""A search that takes longer is as good as none."""


class MilvusEngine:
    """Collections of vectors; see `twinjet.index.vectors.engine.VectorEngine`.

    Parameters
    ----------
    uri
        Of the server, ``http://host:19530/database``; every installation needs a
        database of its own.
    timeout_s
        How long an answer may take.
    scan_from
        Number of rows from which not all are compared.
    """

    def __init__(
        self, uri: str, *, timeout_s: float = TIMEOUT_S, scan_from: int = SCAN_FROM
    ) -> None:
        self._uri = uri
        self._timeout_s = timeout_s
        self._scan_from = scan_from
        # It writes a traceback for each error that it raises.
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)

    def load(self, name: str, vectors: Vectors) -> None:
        """Have all vectors; it is named when it is whole."""
        whole, half = _PREFIX + name, _PREFIX + name + _HALF
        count, dimension = vectors.shape
        with self._answering(loud=True):
            if self._client.has_collection(whole, timeout=self._timeout_s):
                return
            self._drop(half)
            client = self._client
            schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("row", DataType.INT64, is_primary=True)
            schema.add_field("v", DataType.FLOAT_VECTOR, dim=dimension)
            client.create_collection(half, schema=schema, timeout=self._timeout_s)
            large = count >= self._scan_from
            if not large:
                self._finish(half, lists=None)
            for start in range(0, count, _INSERT_ROWS):
                part = vectors[start : start + _INSERT_ROWS]
                rows = [{"row": row, "v": v} for row, v in enumerate(part, start)]
                client.insert(half, rows, timeout=self._timeout_s)
            if large:
                # Sealed first, so that the lists are of all rows when this is done.
                client.flush(half)
                self._finish(half, lists=lists_for(count))
            held = self._count(half)
            if held != count:
                msg = f"Milvus took {held} of {count} vectors of {name}"
                raise IndexUnavailableError(msg, limit=count, actual=held)
            client.rename_collection(half, whole, timeout=self._timeout_s)

    def open(self, name: str, count: int, vectors: Vectors | None) -> MilvusIndex:
        """The index of what was loaded; counts its rows."""
        whole = _PREFIX + name
        held = dimension = 0
        with self._answering():
            if self._client.has_collection(whole, timeout=self._timeout_s):
                # After a restart, or by the hand of somebody, it may not be in memory.
                self._client.load_collection(whole)
                held = self._count(whole)
                described = self._client.describe_collection(whole)
                dimension = described["fields"][1]["params"]["dim"]
        check_held(held, count, name=name, engine="Milvus")
        return MilvusIndex(
            self._client,
            whole,
            (count, dimension),
            vectors,
            answering=self._answering,
            lists=None if count < self._scan_from else lists_for(count),
            timeout_s=self._timeout_s,
        )

    def check(self, name: str, count: int) -> None:
        """See whether the collection is there, with as many rows."""
        whole, held = _PREFIX + name, 0
        with self._answering():
            if self._client.has_collection(whole, timeout=self._timeout_s):
                held = self._count(whole)
        check_held(held, count, name=name, engine="Milvus")

    def publish(self, name: str) -> None:
        """Let the alias ``twinjet_current`` be of this collection."""
        with self._answering():
            client, whole = self._client, _PREFIX + name
            known = {
                alias
                for collection in client.list_collections(timeout=self._timeout_s)
                for alias in client.list_aliases(collection)["aliases"]
            }
            switch = client.alter_alias if _ALIAS in known else client.create_alias
            switch(whole, _ALIAS, timeout=self._timeout_s)

    def loaded(self) -> list[str]:
        """Every name that there is, and of what was interrupted."""
        with self._answering():
            found: list[str] = self._client.list_collections(timeout=self._timeout_s)
        return [c.removeprefix(_PREFIX) for c in found if c.startswith(_PREFIX)]

    def drop(self, name: str) -> None:
        """Remove a collection."""
        with self._answering():
            self._drop(_PREFIX + name)

    @cached_property
    def _client(self) -> MilvusClient:
        """Connected when it is first needed, for the server may come later."""
        return MilvusClient(self._uri, timeout=self._timeout_s)

    def _finish(self, collection: str, *, lists: int | None) -> None:
        """An index, and all of it in memory. What takes long has no deadline."""
        prepared = self._client.prepare_index_params()
        prepared.add_index(
            "v",
            # Not HNSW: of 50,000 embeddings, many nearly the same, 16 links a row left
            # 9 % of the hundred nearest out of reach however broad the search, 48 left
            # 1.4 %; lists lose 0.01 % at the same speed (2026-11).
            index_type="FLAT" if lists is None else "IVF_FLAT",
            metric_type="IP",
            params={} if lists is None else {"nlist": lists},
        )
        self._client.create_index(collection, prepared)
        self._client.load_collection(collection)

    def _count(self, collection: str) -> int:
        """Rows that can be found, those that came a moment ago among them."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                found = self._client.query(
                    collection,
                    filter="",
                    output_fields=["count(*)"],
                    consistency_level="Strong",
                    timeout=self._timeout_s,
                )
            except MilvusException as exc:
                # It calls a collection loaded a moment before it can be asked.
                if "channel" not in str(exc) or time.monotonic() > deadline:
                    raise
                time.sleep(_WAIT_S)
            else:
                counted: int = found[0]["count(*)"]
                return counted

    def _drop(self, collection: str) -> None:
        if self._client.has_collection(collection, timeout=self._timeout_s):
            for alias in self._client.list_aliases(collection)["aliases"]:
                self._client.drop_alias(alias, timeout=self._timeout_s)
            self._client.drop_collection(collection, timeout=self._timeout_s)

    @contextmanager
    def _answering(self, *, loud: bool = False) -> Iterator[None]:
        """Turn whatever goes wrong over there into one error.

        People who search do not hear its words: they may name machines.
        """
        try:
            yield
        except (MilvusException, grpc.RpcError) as exc:
            cause = str(getattr(exc, "message", "") or exc).partition("\n")[0]
            if _GONE.search(cause):
                msg = (
                    "vectors of this generation are gone from Milvus: `twinjet "
                    "rollback` to it loads them"
                )
                raise LostVectorsError(msg) from exc
            if loud:
                msg = f"Milvus cannot be loaded: {cause}"
            else:
                _log.warning("Milvus does not answer: %s", cause)
                msg = "Milvus does not answer; try again in a moment"
            raise IndexUnavailableError(msg) from exc
