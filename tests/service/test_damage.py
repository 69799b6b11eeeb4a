"""A damaged home gives true answers or none.

Homes of two generations are damaged in every way and opened as a server opens them.
What is served then answers for every source, by ID, position and filter, exactly as
brute force over what the generation was made of; damage is harmless where it does.
"""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from damages import KINDS, Homes
from homes import faults_of, make_home, put_at_rest, truth

from twinjet.index.errors import DatabaseDamagedError, NoGenerationError, StoreError
from twinjet.service.config import Config
from twinjet.service.resources import Resources


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("homes")
    write_originals(folder)
    return folder


def write_originals(folder: Path) -> None:
    """A home, the same on an earlier day, and one built anew under its name."""
    home, older, other = (folder / name for name in ("home", "older", "other"))
    make_home(home, generations=1)
    put_at_rest(home)
    shutil.copytree(home, older)
    other.mkdir()
    shutil.copyfile(home / "home.id", other / "home.id")
    make_home(home)
    make_home(other, seed=1)
    for one in (home, other):
        put_at_rest(one)


@pytest.mark.slow
@pytest.mark.parametrize(
    "cases",
    [
        2 * len(KINDS),
        pytest.param(40 * len(KINDS), marks=pytest.mark.torture),
    ],
)
def test_a_damaged_home_gives_true_answers_or_none(
    originals: Path,
    card: Path,
    tmp_path: Path,
    *,
    cases: int,
    record_property: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    counts: Counter[tuple[str, str]] = Counter()
    wrong: list[str] = []
    for case in range(cases):
        kind = list(KINDS)[case % len(KINDS)]
        home = tmp_path / str(case)
        shutil.copytree(originals / "home", home)
        homes = Homes(home, originals / "older", originals / "other")
        KINDS[kind](homes, Random(case))  # noqa: S311 - no secret
        outcome, faults = opened(Config(home=home, encoder=card))
        counts[kind, outcome] += 1
        wrong += [f"{kind}, case {case}: {fault}" for fault in faults]
        shutil.rmtree(home)
    outcomes: Counter[str] = Counter()
    for (_, outcome), count in counts.items():
        outcomes[outcome] += count
    said = ", ".join(f"{outcomes[one]} {one}" for one in sorted(outcomes))
    said = f"{cases} damaged homes, {len(wrong)} wrong answers: {said}"
    record_property("damaged", said)
    with capsys.disabled():
        for (kind, outcome), count in sorted(counts.items()):
            print(f"  {count:5} {kind}: {outcome}")  # noqa: T201
    assert not wrong
    assert outcomes.total() - outcomes["answered"] > cases // 2


def opened(config: Config) -> tuple[str, list[str]]:
    """What a server makes of a home, and what is wrong with its answers."""
    try:
        held = Resources(config)
    except StoreError:
        return "refused at start", []
    try:
        held.refresh()
        served = held.served
        truths = {number: truth(number) for number in (1, 2)}
        outcome = "answered"
        if served.generation.number == 1:
            outcome = "the one before" if held.trouble else "an earlier state"
        return outcome, list(faults_of(served.searcher, truths))
    except DatabaseDamagedError as exc:
        assert "twinjet db restore" in str(exc)  # noqa: PT017
        return "database damaged", []
    except NoGenerationError:
        return "nothing served", []
    finally:
        held.close()
