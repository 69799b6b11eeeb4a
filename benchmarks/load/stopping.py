"""What a load loses when the server is told to end."""

import argparse
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from findings import head, tell
from load_home import cutouts_of, home_of
from rates import Bench
from served import cores, serving, status

_AFTER_S = 4.0
_LOOK_EACH_S = 0.02


def measure(args: argparse.Namespace) -> None:
    """Half of the capacity, mixed; SIGTERM in the middle of it."""
    home = home_of(args.work, args.sources)
    cutouts_of(args.work)
    with serving(home, cores()[0]) as server, ThreadPoolExecutor(1) as beside:
        bench = Bench(args, server.port, "mixed")
        rate = 0.5 * bench.capacity()[0]
        running = beside.submit(bench.load, (rate, args.seconds))
        time.sleep(_AFTER_S)
        server.process.send_signal(signal.SIGTERM)
        told = time.monotonic()
        while status(server.port, "/readyz", timeout_s=2.0) == 200:  # noqa: PLR2004
            time.sleep(_LOOK_EACH_S)
        unready_s = time.monotonic() - told
        code = server.process.wait(60)
        ended_s = time.monotonic() - told
        outcome = running.result()
    answered = outcome.status == 200  # noqa: PLR2004
    last_s = float(outcome.due_s[answered].max())
    refused = outcome.faults.get("ConnectionRefusedError", 0)
    broken = int((outcome.status == 0).sum()) - refused
    text = (
        f"{head()}\n\n{rate:.1f} requests a second, 5 % uploads, {args.sources:,} "
        f"sources; SIGTERM in the middle. /readyz was no longer 200 after "
        f"{1e3 * unready_s:.0f} ms, the process ended after {ended_s:.2f} s with "
        f"{code}. Of {len(answered)} requests {int(answered.sum())} were answered, "
        f"{int(np.isin(outcome.status, (429, 503)).sum())} refused, {broken} broken "
        f"off; {refused} found nobody who listens. The last that was answered was due "
        f"{last_s:.2f} s after the start of the load."
    )
    raw = {
        "unready_s": unready_s,
        "ended_s": ended_s,
        "answered": int(answered.sum()),
        "asked": len(answered),
        "faults": outcome.faults,
    }
    tell("stopping", text, raw, write=args.write)
