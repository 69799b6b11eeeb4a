"""``twinjet db``: upgrade, back up, restore and check what an index is kept in."""

import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import click

from twinjet.index.database import create_engine, newest_revision, revision_of
from twinjet.index.generation import folder_name
from twinjet.index.opening import refuse_network_disks
from twinjet.index.upkeep.backup import back_up
from twinjet.index.upkeep.inspection import inspect
from twinjet.index.upkeep.restore import restore as restore_backup
from twinjet.service.commands.options import (
    HOME,
    JSON,
    config_of,
    errors,
    existing_store_of,
    store_of,
)
from twinjet.service.commands.text import print_json, say

_MIB = 2**20


@click.group()
def db() -> None:
    """Upgrade, back up, restore and check what an index is kept in."""


@db.command()
@HOME
def upgrade(home: Path | None) -> None:
    """Bring the tables to this version; servers and commands do it at their start."""
    config = config_of(home)
    config.home.mkdir(parents=True, exist_ok=True)
    refuse_network_disks(config.files, config.metadata_url)
    engine = create_engine(config.metadata_url)
    before = revision_of(engine)
    engine.dispose()
    store_of(config).close()
    after = newest_revision()
    if before == after:
        say(f"the tables are of version {after} already")
    else:
        say(f"the tables were of version {before or 'none'}, now {after}")


@db.command()
@click.argument("dest", type=click.Path(path_type=Path))
@click.option("--with-shards", is_flag=True, help="Embeddings, too.")
@HOME
@JSON
def backup(dest: Path, with_shards: bool, home: Path | None, as_json: bool) -> None:
    """Write a backup into the new folder DEST, while servers and jobs go on.

    Without shards embeddings are computed again by the next build that needs them.
    """
    config = config_of(home)
    with closing(existing_store_of(config)) as store:
        made = back_up(
            config.files, store, config.jobs_url, dest, with_shards=with_shards
        )
    for folder, reason in made.left_out.items():
        errors.print(f"left out: {folder}: {reason}")
    if as_json:
        print_json(asdict(made))
    else:
        numbers = [str(g["number"]) for g in made.generations.values()]
        say(
            f"{dest}: generations {', '.join(numbers) or 'none'}, "
            f"{len(made.files)} files, {made.size / _MIB:.1f} MiB"
        )
    sys.exit(1 if made.left_out else 0)


@db.command()
@click.argument("src", type=click.Path(exists=True, file_okay=False, path_type=Path))
@HOME
def restore(src: Path, home: Path | None) -> None:
    """Put the backup SRC into an empty home, checked before anything has its name."""
    config = config_of(home)
    made = restore_backup(src, config.files, config.metadata_url)
    say(
        f"{config.home}: generation {made.current or 'none'} is in force, of "
        f"{made.made_at}"
    )
    if made.current is not None and folder_name(made.current) in made.left_out:
        errors.print("it was damaged and is not in the backup: an earlier one answers")


@db.command()
@HOME
@JSON
def check(home: Path | None, as_json: bool) -> None:
    """Look for damage: databases, generations, shards; exit status 1 where there is."""
    config = config_of(home)
    damaged = False
    for found in inspect(config.files, config.metadata_url, config.jobs_url):
        damaged |= found.state == "damaged"
        if as_json:
            print_json(asdict(found))
        else:
            say(f"{found.state:<8} {found.part}: {found.detail}")
    sys.exit(1 if damaged else 0)
