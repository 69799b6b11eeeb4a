"""Which tests run in one process, where several run them."""

import pytest
from xdist.scheduler import LoadFileScheduling

# They start a Milvus, and a machine bears one at a time.
_MILVUS = {
    "tests/contract/test_vector_index.py",
    "tests/index/test_engines.py",
    "tests/service/test_engines.py",
}


class ByFile(LoadFileScheduling):  # type: ignore[misc]  # it has no types
    """Those of a file together, and those that start a Milvus, in their order."""

    def __init__(self, config: pytest.Config, log: object) -> None:
        # The files with the fewest tests would come last, and these are the slow ones.
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "milvus" if file in _MILVUS else file
