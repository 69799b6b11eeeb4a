"""Where jobs are done in tests."""

from dataclasses import dataclass
from pathlib import Path

from skies import write_sky

from twinjet.index.home import Home, system_url
from twinjet.index.jobs.jobs import Jobs
from twinjet.index.jobs.request import ReindexRequest
from twinjet.index.jobs.worker import Worker
from twinjet.index.store import SourceStore
from twinjet.model.encoder import load_encoder


@dataclass
class Installation:
    """Where jobs are done."""

    folder: Path
    database_url: str
    store: SourceStore
    jobs: Jobs
    card: Path

    @property
    def home(self) -> Home:
        return Home(self.folder / "home")

    def worker(self) -> Worker:
        """A worker of this process."""
        return Worker(
            self.home,
            self.store,
            system_url(self.database_url, self.home.path),
            encoder=lambda: load_encoder(self.card),
            poll_s=0.1,
        )

    def sky(self, count: int, *, name: str = "sky", seed: int = 0) -> ReindexRequest:
        """Write a sky; gives the request to index it, by small shards."""
        write_sky(self.folder / name, count, seed=seed)
        return ReindexRequest(cutouts=str(self.folder / name), shard_sources=4)
