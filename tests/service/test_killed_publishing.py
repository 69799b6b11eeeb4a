"""A build killed at any call: what is served is whole, and the next run finishes."""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from dying import KEEP, Dying
from homes import faults_of, make_home, put_at_rest, truth
from skies import small_encoder

from twinjet.index.home import Home
from twinjet.index.opening import open_store
from twinjet.service.config import Config
from twinjet.service.resources import Resources

# In force before the build that is killed.
BEFORE = 3


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    make_home(folder / "home", generations=BEFORE)
    put_at_rest(folder / "home")
    small_encoder(views=1).save(folder)
    return folder


@pytest.fixture
def dying() -> Iterator[Dying]:
    with closing(Dying()) as nursery:
        yield nursery


@pytest.mark.slow
@pytest.mark.parametrize("points", [20, pytest.param(300, marks=pytest.mark.torture)])
def test_a_build_killed_at_any_call_leaves_one_generation_or_the_next(
    template: Path,
    dying: Dying,
    tmp_path: Path,
    points: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(template / "home", tmp_path / "whole")
    calls = dying.build(tmp_path / "whole")
    assert calls is not None
    card = template / "small.json"
    assert answering(tmp_path / "whole", card) == BEFORE + 1
    counts: Counter[int] = Counter()
    # The first and the last call, and others evenly between.
    places = np.unique(np.linspace(1, calls, points).astype(int)).tolist()
    for place in places:
        home = tmp_path / str(place)
        shutil.copytree(template / "home", home)
        assert dying.build(home, die_at=place) is None
        number = answering(home, card)
        assert number in {BEFORE, BEFORE + 1}, place
        counts[number] += 1
        assert dying.build(home) is not None
        assert answering(home, card) > number, place
        assert nothing_is_left_of_it(Home(home)), place
        shutil.rmtree(home)
    with capsys.disabled():
        print(  # noqa: T201
            f"\nkilled at {len(places)} of {calls} calls: served were then "
            + ", ".join(f"{n} {counts[n]} times" for n in sorted(counts))
        )
    assert set(counts) == {BEFORE, BEFORE + 1}


def answering(home: Path, card: Path) -> int:
    """Generation that a server answers from, rightly."""
    held = Resources(Config(home=home, encoder=card))
    try:
        held.refresh()
        served = held.served
        assert held.trouble is None
        truths = {number: truth(number) for number in range(1, BEFORE + 4)}
        assert list(faults_of(served.searcher, truths)) == []
        return served.generation.number
    finally:
        held.close()


def nothing_is_left_of_it(home: Home) -> bool:
    """Folders are those of the generations that are kept, and no more."""
    with closing(open_store(home, home.database_url)) as store:
        kept = sorted(generation.folder for generation in store.generations())
    folders = sorted(path.name for path in home.generations.iterdir())
    return folders == kept and len(kept) == KEEP
