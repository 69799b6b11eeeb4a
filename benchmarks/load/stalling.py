"""What others notice of hundreds of clients that stall."""

import argparse
import asyncio
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from findings import head, table, tell
from load_home import cutouts_of, home_of
from outcomes import figures
from questions import get, upload
from rates import Bench
from served import cores, serving

# Of the sort that never ends by itself; each sends a byte of this so often.
_EACH_S = 1.0

# Connections that are opened anew for those that the server closes, in all.
_MOST = 20_000
_SETTLE_S = 2.0


class Stalled:
    """Connections that send a beginning, then a byte now and then.

    Parameters
    ----------
    port
        Of the server.
    count
        How many there are.
    begin, trickle
        What each sends at first, and then every second.
    again
        Whether one that was cut off comes again, and at once.
    """

    def __init__(
        self, port: int, count: int, begin: bytes, trickle: bytes, *, again: bool
    ) -> None:
        self._again = again
        self._port = port
        self._count = count
        self._begin = begin
        self._trickle = trickle
        self._over = threading.Event()
        self.opened = 0
        self.closed = 0

    async def _one(self) -> None:
        while not self._over.is_set() and self.opened < _MOST:
            self.opened += 1
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.write(self._begin)
                gone = asyncio.create_task(reader.read())
                while not self._over.is_set() and not gone.done():
                    await asyncio.wait([gone], timeout=_EACH_S)
                    writer.write(self._trickle)
                self.closed += gone.done()
                gone.cancel()
                writer.transport.abort()
                if not self._again:
                    return
            except OSError:
                await asyncio.sleep(_EACH_S)

    async def _all(self) -> None:
        await asyncio.gather(*(self._one() for _ in range(self._count)))

    @contextmanager
    def there(self) -> Iterator[None]:
        """As long as this is open."""
        thread = threading.Thread(target=asyncio.run, args=(self._all(),))
        thread.start()
        time.sleep(_SETTLE_S)
        try:
            yield
        finally:
            self._over.set()
            thread.join()


def measure(args: argparse.Namespace) -> None:
    """The same load with nobody beside it, and beside each sort of slow client."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    home = home_of(args.work, args.sources)
    cutout = next(cutouts_of(args.work).rglob("*.fits")).read_bytes()
    form = upload(cutout)
    begun = {
        "silent": (b"", b""),
        "headers, a byte a second": (get("/similar/S0000001%2B00")[:-2], b"a"),
        "half a body, then nothing": (form[: len(form) // 2], b""),
        "a body, a byte a second": (form[: len(form) // 2], b"a"),
    }
    rows, raw = [], {}
    with serving(home, cores()[0]) as server:
        bench = Bench(args, server.port, "id")
        rate = 0.5 * bench.capacity()[0]
        loads = [("none", False, 0, (b"", b""))]
        loads += [
            (name, again, args.clients, parts)
            for again in (False, True)
            for name, parts in begun.items()
        ]
        for name, again, count, parts in loads:
            stalled = Stalled(server.port, count, *parts, again=again)
            with stalled.there():
                found = figures(bench.load((rate, args.seconds)), 0.0, args.seconds)
            then = "" if not count else ", come again" if again else ", stay away"
            raw[name + then] = found.raw() | {
                "opened": stalled.opened,
                "closed_by_server": stalled.closed,
            }
            rows.append(
                (
                    *(name + then, f"{stalled.opened}", f"{stalled.closed}"),
                    *(f"{found.asked}", f"{found.refused + found.failed}"),
                    *(f"{found.p50_ms:.1f}", f"{found.p99_ms:.1f}"),
                )
            )
    titles = (
        *("slow clients", "connections in all", "closed by the server", "asked by ID"),
        *("not answered", "p50 ms", "p99 ms"),
    )
    text = (
        f"{head()}\n\n{rate:.1f} searches by ID a second, half of the capacity, over "
        f"{args.sources:,} sources, beside {args.clients} clients that stall. When "
        "they are cut off, many at once, they stay away or come again at once.\n\n"
        f"{table(titles, rows)}"
    )
    tell("slow-clients", text, raw, write=args.write)
