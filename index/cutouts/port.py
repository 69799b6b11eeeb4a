"""What a source of cutouts must be able to do."""

from typing import Protocol


class CutoutProvider(Protocol):
    """Files of cutouts, known by name."""

    @property
    def location(self) -> str:
        """Where it is."""

    def read(self, name: str) -> bytes:
        """Bytes of a cutout's file.

        Raises
        ------
        CutoutUnavailableError
            There is no such cutout, or it cannot be read.
        """

    def digest(self, name: str) -> str:
        """SHA-256 of a cutout's file; raises as `read` does."""
