"""Waits for PostgreSQL, and gives a connection up from which nothing comes any more.

A statement's own timeout is the server's. What never arrives is waited for without an
end: the answer of a server that is frozen, the rest of a message whose length was
garbled on its way, what a device between swallows and acknowledges.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import psycopg
import sqlalchemy as sa
from psycopg.abc import PQGen, PQGenConn
from psycopg.waiting import Ready
from sqlalchemy import event

# For a ping of a connection that was idle, and for what is sent to be acknowledged. By
# then it is known of a server that it is away, and none is opened instead.
IDLE_S = 2.0

# The driver looks up so often while it waits.
_LOOK_S = 0.1

# libpq takes whole seconds, and no fewer; for each address of a server.
_CONNECT_S = 2

_AWAY = "the server has not answered of late"

_Wanted = TypeVar("_Wanted")
_Result = TypeVar("_Result")


class SilenceError(psycopg.OperationalError):
    """Nothing came from the server."""


def bound_waiting(
    engine: sa.Engine, stall_s: float, is_away: Callable[[], bool] = lambda: False
) -> None:
    """Have who waits on a connection of an engine get an error at last.

    Parameters
    ----------
    engine
        Of psycopg. Its connections are opened anew.
    stall_s
        Seconds in which something must come while an answer is waited for; of an
        answer that comes in pieces, the next piece.
    is_away
        Whether it is known that nothing will come; then nobody waits, and no
        connection is opened.
    """

    class Bound(_Connection):
        limits = _Limits(stall_s, is_away)

    def connect(
        _dialect: object,
        _record: object,
        arguments: list[Any],
        parameters: dict[str, Any],
    ) -> psycopg.Connection[Any]:
        Bound.limits.refuse_away()
        parameters.setdefault("connect_timeout", _CONNECT_S)
        parameters.setdefault("tcp_user_timeout", round(1000 * IDLE_S))
        return Bound.connect(*arguments, **parameters)

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "checkin", _rest)
    event.listen(engine, "checkout", _work)
    engine.dispose()


def _rest(connection: Any, _record: object) -> None:
    if connection is not None:
        connection.rests = True


def _work(connection: Any, _record: object, _user: object) -> None:
    connection.rests = False


@dataclass(frozen=True)
class _Limits:
    """How long is waited for what."""

    stall_s: float
    is_away: Callable[[], bool]

    def refuse_away(self) -> None:
        if self.is_away():
            raise SilenceError(_AWAY)


class _Connection(psycopg.Connection[Any]):
    """Closed when nothing comes."""

    limits: ClassVar[_Limits]
    rests = False
    """Whether nobody has it, but for the ping by which one takes it."""

    def wait(
        self,
        gen: PQGen[_Result],
        interval: float = _LOOK_S,
        *others: Any,
        **named: Any,
    ) -> _Result:
        return super().wait(_counted(gen, self._look), interval, *others, **named)

    @classmethod
    def _connect_gen(cls, *arguments: Any, **named: Any) -> PQGenConn[Any]:
        opening = super()._connect_gen(*arguments, **named)
        return _counted(opening, lambda _: cls.limits.refuse_away())

    def _look(self, looks: int) -> None:
        stall_s = IDLE_S if self.rests else self.limits.stall_s
        silent = looks * _LOOK_S > stall_s
        if silent or self.limits.is_away():
            self.close()
            silence = f"nothing has come from the server for {stall_s:g} s"
            raise SilenceError(silence if silent else _AWAY)


def _counted(
    waits: Generator[_Wanted, Ready | int, _Result], look: Callable[[int], None]
) -> Generator[_Wanted, Ready | int, _Result]:
    """Go on as the driver does, and tell how often it looked up for nothing.

    Counted, for after a pause of this process the answer may be there.
    """
    looks = 0
    try:
        wanted = next(waits)
        while True:
            ready = yield wanted
            looks = 0 if ready else looks + 1
            if looks:
                look(looks)
            wanted = waits.send(ready)
    except StopIteration as done:
        result: _Result = done.value
        return result
