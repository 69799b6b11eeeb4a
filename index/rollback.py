"""An earlier generation becomes the current one again."""

from twinjet.index.errors import UnknownGenerationError
from twinjet.index.generation import open_generation
from twinjet.index.home import Home
from twinjet.index.locks import lease_of
from twinjet.index.store import READY, SourceStore


def roll_back(home: Home, store: SourceStore, number: int) -> None:
    """Publish a generation again, if its files are whole.

    From the look at its files to the publication nobody removes them.

    Raises
    ------
    UnknownGenerationError
        There is none of this number, or it is just being removed.
    GenerationDamagedError
        A file is absent or not what was published.
    """
    generation = store.generation(number)
    if generation.state != READY:
        msg = f"generation {number} is not ready to be published"
        raise UnknownGenerationError(msg, actual=number)
    lease = lease_of(store.engine, number)
    if lease is not None and not lease.take():
        msg = f"generation {number} is just being removed"
        raise UnknownGenerationError(msg, actual=number)
    try:
        opened = open_generation(home.generation(generation.folder))
        store.publish(number)
        del opened  # and its own lease with it, not before
    finally:
        if lease is not None:
            lease.release()
