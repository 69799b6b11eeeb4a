"""Options and wiring of the commands that make encoders and judge them."""

import sys
from collections.abc import Iterable
from pathlib import Path

import click

ENCODER = click.option(
    "--encoder",
    "name_or_card",
    help="Shipped encoder by name, or a card; the one in force when absent.",
)
DEVICE = click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where to compute.",
)
HALF = click.option(
    "--half", is_flag=True, help="Half precision, where the hardware has it."
)
SEED = click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
OUT = click.argument("out", type=click.Path(file_okay=False, path_type=Path))


def pairs(option: str, texts: Iterable[str]) -> dict[str, str]:
    """``NAME=VALUE`` of an option as a dictionary."""
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            msg = f"{text!r} is not NAME=VALUE"
            raise click.BadParameter(msg, param_hint=option)
        pairs[name] = value
    return pairs


def number(option: str, text: str) -> float:
    """Value of an option as a number."""
    try:
        return float(text)
    except ValueError:
        msg = f"{text!r} is not a number"
        raise click.BadParameter(msg, param_hint=option) from None


def typed_command() -> str:
    """What was typed, folders by their names: a card says nothing of a machine."""
    arguments = [arg.rpartition("/")[2] if "/" in arg else arg for arg in sys.argv[1:]]
    return " ".join(["twinjet", *arguments])
