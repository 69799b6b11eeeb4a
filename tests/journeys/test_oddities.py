"""Every odd and hostile file against a server in a process of its own."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

import httpx2 as httpx
import pytest
from commands import run_twinjet
from odd_uploads import MOST_BYTES, faults_of
from oddities import oddities
from processes import Memory, children_of, decoders_of, resident_bytes, server_over
from serving import wait_until
from skies import write_sky

# Of a process of the service, a while after the last of them.
_MOST_KEPT_BYTES = 50 * 2**20

_AT_ONCE = 8


@pytest.mark.slow
def test_a_server_outlives_them_all(
    tmp_path: Path, serve: Callable[[Path], str]
) -> None:
    write_sky(tmp_path / "sky", 40)
    run_twinjet("index", tmp_path / "sky", home=tmp_path / "home")
    root = serve(tmp_path / "home")

    with httpx.Client(base_url=root, timeout=60) as client:
        # The first uploads fill caches, and by then all decoders have started.
        assert not faults_of(client.post, islice(oddities(), 20))
        server = server_over(tmp_path / "home")
        family = children_of(server)
        assert len(family) == 3  # a worker of jobs, and two decoders
        decoders = decoders_of(server)
        assert len(decoders) == 2
        before = {one: resident_bytes(one) for one in (server, *decoders)}
        memory = Memory(server)
        assert not faults_of(client.post, oddities(), memory=memory)
        memory.begin()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            shares = (list(oddities())[n::_AT_ONCE] for n in range(_AT_ONCE))
            for faults in pool.map(partial(faults_of, client.post), shares):
                assert not faults
        assert memory.most_grown() < _AT_ONCE * MOST_BYTES
        # None has ended, though each may do so without harm.
        assert children_of(server) == family
        wait_until(
            lambda: all(
                resident_bytes(one) - then < _MOST_KEPT_BYTES
                for one, then in before.items()
            ),
            patience_s=60,
        )
