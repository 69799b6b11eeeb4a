"""A database belongs to one home: what it says about files is true of no other.

Both have the same identity: a row of the database, and a file of the home or, where
machines have homes of their own, of the store that they share.
"""

import uuid

import sqlalchemy as sa

from twinjet.index.durable import half_done, publish_file
from twinjet.index.errors import HomeMismatchError, StoreError
from twinjet.index.home import Home
from twinjet.index.schema import GenerationRow, InstallationRow
from twinjet.index.sharing import SharedStore

_FILE = "home.id"

# The one row of the table, and any number for the lock of PostgreSQL.
_ROW = 1
_LOCK = 0x7714_1E8


def join(home: Home, engine: sa.Engine) -> None:
    """Make sure that a home and a database are of one installation.

    A database that is of no home yet becomes this one's, unless the home has
    generations that it does not know: the next build would remove them.

    Raises
    ------
    HomeMismatchError
        The database is of another home, or knows nothing of what this one has.
    StoreError
        The home cannot be read or written.
    """
    with engine.execution_options(twinjet_write=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        wanted = connection.scalar(sa.select(InstallationRow.home_id))
        try:
            found = _read(home)
            if wanted is None:
                _refuse_stranger(home, connection)
                # The file first: with a row alone no home would be the right one.
                name = found or _write(home)
                row = {"id": _ROW, "home_id": name}
                connection.execute(sa.insert(InstallationRow), row)
                return
        except (OSError, ValueError) as exc:
            msg = f"the home {home.path} cannot be used: {exc}"
            raise StoreError(msg, actual=str(home.path)) from exc
    if found != wanted:
        place = home.shared or str(home.path)
        msg = (
            f"the database is of home {wanted}, {place} "
            f"{'has no home.id' if found is None else f'is home {found}'}: set "
            "TWINJET_HOME (and TWINJET_SHARED_STORE) to the folder that the other "
            "workers and servers of this database have, or TWINJET_DATABASE_URL to a "
            "database of its own"
        )
        raise HomeMismatchError(msg, limit=wanted, actual=found)


def _refuse_stranger(home: Home, connection: sa.Connection) -> None:
    """Refuse a database without a generation to a home that has some."""
    kept = sorted(home.generations.glob("g[0-9]*"))
    if kept and connection.scalar(sa.select(GenerationRow.number).limit(1)) is None:
        msg = (
            f"{home.path} has {kept[0].name}, and the database knows no generation: "
            "set TWINJET_DATABASE_URL to the one that is of this home, or TWINJET_HOME "
            "to an empty folder; without its database a home has to be restored from a "
            f"backup, or {home.generations} moved away and its sources indexed again"
        )
        raise HomeMismatchError(msg, limit=len(kept), actual=0)


def _read(home: Home) -> str | None:
    """Identity of a home; that of the store, where machines share one."""
    path = home.path / _FILE
    here = path.read_text(encoding="ascii").strip() if path.exists() else None
    if home.shared is None:
        return here
    copy = SharedStore(home.shared, home.path).read(path)
    if copy is None and here is not None:  # a home that is shared from now on
        home.share(path)
        return here
    there = None if copy is None else copy.decode("ascii").strip()
    if here is not None and here != there:
        msg = f"{home.path} is home {here}, and {home.shared} is of home {there}"
        raise HomeMismatchError(msg, limit=there, actual=here)
    return there


def _write(home: Home) -> str:
    """Give a home its identity."""
    name = uuid.uuid4().hex
    path = home.path / _FILE
    home.path.mkdir(parents=True, exist_ok=True)
    written = half_done(path)
    written.write_text(f"{name}\n", encoding="ascii")
    publish_file(written, path)
    home.share(path)
    return name
