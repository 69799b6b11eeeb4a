"""What an embedding is of: the pixels, where in them the source is, their scale."""

from dataclasses import dataclass
from hashlib import sha256

from twinjet.index.source import Source


@dataclass(frozen=True)
class Item:
    """One source to embed."""

    source: Source
    digest: str
    """Of its pixels, from the provider."""

    def key(self, pixel_scale_arcsec: float | None) -> str:
        """32 hexadecimal digits: the same key and encoder make the same embedding.

        Examples
        --------
        >>> item = Item(Source("a", 1.0, 2.0), "00")
        >>> item.key(None) == Item(Source("b", 1.0, 2.0), "00").key(None)
        True
        >>> item.key(None) == item.key(1.8)
        False
        """
        of = self.source
        text = f"{self.digest}\0{of.ra!r}\0{of.dec!r}\0{pixel_scale_arcsec!r}"
        return sha256(text.encode()).hexdigest()[:32]
