"""Requests over connections that stay open, cheaper than any client library."""

import asyncio
import socket
import time
from collections import deque
from dataclasses import dataclass
from typing import cast

import httptools

# A server may close a connection that has been idle for so long.
_IDLE_S = 4.0


@dataclass(frozen=True)
class Reply:
    """What of an answer is of interest here."""

    status: int
    retry_after: bool
    """Whether it says when to come again."""
    body: bytes


class DroppedError(ConnectionError):
    """The server closed a connection before it had answered; says which."""


class Connection(asyncio.Protocol):
    """One request at a time, as bytes."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._reply: asyncio.Future[Reply] | None = None
        self.usable = True
        self.asked = 0
        """How often."""
        self.idle_since = time.monotonic()
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._retry_after = False
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of asyncio."""
        # uvloop's is one in all but name.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Of asyncio: who waits for an answer will not have one."""
        self.usable = False
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(exc or ConnectionResetError("closed by server"))

    def data_received(self, data: bytes) -> None:
        """Of asyncio."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as exc:
            self.usable = False
            if self._reply is not None and not self._reply.done():
                self._reply.set_exception(ConnectionError(str(exc)))

    def on_header(self, name: bytes, value: bytes) -> None:  # noqa: ARG002
        """Of the parser."""
        if name.lower() == b"retry-after":
            self._retry_after = True

    def on_body(self, body: bytes) -> None:
        """Of the parser."""
        self._body += body

    def on_message_complete(self) -> None:
        """Of the parser."""
        self.usable = self.usable and self._parser.should_keep_alive()
        if self._reply is not None and not self._reply.done():
            status = self._parser.get_status_code()
            self._reply.set_result(Reply(status, self._retry_after, self._body))

    async def ask(self, request: bytes) -> Reply:
        """Send a request, wait for its answer.

        Raises
        ------
        ConnectionError
            It was not answered to its end.
        """
        assert self._transport is not None
        if not self.usable:
            msg = "the connection is closed"
            raise ConnectionResetError(msg)
        self._begin()
        self.asked += 1
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._reply

    def close(self) -> None:
        """Leave."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()


class Connections:
    """As many connections as are needed at a time, up to a bound.

    Parameters
    ----------
    port
        Of the server, on this machine.
    most
        Connections; who comes when all are taken waits for one.
    """

    def __init__(self, port: int, most: int) -> None:
        self._port = port
        self._idle: deque[Connection] = deque()
        self._places = asyncio.Semaphore(most)
        self.opened = 0

    async def ask(self, request: bytes, patience_s: float) -> Reply:
        """Send a request by a connection that is free, or by a new one.

        Raises
        ------
        OSError, TimeoutError
            It was not answered.
        """
        async with self._places, asyncio.timeout(patience_s):
            connection = await self._free()
            idle_s = time.monotonic() - connection.idle_since
            try:
                reply = await connection.ask(request)
            except ConnectionError as exc:
                connection.close()
                # A server that closes what has been idle may do so just now.
                before = "new" if connection.asked == 1 else "kept open"
                idle = "" if idle_s < _IDLE_S else f", idle for {_IDLE_S:g} s or more"
                msg = f"{type(exc).__name__} on a connection that was {before}{idle}"
                raise DroppedError(msg) from exc
            except BaseException:
                connection.close()
                raise
            if connection.usable:
                connection.idle_since = time.monotonic()
                self._idle.append(connection)
            else:
                connection.close()
            return reply

    async def _free(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            Connection, "127.0.0.1", self._port, family=socket.AF_INET
        )
        self.opened += 1
        return connection

    def close(self) -> None:
        """Leave."""
        while self._idle:
            self._idle.pop().close()
