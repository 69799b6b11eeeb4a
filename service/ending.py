"""How a service ends: first it says so, then it answers no more.

A server that is told to end closes the connections that are idle, and who sends a
request just then finds none. So for a moment all goes on, with the word in every
answer that its connection ends with it, and 503 from /readyz; who has heard it comes
back by another connection, or to another server.
"""

import asyncio
import signal
import threading
from types import FrameType

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Ending:
    """Whether the service has been told to end.

    Parameters
    ----------
    drain_s
        How long it goes on.
    """

    def __init__(self, drain_s: float) -> None:
        self._drain_s = drain_s
        self.begun = False

    def wait_for_signal(self) -> None:
        """Put SIGTERM off; whoever handled it has it after the time is over.

        Told a second time, that is at once. Outside of the main thread nothing is
        changed: there Python has no signals.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        server = signal.getsignal(signal.SIGTERM)
        if not callable(server):
            return
        loop = asyncio.get_running_loop()

        def told(number: int, frame: FrameType | None) -> None:
            if self.begun:
                server(number, frame)
                return
            self.begun = True
            loop.call_soon_threadsafe(
                loop.call_later, self._drain_s, server, number, None
            )

        signal.signal(signal.SIGTERM, told)


class LastAnswers:
    """ASGI middleware: tells clients of an ending service to come no more this way.

    Parameters
    ----------
    app
        The application inside.
    ending
        Whether it ends.
    """

    def __init__(self, app: ASGIApp, *, ending: Ending) -> None:
        self._app = app
        self._ending = ending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and end its connection if it is one of the last."""

        async def last(message: Message) -> None:
            if message["type"] == "http.response.start" and self._ending.begun:
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self._app(scope, receive, last)
