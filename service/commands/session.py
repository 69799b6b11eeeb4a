"""``twinjet session``: discovery in the terminal."""

import csv
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import click

from twinjet.index.discovery.export import FORMATS, WRITERS, Format, session_table
from twinjet.index.discovery.known import ListStore
from twinjet.index.discovery.labelling import MAX_CHANGES, create_session, label
from twinjet.index.discovery.rounds import (
    DEFAULT_COUNT,
    DEFAULT_EXPLORE,
    MAX_CANDIDATES,
    MAX_COUNT,
    Wishes,
    candidates_of,
    make_round,
    round_of,
)
from twinjet.index.discovery.sessions import SessionStore
from twinjet.index.source_tables import read_entries
from twinjet.service.commands.discovering import (
    Told,
    discovery_of,
    labels_of,
    print_rows,
    report_of,
    rows_of_ranking,
    rows_of_round,
    wanted_of,
)
from twinjet.service.commands.options import (
    HOME,
    JSON,
    config_of,
    errors,
    existing_store_of,
)
from twinjet.service.commands.text import print_json, stdout

_WHERE = click.option("--where", help="Filter, as 'angular_size_arcsec > 30'.")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_ENDINGS: Mapping[str, Format] = {
    ".csv": "csv",
    ".vot": "votable",
    ".xml": "votable",
    ".parquet": "parquet",
}


@click.group()
def session() -> None:
    """Find more of a kind: a few in, candidates out, better with each round.

    NAME is what a session was called when it began, or its ID.
    """


@session.command()
@click.argument("name")
@click.argument("examples", nargs=-1)
@click.option("--examples-from", metavar="LIST", help="A list whose sources are, too.")
@click.option("--exclude", metavar="LIST", multiple=True, help="Never propose these.")
@click.option("--notes", default="", help="In words.")
@HOME
def new(
    name: str,
    examples: tuple[str, ...],
    examples_from: str | None,
    exclude: tuple[str, ...],
    notes: str,
    home: Path | None,
) -> None:
    """Begin a session with EXAMPLES, the IDs of some sources of the kind."""
    here = discovery_of(home)
    begun = create_session(
        here,
        name,
        examples=examples,
        examples_from=examples_from,
        exclude=exclude,
        notes=notes,
    )
    print_json(report_of(here, begun.session_id), indent=2)


@session.command("list")
@HOME
def list_sessions(home: Path | None) -> None:
    """List all sessions as CSV, the one that changed last first."""
    sessions = SessionStore(existing_store_of(config_of(home)).engine)
    writer = csv.writer(stdout())
    writer.writerow(["session_id", "name", "version", "updated_at"])
    offset = 0
    while page := sessions.sessions(limit=100, offset=offset):
        offset += len(page)
        for one in page:
            changed = one.updated_at.isoformat(timespec="seconds")
            writer.writerow([one.session_id, one.name, one.version, changed])


@session.command()
@click.argument("name")
@HOME
def show(name: str, home: Path | None) -> None:
    """Print a session as JSON: labels counted, what has vanished, rounds."""
    here = discovery_of(home)
    print_json(report_of(here, here.sessions.named(name).session_id), indent=2)


@session.command()
@click.argument("name")
@click.option(
    "--count",
    type=click.IntRange(1, MAX_COUNT),
    default=DEFAULT_COUNT,
    show_default=True,
    help="Candidates.",
)
@click.option(
    "--explore",
    type=click.FloatRange(0, 1),
    default=DEFAULT_EXPLORE,
    show_default=True,
    help="Part of them that is chosen for being uncertain.",
)
@click.option("--round", "number", type=click.IntRange(1), help="Show this one again.")
@_WHERE
@HOME
@JSON
def propose(
    name: str,
    count: int,
    explore: float,
    number: int | None,
    where: str | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Propose candidates of the next round, as CSV; none is proposed twice."""
    here = discovery_of(home)
    session_id = here.sessions.named(name).session_id
    if number is None:
        following = len(here.sessions.rounds(session_id)) + 1
        made = make_round(here, session_id, following, Wishes(count, explore, where))
    else:
        made = round_of(here, session_id, number)
    print_rows(rows_of_round(made), as_json=as_json)


@session.command("label")
@click.argument("name")
@click.option("--like", metavar="ID", multiple=True, help="Is of the kind.")
@click.option("--dislike", metavar="ID", multiple=True, help="Is not.")
@click.option("--withdraw", metavar="ID", multiple=True, help="Take its label back.")
@click.option("--from", "file", type=_FILE, help="CSV of id and label: like, dislike.")
@click.option("--note", help="Of all of them.")
@HOME
def label_sources(
    name: str,
    like: tuple[str, ...],
    dislike: tuple[str, ...],
    withdraw: tuple[str, ...],
    file: Path | None,
    note: str | None,
    home: Path | None,
) -> None:
    """Say which sources are of the kind and which are not."""
    told: list[Told] = [(one, "like") for one in like]
    told += [(one, "dislike") for one in dislike]
    told += [(one, None) for one in withdraw]
    told += [] if file is None else labels_of(file)
    if not told:
        msg = "give --like, --dislike, --withdraw or --from"
        raise click.UsageError(msg)
    here = discovery_of(home)
    session_id = here.sessions.named(name).session_id
    wanted = wanted_of(here, session_id, told, note)
    for start in range(0, len(wanted), MAX_CHANGES):
        label(here, session_id, wanted[start : start + MAX_CHANGES])
    print_json(report_of(here, session_id), indent=2)


@session.command()
@click.argument("name")
@click.option(
    "-k", type=click.IntRange(1, MAX_CANDIDATES), default=50, show_default=True
)
@_WHERE
@HOME
@JSON
def candidates(
    name: str, k: int, where: str | None, home: Path | None, as_json: bool
) -> None:
    """Rank all candidates by what is labelled now, as CSV."""
    here = discovery_of(home)
    session_id = here.sessions.named(name).session_id
    _, found = candidates_of(here, session_id, count=k, where=where)
    print_rows(rows_of_ranking(found), as_json=as_json)


@session.command()
@click.argument("name")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    help="By the end of the name when absent: .csv, .vot, .xml, .parquet.",
)
@click.option(
    "--candidates",
    "count",
    type=click.IntRange(0, MAX_CANDIDATES),
    default=100,
    show_default=True,
)
@_WHERE
@HOME
def export(
    name: str,
    out: Path,
    kind: Format | None,
    count: int,
    where: str | None,
    home: Path | None,
) -> None:
    """Write labels and candidates to OUT, with their provenance."""
    kind = kind or _ENDINGS.get(out.suffix.lower())
    if kind is None:
        msg = f"{out.name} tells no format; give --format {', '.join(FORMATS)}"
        raise click.UsageError(msg)
    here = discovery_of(home)
    session_id = here.sessions.named(name).session_id
    table = session_table(here, session_id, candidates=count, where=where)
    half_done = out.with_name(f"{out.name}.tmp")
    half_done.write_bytes(WRITERS[kind](table))
    half_done.replace(out)
    errors.print(f"{len(table.rows)} rows in {out}")


@session.command()
@click.argument("name")
@HOME
def delete(name: str, home: Path | None) -> None:
    """Forget a session with its labels."""
    sessions = SessionStore(existing_store_of(config_of(home)).engine)
    sessions.delete(sessions.named(name).session_id)


@session.command()
@click.argument("name", required=False)
@click.argument("file", type=_FILE, required=False)
@click.option(
    "--radius",
    type=float,
    help="Sources so near to a position are on the list, arcsec "
    "[TWINJET_DUPLICATE_RADIUS_ARCSEC].",
)
@click.option("--delete", "gone", is_flag=True, help="Forget the list.")
@HOME
def known(
    name: str | None,
    file: Path | None,
    radius: float | None,
    gone: bool,
    home: Path | None,
) -> None:
    """Keep FILE, a CSV or VOTable of IDs or positions, as list NAME; or print lists."""
    if gone and (name is None or file is not None):
        msg = "--delete takes the NAME of a list and no FILE"
        raise click.UsageError(msg)
    config = config_of(home)
    lists = ListStore(existing_store_of(config).engine)
    if name is not None and gone:
        lists.delete(name)
    elif name is not None and file is not None:
        within = config.duplicate_radius_arcsec if radius is None else radius
        entries = read_entries(file.name, file.read_bytes())
        print_json(asdict(lists.put(name, entries, radius_arcsec=within)))
    else:
        print_json(
            [asdict(one) for one in lists.lists() if name is None or one.name == name]
        )
