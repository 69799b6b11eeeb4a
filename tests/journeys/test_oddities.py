"""Every odd and hostile file against a server in a process of its own."""

from collections.abc import Callable
from pathlib import Path

import httpx2 as httpx
import pytest
from commands import run_twinjet
from odd_uploads import faults_of
from oddities import oddities
from skies import write_sky


@pytest.mark.slow
def test_a_server_outlives_them_all(
    tmp_path: Path, serve: Callable[[Path], str]
) -> None:
    write_sky(tmp_path / "sky", 40)
    run_twinjet("index", tmp_path / "sky", home=tmp_path / "home")
    root = serve(tmp_path / "home")

    # Ten seconds are the promise; a server that has ended refuses the next one.
    with httpx.Client(base_url=root, timeout=10) as client:
        assert not faults_of(client.post, oddities())
