"""An installation on each engine, with a small sky and a small encoder."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from installations import Installation
from skies import small_encoder

from twinjet.index.database import create_engine, upgrade
from twinjet.index.home import Home, system_url
from twinjet.index.jobs.engine import connect
from twinjet.index.jobs.jobs import Jobs
from twinjet.index.jobs.progress import ProgressBoard
from twinjet.index.store import SourceStore


@pytest.fixture(params=["sqlite", "postgresql"])
def installation(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Installation]:
    home = Home(tmp_path / "home")
    home.path.mkdir()
    url = home.database_url
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    small_encoder(views=1).save(tmp_path)
    engine = create_engine(url)
    upgrade(engine)
    client = connect(system_url(url, home.path))
    with closing(SourceStore(engine)) as store:
        jobs = Jobs(client, ProgressBoard(engine))
        yield Installation(tmp_path, url, store, jobs, tmp_path / "small.json")
        client.destroy()
