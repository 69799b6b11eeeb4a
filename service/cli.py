"""The command line: ``twinjet VERB``.

Commands are imported when they are called: torch alone takes seconds.
"""

import ast
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import click
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from twinjet.index.errors import TwinjetIndexError
from twinjet.model.errors import ModelError
from twinjet.service.commands.text import say
from twinjet.service.misconfiguration import ConfigError
from twinjet.service.tracing import TracingError

# Class of the settings, which is not imported here.
_SETTINGS = "Config"

# Verb to the module of `twinjet.service.commands` that has it.
COMMANDS = {
    "up": "serve",
    "serve": "serve",
    "index": "index",
    "worker": "worker",
    "jobs": "jobs",
    "keys": "keys",
    "ingest": "ingest",
    "sources": "sources",
    "search": "search",
    "outliers": "search",
    "embed": "search",
    "session": "session",
    "simulate": "simulate",
    "train": "train",
    "finetune": "finetune",
    "evaluate": "evaluate",
    "probe": "probe",
    "generations": "generations",
    "rollback": "generations",
    "db": "db",
}


def first_line(verb: str) -> str:
    """What a command does, read from its file."""
    file = Path(__file__).with_name("commands") / f"{COMMANDS[verb]}.py"
    tree = ast.parse(file.read_text(encoding="utf-8"))
    said = next(
        ast.get_docstring(node) or ""
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name == verb
    )
    return " ".join(said.partition("\n\n")[0].split()).removesuffix(".")


class _Lazy(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click gives it
        return list(COMMANDS)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click gives it
        formatter: click.HelpFormatter,
    ) -> None:
        """As click does, which would import each command for its first line."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, first_line(verb)) for verb in COMMANDS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - the same
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"twinjet.service.commands.{COMMANDS[cmd_name]}")
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
            say(f"twinjet: {name}: {said}", err=True)
        sys.exit(1)
    except SQLAlchemyError as exc:
        # Its own words have the statement and all of its parameters.
        said = str(exc.orig if isinstance(exc, DBAPIError) else exc).strip()
        _end(f"the database refuses: {said}")


def _end(reason: str) -> None:
    say(f"twinjet: {reason}", err=True)
    sys.exit(1)
