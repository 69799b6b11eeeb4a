"""A build killed at any call: what is served is whole, and the next run finishes."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from dying import Dying
from editions import CHANGED, COUNT, truth_of, write_editions
from homes import Truth, faults_of, put_at_rest

from twinjet.index.home import Home
from twinjet.index.opening import open_store
from twinjet.index.retention import KEEP_GENERATIONS
from twinjet.index.schema import SourceRow
from twinjet.index.store import READY
from twinjet.service.config import Config
from twinjet.service.resources import Resources

# In force before the build that is killed, which is to remove the first one.
BEFORE = KEEP_GENERATIONS

# Of each source its neighbours and what is at its place; a filter, and a name.
ANSWERS = 2 * COUNT + 2


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_editions(tmp_path_factory.mktemp("sky"), last=BEFORE + 2)


@pytest.fixture(scope="module")
def dying(card: Path) -> Iterator[Dying]:
    with closing(Dying(card)) as nursery:
        yield nursery


@pytest.fixture(scope="module")
def template(dying: Dying, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("template") / "home"
    for number in range(1, BEFORE + 1):
        finished = dying.build(home, number)
        assert finished is not None
        assert finished.number == number
    put_at_rest(home)
    return home


@pytest.mark.slow
@pytest.mark.parametrize("points", [20, pytest.param(300, marks=pytest.mark.torture)])
def test_a_build_killed_at_any_call_leaves_one_generation_or_the_next(
    template: Path,
    card: Path,
    dying: Dying,
    *,
    tmp_path: Path,
    points: int,
    record_property: Callable[[str, object], None],
) -> None:
    editions = {n: truth_of(n, card.parent) for n in range(BEFORE, BEFORE + 3)}
    either = {n: editions[n] for n in (BEFORE, BEFORE + 1)}
    shutil.copytree(template, tmp_path / "whole")
    whole = dying.build(tmp_path / "whole", BEFORE + 1)
    assert whole is not None
    assert answering(tmp_path / "whole", card, either) == BEFORE + 1
    # The first and the last call, and others evenly between.
    places = np.unique(np.linspace(1, whole.calls, points).astype(int)).tolist()
    assert len(places) == points
    counts: Counter[int] = Counter()
    for place in places:
        home = tmp_path / str(place)
        shutil.copytree(template, home)
        assert dying.build(home, BEFORE + 1, die_at=place) is None
        made = shards_of(home)
        number = answering(home, card, either)
        assert number in either, place
        counts[number] += 1
        if number > BEFORE:
            again = dying.build(home, number)
            assert again is not None
            assert again.number == number
            assert nothing_is_left_of_it(Home(home)), place
        # The same once more; where it had been published, the one after it.
        finished = dying.build(home, number + 1)
        assert finished is not None
        latest = {finished.number: editions[number + 1]}
        assert answering(home, card, latest) == finished.number > number, place
        assert made.items() <= shards_of(home).items(), place
        # Of what had been made for this edition, all but a shard was known to be there.
        kept = len(made) - len(shards_of(template)) if number == BEFORE else 0
        assert finished.reused >= COUNT - CHANGED + max(0, kept - 1), place
        assert nothing_is_left_of_it(Home(home)), place
        shutil.rmtree(home)
    answers = ANSWERS * (1 + 2 * len(places))
    said = (
        f"{len(places)} of {whole.calls} calls: "
        + ", ".join(f"{n} served {counts[n]} times" for n in sorted(counts))
        + f"; {answers:,} answers compared with brute force"
    )
    record_property("killed", said)
    assert set(counts) == set(either)


def answering(home: Path, card: Path, truths: dict[int, Truth]) -> int:
    """Generation that a server answers from, rightly."""
    held = Resources(Config(home=home, encoder=card))
    try:
        held.refresh()
        served = held.served
        assert held.trouble is None
        assert list(faults_of(served.searcher, truths)) == []
        return served.generation.number
    finally:
        held.close()


def shards_of(home: Path) -> dict[str, tuple[int, int]]:
    """Each by its name; one that is written anew is another file."""
    found = {path.name: path.stat() for path in Home(home).shards.glob("*/*.parquet")}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


def nothing_is_left_of_it(home: Home) -> bool:
    """Folders and rows are those of the generations that are kept, and no more."""
    with closing(open_store(home, home.database_url)) as store:
        kept = store.generations()
        with store.engine.connect() as connection:
            rows = set(connection.scalars(sa.select(SourceRow.generation).distinct()))
    folders = {path.name for path in home.generations.iterdir()}
    return (
        len(kept) == KEEP_GENERATIONS
        and all(generation.state == READY for generation in kept)
        and rows == {generation.number for generation in kept}
        and folders == {generation.folder for generation in kept}
        and not list(home.path.rglob("*.tmp"))
    )
