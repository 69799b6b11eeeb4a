"""``twinjet generations`` and ``twinjet rollback``: what is and was served."""

from pathlib import Path

import click

from twinjet.index.published import publish_again
from twinjet.service.commands.options import (
    HOME,
    JSON,
    config_of,
    engine_of,
    existing_store_of,
)
from twinjet.service.commands.text import print_json, say


@click.command()
@HOME
@JSON
def generations(home: Path | None, as_json: bool) -> None:
    """List the generations that are kept, the latest first."""
    store = existing_store_of(config_of(home))
    current = store.current()
    for generation in store.generations():
        is_current = current is not None and generation.number == current.number
        line = {
            "number": generation.number,
            "state": generation.state,
            "current": is_current,
            "encoder": generation.encoder_id,
            "catalogue": generation.catalogue_name,
            "sources": generation.source_count,
            "created_at": generation.created_at.isoformat(),
            "forced": generation.forced,
        }
        if as_json:
            print_json(line)
        else:
            mark = "*" if is_current else " "
            say(
                f"{mark} {generation.number} {generation.state} "
                f"{generation.created_at:%Y-%m-%d %H:%M} "
                f"{generation.source_count} sources of {generation.catalogue_name}, "
                f"encoder {generation.encoder_id}"
                + (f", forced: {generation.forced}" if generation.forced else "")
            )


@click.command()
@click.argument("number", type=click.IntRange(1))
@HOME
def rollback(number: int, home: Path | None) -> None:
    """Serve generation NUMBER again, if its files are whole."""
    config = config_of(home)
    store = existing_store_of(config)
    publish_again(number, config.files, store, engine_of(config, store))
    say(f"generation {number} is current")
