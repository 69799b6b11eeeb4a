"""The encoder card: what an encoder is, what it learned from, how good it is."""

import json
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from typing import Any, Self

from twinjet.model.errors import EncoderFileError
from twinjet.model.preprocess import Preprocess

# Of this layout; a file of another is refused rather than guessed at.
FORMAT = 2


@dataclass(frozen=True)
class EncoderCard:
    """Describes one encoder; plain data, stored beside its weights."""

    name: str
    """Short name, as a file stem."""
    depth: int
    """Layers of the backbone."""
    width: float
    """Width of the backbone."""
    peaks: bool
    """Whether the backbone pools maxima beside means."""
    dimension: int
    """Length D of an embedding."""
    preprocess: Preprocess
    """The recipe from cutout to input."""
    views: int
    """1: the image as it is; 8: mean over its four rotations and their mirrors."""
    weights_sha256: str
    """Of the safetensors file."""
    licence: str = "BSD-3-Clause"
    """Of the weights."""
    training: dict[str, Any] = field(default_factory=dict)
    """Preset, data, images seen, seed, command."""
    quality: dict[str, Any] = field(default_factory=dict)
    """What `twinjet evaluate` printed, with the command."""

    @property
    def id(self) -> str:
        """Identity: 16 hex digits over weights, recipe, architecture and views.

        Training notes and quality figures are not part of it: they may be added
        later to the same encoder.
        """
        identity = {
            "format": FORMAT,
            "weights": self.weights_sha256,
            "preprocess": self.preprocess.to_dict(),
            "backbone": [self.depth, self.width, self.peaks, self.dimension],
            "views": self.views,
        }
        return sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the identity among it."""
        return {"format": FORMAT, "id": self.id} | asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Inverse of `to_dict`.

        Raises
        ------
        EncoderFileError
            The card is of another format, lacks a field or names another identity
            than its contents have.
        """
        if data.get("format") != FORMAT:
            msg = f"card format {data.get('format')!r}; this version reads {FORMAT}"
            raise EncoderFileError(msg, limit=FORMAT, actual=str(data.get("format")))
        known = {f.name for f in fields(cls)}
        values = {name: value for name, value in data.items() if name in known}
        try:
            values["preprocess"] = Preprocess.from_dict(values["preprocess"])
            card = cls(**values)
        except (KeyError, TypeError) as exc:
            msg = f"the card lacks a field: {exc}"
            raise EncoderFileError(msg) from exc
        if data.get("id") != card.id:
            msg = f"the card names encoder {data.get('id')}; its contents are {card.id}"
            raise EncoderFileError(msg, limit=card.id, actual=str(data.get("id")))
        return card
