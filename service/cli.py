"""The command line: ``twinjet VERB``.

Commands are imported when they are called: torch alone takes seconds.
"""

import sys
from importlib import import_module
from importlib.metadata import version

import click
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from twinjet.index.errors import TwinjetIndexError
from twinjet.model.errors import ModelError
from twinjet.service.misconfiguration import ConfigError
from twinjet.service.tracing import TracingError

# Class of the settings, which is not imported here.
_SETTINGS = "Config"

# Verb to the module of `twinjet.service.commands` that has it, and what it does: the
# first line of its help.
COMMANDS = {
    "up": ("serve", "Make or find data, index it, serve it: everything on one machine"),
    "serve": (
        "serve",
        "Serve the index: the page at /, the API beside it, and a worker for jobs",
    ),
    "index": ("index", "Index CUTOUTS and publish them"),
    "worker": ("worker", "Do jobs, until it is stopped"),
    "jobs": ("jobs", "Look at jobs, begin and cancel them, and plan them by the clock"),
    "keys": ("keys", "Make, list and revoke the keys of the service"),
    "ingest": (
        "ingest",
        "Index a published catalogue with cutouts of a public archive",
    ),
    "sources": (
        "sources",
        "List indexed sources as CSV; those that NAME can mean when it is given",
    ),
    "search": (
        "search",
        "Neighbours of QUERY: a file of a cutout, the ID of a source, or a position",
    ),
    "outliers": (
        "search",
        "List the sources that are like no others, the most isolated first",
    ),
    "embed": ("search", "Print the embedding of each of FILES as a line of JSON"),
    "session": (
        "session",
        "Find more of a kind: a few in, candidates out, better with each round",
    ),
    "simulate": (
        "simulate",
        "Write a simulated sky of COUNT sources with their truth into FOLDER",
    ),
    "train": ("train", "Train an encoder and write it to OUT"),
    "finetune": ("finetune", "Fine-tune the encoder to the labels of a folder"),
    "evaluate": (
        "evaluate",
        "Judge the encoder on the labelled sources of FOLDER[:SCALE]; prints JSON",
    ),
    "probe": (
        "probe",
        "Fit a linear probe to LABELS, a CSV of id and label; class every source",
    ),
    "generations": (
        "generations",
        "List the generations that are kept, the latest first",
    ),
    "rollback": (
        "generations",
        "Serve generation NUMBER again, if its files are whole",
    ),
    "db": ("db", "Upgrade, back up, restore and check what an index is kept in"),
}


class _Lazy(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        """As click does, which would import each command for its first line."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, said) for name, (_, said) in COMMANDS.items()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"twinjet.service.commands.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("twinjet"), prog_name="twinjet")
def cli() -> None:
    """Show it one radio galaxy, it finds the twins.

    Settings come from TWINJET_... variables; options go before them.
    """


def main() -> None:
    """Run a command; what the machine refuses is one line and exit status 1, too."""
    try:
        cli()
    except (TwinjetIndexError, ModelError, ConfigError, TracingError, OSError) as exc:
        _end(str(exc))
    except ValidationError as exc:
        if exc.title != _SETTINGS:
            raise
        for fault in exc.errors():
            name = f"TWINJET_{'_'.join(map(str, fault['loc'])).upper()}"
            said = fault["msg"].removeprefix("Value error, ")
            click.echo(f"twinjet: {name}: {said}", err=True)
        sys.exit(1)
    except SQLAlchemyError as exc:
        # Its own words have the statement and all of its parameters.
        said = str(exc.orig if isinstance(exc, DBAPIError) else exc).strip()
        _end(f"the database refuses: {said}")


def _end(reason: str) -> None:
    click.echo(f"twinjet: {reason}", err=True)
    sys.exit(1)
