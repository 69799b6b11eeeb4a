"""The power fails while a generation is published: it is there, or the one before."""

import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from homes import faults_of
from power import Builder, Careless, Disk, mounted, publish, truth_of, write_catalogue
from serving import wait_until
from sqlalchemy.exc import SQLAlchemyError

from twinjet.index.errors import TwinjetIndexError
from twinjet.index.generation import folder_name
from twinjet.index.home import Home
from twinjet.index.opening import open_store
from twinjet.index.store import READY
from twinjet.model.encoder import load_encoder
from twinjet.service.config import Config
from twinjet.service.resources import Resources

# In force, and on the disk, before the builder that loses its power begins.
BEFORE = 2

# A build takes less, and a fifth of it from when its files have their name.
LONGEST_S = 1.0
LONGEST_END_S = 0.2


@dataclass(frozen=True)
class Loss:
    """A disk as a power loss has left it."""

    image: Path
    before: int
    """The last generation that was known to be published before the power was cut."""
    after: int
    """The last one that was known when it was."""


@pytest.mark.slow
@pytest.mark.parametrize("losses", [5, pytest.param(50, marks=pytest.mark.torture)])
def test_after_a_power_loss_a_generation_or_the_next_is_served(
    card: Path,
    tmp_path: Path,
    losses: int,
    record_property: Callable[[str, object], None],
) -> None:
    encoder = load_encoder(card)
    counts: Counter[str] = Counter()
    half_done = 0
    # What ext4 does by itself comes at other moments, too.
    for commit_s, some in ((5, losses - losses // 2), (1, losses // 2)):
        place = tmp_path / str(commit_s)
        skies = place / "skies"
        with closing(power_losses(place, card, some, commit_s=commit_s)) as disks:
            for loss in disks:
                with mounted(loss.image, place / "after") as disk:
                    number = serve(disk / "home", skies, card)
                    half_done += has_half_done(Home(disk / "home"))
                    assert loss.before <= number <= loss.after + 1
                    counts["the last" if number == loss.before else "the next"] += 1
                    later = publish(Home(disk / "home"), skies / "later", encoder)
                    assert later > number
                    assert serve(disk / "home", skies, card, sky="later") == later
    assert counts.total() == losses
    text = f"{losses}: {said(counts)}; a build was half done in {half_done}"
    record_property("power losses", text)


@pytest.mark.slow
@pytest.mark.parametrize("careless", ["files", "database"])
def test_what_did_not_wait_for_the_disk_is_lost_with_the_power(
    card: Path,
    tmp_path: Path,
    careless: Careless,
    record_property: Callable[[str, object], None],
) -> None:
    counts: Counter[str] = Counter()
    losses = power_losses(tmp_path, card, 5, commit_s=5, careless=careless)
    with closing(losses) as disks:
        for loss in disks:
            with mounted(loss.image, tmp_path / "after") as disk:
                try:
                    number = serve(disk / "home", tmp_path / "skies", card)
                except (AssertionError, TwinjetIndexError, SQLAlchemyError):
                    counts["one in trouble"] += 1
                else:
                    kept = loss.before <= number
                    counts["what was published" if kept else "an earlier one"] += 1
    record_property("power losses", f"5 careless of the {careless}: {said(counts)}")
    assert counts["one in trouble"] + counts["an earlier one"] > 0


def has_half_done(home: Home) -> bool:
    """Whether a build had begun to write a generation."""
    with closing(open_store(home, home.database_url)) as store:
        ready = {g.folder for g in store.generations() if g.state == READY}
        begun = len(store.generations()) > len(ready)
    return begun or {path.name for path in home.generations.iterdir()} != ready


def said(counts: Counter[str]) -> str:
    """How often each came."""
    return ", ".join(f"{counts[name]} served {name}" for name in sorted(counts))


def power_losses(
    place: Path,
    card: Path,
    count: int,
    *,
    commit_s: int,
    careless: Careless = "never",
) -> Generator[Loss]:
    """Disks at random moments, while one generation after the other is published.

    Every other moment is near the end of a build, when it becomes the current one. A
    disk is there until the next one is asked for.
    """
    rng = np.random.default_rng([count, commit_s])
    encoder = load_encoder(card)
    skies = place / "skies"
    write_catalogue(skies / "later", 0)
    with Disk(place / "power", commit_s=commit_s) as power:
        home = power.path / "home"
        for number in range(1, BEFORE + 1):
            write_catalogue(skies / f"sky{number}", number)
            assert publish(Home(home), skies / f"sky{number}", encoder) == number
        with closing(
            Builder(home, skies, card, first=BEFORE + 1, careless=careless)
        ) as builder:
            wait_until(lambda: builder.acknowledged > BEFORE)
            for number in range(count):
                if number % 2:
                    await_files(Home(home), builder)
                time.sleep(rng.uniform(0, LONGEST_END_S if number % 2 else LONGEST_S))
                before = builder.acknowledged
                image = place / f"{number}.img"
                with power.stopped():
                    after = builder.acknowledged
                    power.copy(image)
                with builder.paused():
                    yield Loss(image, before, after)
                image.unlink()


def await_files(home: Home, builder: Builder) -> None:
    """Wait until the files of the next generation have their name."""

    def is_there() -> bool:
        return (home.generations / folder_name(builder.acknowledged + 1)).exists()

    wait_until(is_there)


def serve(home: Path, skies: Path, card: Path, *, sky: str | None = None) -> int:
    """Generation that a server answers from, rightly; all that are kept are whole."""
    held = Resources(Config(home=home, encoder=card))
    try:
        held.refresh()
        served = held.served
        assert held.trouble is None
        number = served.generation.number
        assert served.manifest.catalogue_name == (sky or f"sky{number}")
        truth = truth_of(skies / served.manifest.catalogue_name, load_encoder(card))
        assert list(faults_of(served.searcher, {number: truth})) == []
        for generation in held.store.generations():
            if generation.state == READY:
                held.earlier(generation.number)
        return number
    finally:
        held.close()
