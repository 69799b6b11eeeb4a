"""Which tests run in one process, where several run them."""

from xdist.scheduler import LoadFileScheduling

# They start a Milvus, and a machine bears one at a time.
_MILVUS = {
    "tests/contract/test_vector_index.py",
    "tests/index/test_engines.py",
    "tests/service/test_engines.py",
}


class ByFile(LoadFileScheduling):  # type: ignore[misc]  # it has no types
    """Those of a file together, and those that start a Milvus."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "milvus" if file in _MILVUS else file
