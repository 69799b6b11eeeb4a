"""Notices a PostgreSQL that has stopped answering, and lets nobody wait for it.

A slow statement is waited for, and a server that is frozen, or behind a cable that
swallows everything, looks like one. So it is asked again and again what takes no time;
when that is not answered, nobody waits any longer until it is.
"""

import logging
import threading

import sqlalchemy as sa
from psycopg.errors import ConnectionTimeout
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from twinjet.index.waiting import SilenceError, bound_waiting

_log = logging.getLogger(__name__)

# From the freezing of a server to the error: the sum, and a look.
_EVERY_S = 0.4
_PATIENCE_S = 1.2


class Heartbeat:
    """Asks a PostgreSQL whether it lives, from a thread of its own.

    Parameters
    ----------
    engine
        Whose connections are not to be waited on; of psycopg.
    stall_s
        Seconds in which something must come from a server that lives while an answer
        is waited for.
    every_s
        Seconds between an answer and the next question.
    """

    def __init__(
        self, engine: sa.Engine, stall_s: float, *, every_s: float = _EVERY_S
    ) -> None:
        self._every_s = every_s
        self._away = False
        self._over = threading.Event()
        self._own = sa.create_engine(engine.url, poolclass=NullPool)
        bound_waiting(self._own, _PATIENCE_S)
        bound_waiting(engine, stall_s, lambda: self._away)
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
        while not self._over.is_set():
            try:
                with self._own.connect() as connection:
                    self._ask_again_and_again(connection)
            except DBAPIError as exc:
                # A server that is stopped refuses at once: who asks it has that error.
                if isinstance(exc.orig, SilenceError | ConnectionTimeout):
                    self._found_away(exc.orig)
            except Exception:  # noqa: BLE001 - a server that is away would stay so
                _log.exception("the database cannot be asked whether it lives")
            self._over.wait(self._every_s)

    def _ask_again_and_again(self, connection: sa.Connection) -> None:
        own = connection.execution_options(isolation_level="AUTOCOMMIT")
        while not self._over.is_set():
            own.execute(sa.select(1))
            if self._away:
                _log.warning("the database answers again")
                self._away = False
            self._over.wait(self._every_s)

    def _found_away(self, reason: BaseException) -> None:
        if not self._away:
            _log.error("the database does not answer: %s", reason)
        self._away = True
