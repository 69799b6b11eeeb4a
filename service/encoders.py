"""The encoder that the settings name, on the engine that they name."""

from functools import cache
from pathlib import Path

from twinjet.model.encoder import (
    DEFAULT_ENCODER,
    Encoder,
    card_path,
    default_encoder,
    load_encoder,
    read_card,
)
from twinjet.model.engine import Choice, on_engine
from twinjet.model.errors import EncoderFileError
from twinjet.service.config import Config
from twinjet.service.misconfiguration import ConfigError


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


def check_encoder(config: Config) -> None:
    """Say at the start what would be found when all else is ready.

    Raises
    ------
    ConfigError
        Naming the setting: there is no such encoder.
    """
    try:
        read_card(card_path(config.encoder or DEFAULT_ENCODER))
    except EncoderFileError as exc:
        msg = f"TWINJET_ENCODER={str(config.encoder)!r}: {exc}"
        raise ConfigError(msg) from exc


@cache
def _default(engine: Choice) -> Encoder:
    """The shipped encoder; loaded once, and compared once."""
    return on_engine(default_encoder(), engine)
