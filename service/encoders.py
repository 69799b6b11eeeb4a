"""The encoder that the settings name, on the engine that they name."""

from functools import cache
from pathlib import Path

from twinjet.model.encoder import (
    DEFAULT_ENCODER,
    Encoder,
    card_path,
    default_encoder,
    load_encoder,
)
from twinjet.model.engine import Choice, on_engine
from twinjet.service.config import Config


def encoder_of(
    config: Config, name: str | Path | None = None, *, device: str = "cpu"
) -> Encoder:
    """The encoder in force, or another by its name or card.

    Raises
    ------
    EncoderFileError
        As `load_encoder` has it.
    EngineError
        As `on_engine` has it.
    """
    chosen = config.encoder if name is None else name
    if chosen is None and device == "cpu":
        return _default(config.engine)
    path = card_path(chosen or DEFAULT_ENCODER)
    return on_engine(load_encoder(path, device=device), config.engine)


@cache
def _default(engine: Choice) -> Encoder:
    """The shipped encoder; loaded once, and compared once."""
    return on_engine(default_encoder(), engine)
