"""Waits for PostgreSQL, and gives a connection up from which nothing comes any more.

A statement's own timeout is the server's. What never arrives is waited for without an
end: the answer of a server that is frozen, the rest of a message whose length was
garbled on its way, what a device between swallows and acknowledges.
"""

import math
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, ClassVar, TypeVar

import psycopg
import sqlalchemy as sa
from psycopg.abc import PQGen, PQGenConn
from psycopg.waiting import Ready
from sqlalchemy import event

# For a ping of a connection that was idle, and to be let in. By then it is known of a
# server that it is away, and no other is opened instead.
_SHORT_S = 2.0

# The driver looks up so often while it waits.
_LOOK_S = 0.1

# To be let in by a server that says something now and then; libpq takes whole seconds.
_CONNECT_S = 10

# For a server to be told that nobody waits for a statement any more.
_CANCEL_S = 1.0

_AWAY = "the server has not answered of late"

# Whether one of the addresses that this thread tries was silent.
_opening = threading.local()

_Wanted = TypeVar("_Wanted")
_Result = TypeVar("_Result")


class SilenceError(psycopg.OperationalError):
    """Nothing came from the server."""


def bound_waiting(
    engine: sa.Engine,
    stall_s: float,
    *,
    connect_s: float = _SHORT_S,
    cancel: bool = True,
    is_away: Callable[[], bool] = lambda: False,
) -> None:
    """Have who waits on a connection of an engine get an error at last.

    Parameters
    ----------
    engine
        Of psycopg. Its connections are opened anew.
    stall_s
        Seconds in which something must come while an answer is waited for; of an
        answer that comes in pieces, the next piece.
    connect_s
        The same while a connection is opened.
    cancel
        Whether the server is told that nobody waits for a statement any more.
    is_away
        Whether it is known that nothing will come; then nobody waits, and no
        connection is opened.
    """

    class Bound(_Connection):
        usual_s, opening_s, cancels = stall_s, connect_s, cancel
        is_away_now = staticmethod(is_away)

    def connect(
        _dialect: object,
        _record: object,
        arguments: list[Any],
        parameters: dict[str, Any],
    ) -> psycopg.Connection[Any]:
        if is_away():
            raise SilenceError(_AWAY)
        parameters.setdefault("connect_timeout", _CONNECT_S)
        _opening.silent = False
        try:
            return Bound.connect(*arguments, **parameters)
        except psycopg.OperationalError as exc:
            # Of several addresses the error is of the last.
            if _opening.silent:
                raise SilenceError(str(exc)) from exc
            raise

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "checkin", _rest)
    event.listen(engine, "checkout", _work)
    engine.dispose()


def take_time(connection: sa.Connection) -> None:
    """Have its statements take what they take, as long as the server lives.

    It is so until the connection is given back.
    """
    driver = connection.connection.driver_connection
    if isinstance(driver, _Connection):
        driver.stall_s = math.inf


def _rest(connection: Any, _record: object) -> None:
    if connection is not None:
        connection.rests = True


def _work(connection: Any, _record: object, _user: object) -> None:
    connection.rests, connection.stall_s = False, connection.usual_s


class _Connection(psycopg.Connection[Any]):
    """Closed when nothing comes."""

    usual_s: ClassVar[float]
    opening_s: ClassVar[float]
    cancels: ClassVar[bool]
    is_away_now: ClassVar[Callable[[], bool]]
    rests = False
    """Whether nobody has it, but for the ping by which it is taken."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.stall_s = self.usual_s

    def wait(
        self,
        gen: PQGen[_Result],
        interval: float = _LOOK_S,
        *others: Any,
        **named: Any,
    ) -> _Result:
        return super().wait(_counted(gen, self._look), interval, *others, **named)

    def _look(self, silent_s: float) -> None:
        if type(self).is_away_now():
            self.close()
            raise SilenceError(_AWAY)
        stall_s = _SHORT_S if self.rests else self.stall_s
        if silent_s > stall_s:
            # It may be at work on it yet.
            worthwhile = self.cancels and not self.rests
            if worthwhile and psycopg.capabilities.has_cancel_safe():
                with suppress(psycopg.Error):
                    self.cancel_safe(timeout=_CANCEL_S)
            self.close()
            raise SilenceError(_silence(stall_s))

    @classmethod
    def _connect_gen(cls, *arguments: Any, **named: Any) -> PQGenConn[Any]:
        def look(silent_s: float) -> None:
            if cls.is_away_now():
                raise SilenceError(_AWAY)
            if silent_s > cls.opening_s:
                _opening.silent = True
                raise SilenceError(_silence(cls.opening_s))

        return _counted(super()._connect_gen(*arguments, **named), look)


def _silence(seconds: float) -> str:
    return f"nothing has come from the server for {seconds:g} s"


def _counted(
    waits: Generator[_Wanted, Ready | int, _Result], look: Callable[[float], None]
) -> Generator[_Wanted, Ready | int, _Result]:
    """Go on as the driver does, and tell for how long nothing has come.

    By how often it looked up: after a pause of this process the answer may be there.
    """
    looks = 0
    try:
        wanted = next(waits)
        while True:
            ready = yield wanted
            looks = 0 if ready else looks + 1
            if looks:
                look(looks * _LOOK_S)
            wanted = waits.send(ready)
    except StopIteration as done:
        result: _Result = done.value
        return result
