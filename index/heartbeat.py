"""Notices a PostgreSQL that has stopped answering, and lets nobody wait for it.

What a frozen server, or a cable that swallows everything, was asked is waited for
without an end: the statement's own timeout is the server's, and the other machine's
kernel acknowledges what was sent. So a question is asked again and again; when one is
not answered in time, all connections are shut, by which who waits on one has an error
at once, and none is opened until there is an answer.
"""

import errno
import logging
import socket
import threading
import time
from os import dup
from typing import Any
from weakref import WeakSet

import psycopg
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

_log = logging.getLogger(__name__)

# From the freezing of a server to the error: the sum, and a look. Who is just being let
# in waits for that, two seconds for each address of the server.
_EVERY_S = 0.4
_PATIENCE_S = 1.2

# How often it is looked whether a question has its answer.
_LOOKS = 10

# libpq takes whole seconds, and no fewer.
_CONNECT_S = 2


class Heartbeat:
    """Asks a PostgreSQL whether it lives, from a thread of its own.

    Parameters
    ----------
    engine
        Whose connections are not to be waited for; of psycopg.
    every_s
        Seconds between an answer and the next question.
    patience_s
        Longest wait for an answer.
    """

    def __init__(
        self,
        engine: sa.Engine,
        *,
        every_s: float = _EVERY_S,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._every_s = every_s
        self._patience_s = patience_s
        self._own = sa.create_engine(engine.url, poolclass=NullPool)
        self._connections: WeakSet[Any] = WeakSet()
        self._changing = threading.Lock()
        self._asked: float | None = None
        self._away = False
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=work, name="heartbeat", daemon=True)
            for work in (self._ask_for_ever, self._watch_for_ever)
        ]
        for watched in (self._own, engine):
            event.listen(watched, "connect", self._connected)
            event.listen(watched, "do_connect", _hurry)
        event.listen(engine, "do_connect", self._refuse)
        event.listen(engine, "checkout", self._refuse)
        # What was opened before this could not be shut.
        engine.dispose()

    @property
    def away(self) -> bool:
        """Whether the server does not answer."""
        return self._away

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask no more, and do not wait for an answer."""
        self._over.set()

    def _connected(self, connection: Any, _record: object) -> None:
        with self._changing:
            self._connections.add(connection)

    def _refuse(self, *_: object) -> None:
        if self._away:
            raise OperationalError(None, None, ConnectionError("it does not answer"))

    def _ask_for_ever(self) -> None:
        while not self._over.is_set():
            # To be let in is a question, too; a server that is stopped refuses at once.
            self._asked = time.monotonic()
            try:
                with self._own.connect() as connection:
                    self._ask_again_and_again(connection)
            except DBAPIError:
                pass  # who asks it has the same error
            except Exception:  # noqa: BLE001 - a server that is away would stay so
                _log.exception("the database cannot be asked whether it lives")
            self._asked = None
            self._over.wait(self._every_s)

    def _ask_again_and_again(self, connection: sa.Connection) -> None:
        own = connection.execution_options(isolation_level="AUTOCOMMIT")
        while not self._over.is_set():
            self._asked = time.monotonic()
            own.execute(sa.select(1))
            self._asked = None
            if self._away:
                _log.warning("the database answers again")
                self._away = False
            self._over.wait(self._every_s)

    def _watch_for_ever(self) -> None:
        looks, last = 0, None
        # Counted in looks: after a pause of this process the answer may be there.
        while not self._over.wait(self._patience_s / _LOOKS):
            asked = self._asked
            looks, last = (looks + 1 if asked and asked == last else 0), asked
            if looks < _LOOKS:
                continue
            looks = 0
            if not self._away:
                _log.error("the database has not answered for %g s", self._patience_s)
            # First: what is opened from now on would not be shut.
            self._away = True
            self._shut_all()

    def _shut_all(self) -> None:
        with self._changing:
            connections = list(self._connections)
        for connection in connections:
            if _shut(connection):
                with self._changing:
                    self._connections.discard(connection)


def _hurry(
    _dialect: object, _record: object, _arguments: object, parameters: dict[str, Any]
) -> None:
    """Neither is one let in for long, nor is what nobody acknowledges waited for.

    The second is of one connection that a firewall between has forgotten: the others
    go on, and the heartbeat is one of these.
    """
    parameters.setdefault("connect_timeout", _CONNECT_S)
    parameters.setdefault("tcp_user_timeout", round(1000 * _PATIENCE_S))


def _shut(connection: Any) -> bool:
    """End a connection of psycopg for who waits on it, in another thread.

    Whether that is done; else there is no file left for it, and it is tried again.
    """
    if connection.closed:
        return True
    try:
        descriptor = connection.pgconn.socket
        with socket.socket(fileno=dup(descriptor)) as ours:
            # Else the number may be another file's by now.
            if connection.pgconn.socket == descriptor:
                ours.shutdown(socket.SHUT_RDWR)
    except OSError as exc:
        return exc.errno not in {errno.EMFILE, errno.ENFILE}
    except psycopg.Error:  # it was closed meanwhile
        pass
    return True
