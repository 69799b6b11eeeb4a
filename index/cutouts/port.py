"""What a source of cutouts must be able to do."""

from typing import Protocol

from twinjet.index.source import Source


class CutoutProvider(Protocol):
    """Pixels of catalogued sources."""

    @property
    def location(self) -> str:
        """Where it is: what `open_provider` makes the same provider from."""

    @property
    def by_name(self) -> bool:
        """Whether a source has a cutout only where its catalogue names one."""

    def read(self, source: Source) -> bytes:
        """File of a source's cutout: FITS in any encoding, PNG or JPEG.

        Raises
        ------
        CutoutUnavailableError
            There is none, or it cannot be read; the message says why.
        """

    def digest(self, source: Source) -> str:
        """What changes when the pixels do, 64 hexadecimal digits; raises as `read`.

        That of two sources with the same pixels may differ.
        """
