"""The generation that is served, and what is needed to answer from it."""

from dataclasses import dataclass

from twinjet.index.cutouts.port import CutoutProvider
from twinjet.index.generation import Manifest
from twinjet.index.locks import AdvisoryLock
from twinjet.index.search import Searcher
from twinjet.index.source import Source
from twinjet.index.store import Generation

# Files that have no WCS, whatever else they may hold.
_PICTURES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Served:
    """One generation and what is needed to answer from it; never changed."""

    generation: Generation
    searcher: Searcher
    provider: CutoutProvider
    field_arcsec: float
    """Side of what the encoder sees, which is what is drawn."""
    lease: AdvisoryLock | None = None
    """Tells other machines that it is in use."""

    @property
    def manifest(self) -> Manifest:
        """What was published."""
        return self.searcher.generation.manifest

    def has_cutout(self, source: Source) -> bool:
        """Whether there should be pixels of a source."""
        return source.cutout is not None or not self.provider.by_name

    def field_of(self, source: Source) -> float | None:
        """Side on the sky of a source's picture; None where its scale is unknown."""
        picture = (source.cutout or "").lower().endswith(_PICTURES)
        known = self.has_cutout(source) and (
            self.manifest.pixel_scale_arcsec is not None or not picture
        )
        return self.field_arcsec if known else None
