"""Rows of filters are kept while there is room."""

import numpy as np
import pytest
from searchers import make, some_vectors

from twinjet.index.filtered import FilteredRows
from twinjet.index.options import Options
from twinjet.index.regions import Range
from twinjet.index.vectors.port import Rows


def test_the_longest_unused_filter_makes_room() -> None:
    asked: list[str] = []
    kept = FilteredRows(most_rows=4000)

    def rows(where: str, count: int) -> Rows:
        def find() -> Rows:
            asked.append(where)
            return np.arange(count)

        found = kept.of(where, find)
        assert len(found) == count
        return found

    rows("a", 2000)
    rows("b", 0)
    rows("a", 2000)
    rows("c", 1500)
    rows("a", 2000)
    rows("b", 0)
    assert asked == ["a", "b", "c", "b"]
    rows("large", 4001)
    rows("large", 4001)
    rows("a", 2000)
    assert asked[4:] == ["large", "large"]


def test_kept_rows_cannot_be_written() -> None:
    rows = FilteredRows().of("a", lambda: np.arange(3))
    with pytest.raises(ValueError, match="read-only"):
        rows[0] = 1


def test_a_filter_asked_again_has_the_same_rows_in_every_region(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    searcher = make(tmp_path_factory.mktemp("filtered"), some_vectors())
    options = Options(where="n < 100")
    for _ in range(2):
        rows = searcher.among(options)
        assert rows is not None
        assert rows.tolist() == list(range(100))
    region = Range(0, 359, 0, 90)
    some = searcher.among(Options(where="n < 100", region=region))
    assert some is not None
    assert 0 < len(some) < 100
    assert set(some) <= set(range(100))
