"""``twinjet sources``: what is indexed."""

import csv
from pathlib import Path

import click

from twinjet.index.errors import NoGenerationError
from twinjet.index.resolve import resolve
from twinjet.service.commands.options import (
    HOME,
    JSON,
    MOC,
    REGION,
    config_of,
    existing_store_of,
    region_of,
)
from twinjet.service.commands.text import print_json, stdout


@click.command()
@click.argument("name", required=False)
@click.option("--where", help="Filter on columns, as \"fr_class = 'FRI'\".")
@REGION
@MOC
@click.option("--sort", help="Column; '-column' for descending.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True)
@HOME
@JSON
def sources(
    name: str | None,
    where: str | None,
    region: str | None,
    moc: Path | None,
    sort: str | None,
    limit: int,
    home: Path | None,
    as_json: bool,
) -> None:
    """List indexed sources as CSV; those that NAME can mean when it is given."""
    config = config_of(home)
    store = existing_store_of(config)
    current = store.current()
    if current is None:
        msg = f"nothing is indexed in {config.home}: run `twinjet index FOLDER`"
        raise NoGenerationError(msg)
    if name is not None:
        found = [m.source for m in resolve(store, current.number, name, limit=limit)]
    else:
        found, _ = store.page(
            current.number,
            where=where,
            region=region_of(region, moc),
            sort=sort,
            limit=limit,
        )
    rows = [
        {"source_id": s.source_id, "ra": s.ra, "dec": s.dec, "survey": s.survey}
        | dict(s.columns)
        for s in found
    ]
    if as_json:
        print_json(rows)
        return
    fields = ["source_id", "ra", "dec", "survey", *(c.name for c in current.columns)]
    writer = csv.DictWriter(stdout(), fields)
    writer.writeheader()
    writer.writerows(rows)
