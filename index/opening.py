"""The metadata store of an installation, ready for use."""

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from twinjet.index.database import (
    cause_of,
    create_engine,
    file_of,
    refuse_damaged,
    upgrade,
)
from twinjet.index.errors import StoreError
from twinjet.index.filesystem import refuse_network
from twinjet.index.home import Home
from twinjet.index.ownership import join
from twinjet.index.store import SourceStore


def refuse_network_disks(home: Home, url: str) -> None:
    """Refuse SQLite on another machine's disk, before it is opened.

    Raises
    ------
    StoreError
        Naming the filesystem.
    """
    file = file_of(url)
    if file is not None:
        for kept in (file, home.path):  # which has those of jobs and of rates
            refuse_network(kept)


def open_store(
    home: Home, url: str, *, look: bool = False, engine: sa.Engine | None = None
) -> SourceStore:
    """The metadata store, brought to this version and known to be of this home.

    Parameters
    ----------
    home
        Its files.
    url
        Of its database.
    look
        Whether every page of a SQLite database is looked at first.
    engine
        Of that URL, where it is not made as others are.

    Raises
    ------
    DatabaseDamagedError
        Its file is damaged.
    HomeMismatchError
        It belongs to another home.
    StoreError
        It cannot be reached or changed, lies on another machine's disk, or a restore
        into this home was interrupted.
    """
    if home.unfinished.exists():
        msg = (
            f"a restore into {home.path} was interrupted: run `twinjet db restore` "
            "once more, with the same backup"
        )
        raise StoreError(msg, actual=str(home.path))
    refuse_network_disks(home, url)
    home.path.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url) if engine is None else engine
    try:
        if look:
            refuse_damaged(engine)
        upgrade(engine)
        join(home, engine)
    except SQLAlchemyError as exc:
        engine.dispose()
        msg = f"the metadata store cannot be used: {cause_of(exc)}"
        raise StoreError(msg) from exc
    except BaseException:
        engine.dispose()
        raise
    return SourceStore(engine)
