"""Notices a PostgreSQL that has stopped answering, and lets nobody wait for it.

A slow statement is waited for, and a server that is frozen, or behind a cable that
swallows everything, looks like one. So it is asked again and again what takes no time.
When that is not answered, and neither is who comes anew, nobody waits any longer until
it is.
"""

import logging
import threading

import sqlalchemy as sa
from psycopg.errors import ConnectionTimeout
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from twinjet.index.waiting import SilenceError, bound_waiting

_log = logging.getLogger(__name__)

# From the freezing of a server to the error: the sum, and a look after each.
_EVERY_S = 0.2
_PATIENCE_S = 0.5
_CONNECT_S = 0.8

# What befell one connection need not have befallen others.
_SILENCES = 2


class Heartbeat:
    """Asks a PostgreSQL whether it lives, from a thread of its own.

    Parameters
    ----------
    engine
        Whose connections are not to be waited on; of psycopg.
    stall_s
        Seconds in which something must come from a server that lives while an answer
        is waited for.
    """

    def __init__(self, engine: sa.Engine, stall_s: float) -> None:
        self._away = False
        self._silences = 0
        self._over = threading.Event()
        self._own = sa.create_engine(engine.url, poolclass=NullPool)
        bound_waiting(self._own, _PATIENCE_S, connect_s=_CONNECT_S, cancel=False)
        bound_waiting(engine, stall_s, is_away=lambda: self._away)
        self._thread = threading.Thread(
            target=self._ask_for_ever, name="heartbeat", daemon=True
        )

    @property
    def away(self) -> bool:
        """Whether the server does not answer."""
        return self._away

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more, and do not wait for an answer."""
        self._over.set()

    def _ask_for_ever(self) -> None:
        troubled = False
        while not self._over.is_set():
            try:
                with self._own.connect() as connection:
                    self._ask_again_and_again(connection)
            except DBAPIError as exc:
                if isinstance(exc.orig, SilenceError | ConnectionTimeout):
                    self._heard_nothing()
                else:
                    self._heard()  # an error is an answer; who asks has it, too
                    self._over.wait(_EVERY_S)
            except Exception:  # noqa: BLE001 - a server that is away would stay so
                if not troubled:
                    _log.exception("the database cannot be asked whether it lives")
                troubled = True
                self._over.wait(_EVERY_S)
            else:
                troubled = False

    def _ask_again_and_again(self, connection: sa.Connection) -> None:
        own = connection.execution_options(isolation_level="AUTOCOMMIT")
        while not self._over.is_set():
            own.execute(sa.select(1))
            self._heard()
            self._over.wait(_EVERY_S)

    def _heard(self) -> None:
        if self._away:
            _log.warning("the database answers again")
        self._away, self._silences = False, 0

    def _heard_nothing(self) -> None:
        """One silence may be of the connection; a new one tells, at once."""
        self._silences += 1
        if self._silences >= _SILENCES and not self._away:
            _log.error("the database does not answer")
            self._away = True
