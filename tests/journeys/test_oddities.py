"""Every odd and hostile file against a server in a process of its own."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import httpx2 as httpx
import pytest
from commands import run_twinjet
from odd_uploads import faults_of
from oddities import oddities
from processes import Memory, children_of, resident_bytes, server_over
from skies import write_sky

# Of the server, after the last of them.
_MOST_KEPT_BYTES = 50 * 2**20


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
        family, before = children_of(server), resident_bytes(server)
        assert len(family) == 3  # a worker and two decoders
        assert not faults_of(client.post, oddities(), memory=Memory(server))
        # None has ended, though each may do so without harm.
        assert children_of(server) == family
        assert resident_bytes(server) - before < _MOST_KEPT_BYTES
