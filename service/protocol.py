"""uvicorn's protocol for HTTP, with clocks for clients that are slow or silent.

uvicorn itself waits for ever for the headers of a request, and for a client to take
its answer. `twinjet serve` uses this; for others it is

    uvicorn --http twinjet.service.protocol:PatientProtocol …
"""

import asyncio
import math
from typing import Any, NoReturn

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

PATIENCE = "connection_stall_s"
"""Key of the state that the lifespan gives to the server."""

_PATIENCE_S = 10.0

# In which a connection is given up that has no request when the server ends, or whose
# request was refused.
_LAST_S = 0.5

_LATE = (
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)
# Of a request: names and values of its headers, and its address, of which httptools
# understands no more.
_HEADERS_BYTES = 1 << 15
_ADDRESS_BYTES = (1 << 16) - 1


def _refusal(status: bytes, told: bytes) -> bytes:
    return (
        b"HTTP/1.1 %b\r\nconnection: close\r\n"
        b"content-type: text/plain; charset=utf-8\r\n"
        b"content-length: %d\r\n\r\n%b" % (status, len(told), told)
    )


_LONG_HEADERS = _refusal(
    b"431 Request Header Fields Too Large",
    b"the headers of a request have %d bytes at most\n" % _HEADERS_BYTES,
)
_LONG_ADDRESS = _refusal(
    b"414 URI Too Long",
    b"the address of a request has %d bytes at most\n" % _ADDRESS_BYTES,
)
_UPGRADE = _refusal(
    b"400 Bad Request",
    b"there is no other protocol to change to: leave the header Upgrade out\n",
)
_HOSTS = _refusal(
    b"400 Bad Request",
    b"a request of HTTP/1.1 has one header Host\n",
)
_CODING = _refusal(
    b"501 Not Implemented",
    b"a body may be chunked and is sent in no other Transfer-Encoding\n",
)
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n"
    b"content-length: 0\r\n\r\n"
)


class PatientProtocol(HttpToolsProtocol):
    """One connection, which ends when its client stalls.

    The headers of a request must have come so soon after the connection, or after
    their first byte; and of an answer that is not taken whole something must be taken
    each time. How soon is `PATIENCE` in the state of the lifespan. Headers of more than
    32 KiB are refused (431) while they come, and longer addresses than 64 KiB (414). So
    is a body that comes with a wish for another protocol (400): the parser would take
    it for the next request. So are no Host or several (400), and a Transfer-Encoding
    that is not ``chunked`` (501).
    Bodies are timed by `BodyPace`, which can answer. With ``limit_concurrency``
    connections uvicorn refuses whatever they ask; so one that would make up the number
    is closed, and the others go on.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._patience_s: float = self.app_state.get(PATIENCE, _PATIENCE_S)
        self._headers_due: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None
        self._something_came = False
        self._unsent: float = 0
        self._address_bytes = self._headers_bytes = self._unended_bytes = 0
        # Whether headers are coming, and whether this piece is of headers alone.
        self._in_head = self._headers_alone = False
        self._refused = self._has_body = False
        self._refusal = b""
        self._hosts = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Of asyncio."""
        super().connection_made(transport)
        if self.limit_concurrency and len(self.connections) >= self.limit_concurrency:
            transport.write(_FULL)
            transport.close()
            return
        self._time_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Of asyncio."""
        self._stop_timing_headers()
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Of uvicorn, which ends: who has just come may have asked already."""
        if self.cycle is None:
            self.loop.call_later(_LAST_S, self._end_unless_asked)
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Of asyncio."""
        if self._refused:  # a client that is cut off reads no answer
            return
        self._headers_alone = True
        super().data_received(data)
        # A line that does not end is seen by the parser alone, which keeps it; what is
        # between names and values counts here, too.
        if self._in_head and self._headers_alone and not self._refused:
            self._unended_bytes += len(data)
            if self._unended_bytes > 2 * _HEADERS_BYTES:
                self._refuse(_LONG_HEADERS)
        self._something_came = True
        # None before the first request, whatever uvicorn declares.
        if self.cycle and not self.cycle.response_complete:
            self._stop_timing_headers()
        else:
            self._time_headers()

    def on_message_begin(self) -> None:
        """Of httptools: a request begins."""
        super().on_message_begin()
        self._in_head, self._headers_alone = True, False
        self._address_bytes = self._headers_bytes = self._unended_bytes = 0
        self._has_body = False
        self._hosts = 0

    def on_url(self, url: bytes) -> None:
        """Of httptools: some of its address."""
        self._headers_alone = False
        self._address_bytes += len(url)
        if self._address_bytes > _ADDRESS_BYTES:
            self._end_parsing(_LONG_ADDRESS)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Of httptools: one of its headers."""
        self._headers_bytes += len(name) + len(value)
        if self._headers_bytes > _HEADERS_BYTES:
            self._end_parsing(_LONG_HEADERS)
        known = name.lower()
        self._has_body |= known == b"transfer-encoding" or (
            known == b"content-length" and value.strip() != b"0"
        )
        self._hosts += known == b"host"
        if known == b"transfer-encoding" and value.strip().lower() != b"chunked":
            self._end_parsing(_CODING)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Of httptools: its headers are whole."""
        if self._has_body and self.parser.should_upgrade():
            self._end_parsing(_UPGRADE)
        # RFC 9112, 3.2: others on the way may have gone by another one.
        if self._hosts != 1 and self.parser.get_http_version() != "1.0":
            self._end_parsing(_HOSTS)
        self._in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Of uvicorn, for whatever the parser does not go on with."""
        if not self._refused:
            super().send_400_response(msg)

    def pause_writing(self) -> None:
        """Of asyncio: the client takes less than it is sent."""
        super().pause_writing()
        self._time_answer()

    def resume_writing(self) -> None:
        """Of asyncio: the client has taken most of it, and is sent more."""
        super().resume_writing()
        self._unsent = math.inf

    def on_response_complete(self) -> None:
        """Of uvicorn: all of the answer is written, if not taken."""
        super().on_response_complete()
        # The next of those that came together is at work now, if there is one.
        if self._refused and self.cycle.response_complete:
            self._tell_refusal()
        self._something_came = False
        if self.transport.get_write_buffer_size():
            self._time_answer()

    def _end_unless_asked(self) -> None:
        if self.cycle is None:
            self.transport.close()

    def _end_parsing(self, answer: bytes) -> NoReturn:
        self._refuse(answer)
        msg = "the request is refused"
        raise ValueError(msg)  # which uvicorn takes for a request that is none

    def _refuse(self, answer: bytes) -> None:
        """Listen no more, and answer once the requests before have been answered."""
        self._refused = True
        self._refusal = answer
        # None before the first request, whatever uvicorn declares. In trailers it is
        # that of the request itself, whose body ends no more.
        if self._in_head and self.cycle and not self.cycle.response_complete:
            return
        self._tell_refusal()

    def _tell_refusal(self) -> None:
        """Who is still sending can read it."""
        answer, self._refusal = self._refusal, b""
        if not answer or self.transport.is_closing():
            return
        self.transport.write(answer)
        self.loop.call_later(_LAST_S, self.transport.close)

    def _time_headers(self) -> None:
        if self._headers_due is None and not self.transport.is_closing():
            self._headers_due = self.loop.call_later(self._patience_s, self._late)

    def _stop_timing_headers(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    def _late(self) -> None:
        self._headers_due = None
        # What comes after an early answer is the rest of a body, and nobody waits.
        if self._something_came and not (self.cycle and self.cycle.more_body):
            self.transport.write(_LATE)
        self.transport.close()
        self._time_answer()

    def _time_answer(self) -> None:
        if self._taking is None:
            self._unsent = self.transport.get_write_buffer_size()
            self._taking = self.loop.call_later(self._patience_s, self._is_it_taken)
        else:  # of an earlier answer: the newer one has a time of its own
            self._unsent = math.inf

    def _is_it_taken(self) -> None:
        self._taking = None
        left = self.transport.get_write_buffer_size()
        if left >= self._unsent > 0:
            self.transport.abort()
        elif left:
            self._time_answer()
