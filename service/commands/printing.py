"""Answers in the terminal, or as a table for another program."""

import sys
from collections.abc import Callable
from typing import Any, Literal

import click
from rich.table import Table

from twinjet.index.generation import Manifest
from twinjet.service.commands.options import Terminal, errors
from twinjet.service.commands.text import print_bytes, print_json, stdout
from twinjet.service.tables import MEDIA_TYPES, AnswerTable, TableColumn

Output = Literal["terminal", "json", "csv", "votable", "parquet"]

FORMAT = click.option(
    "--format",
    "output",
    type=click.Choice(["terminal", "json", *MEDIA_TYPES]),
    default="terminal",
    show_default=True,
    help="Of what is printed; votable and parquet into a file: > FILE.",
)

# How numbers are written for people; others as they are.
_SHORT: dict[str, Callable[[Any], str]] = {
    "similarity": "{:.4f}".format,
    "score": "{:.4f}".format,
    "percentile": "{:.3f}".format,
    "expected_by_chance": "{:.2g}".format,
    "isolation": "{:.4f}".format,
    "isolation_percentile": "{:.3f}".format,
    "ra": "{:.5f}".format,
    "dec": "{:+.5f}".format,
}

# Measured columns that fit a terminal.
_MEASURED = 5


def show(
    table: AnswerTable, output: Output, *, as_json: bool, title: str | None = None
) -> None:
    """Print an answer: results to stdout, where it came from to stderr."""
    about = ", ".join(f"{name} {value}" for name, value in table.about.items())
    errors.print(about)
    if as_json or output == "json":
        names = [column.name for column in table.columns]
        values = zip(*(column.values for column in table.columns), strict=True)
        print_json([dict(zip(names, row, strict=True)) for row in values])
    elif output == "terminal":
        # A pipe has no width; a table that is cut to 80 columns helps nobody there.
        width = None if sys.stdout.isatty() else 200
        Terminal(width=width).print(_drawn(table, title))
    elif output == "csv" and sys.stdout.isatty():
        stdout().write(table.written(output).decode())
    else:
        print_bytes(table.written(output))


def about(manifest: Manifest, **members: object) -> dict[str, str]:
    """Where an answer came from, as text by name."""
    known = {
        "generation": manifest.number,
        "encoder": manifest.encoder_id,
        "catalogue": manifest.catalogue_name,
        "catalogue_digest": manifest.catalogue_digest,
        "sources": manifest.count,
        **members,
    }
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in known.items()
    }


def _drawn(table: AnswerTable, title: str | None) -> Table:
    """The columns that say something, of the measured ones the first."""
    names = [column.name for column in table.columns]
    shown = table.columns[: names.index("survey") + 1 + _MEASURED]
    shown = [c for c in shown if any(v is not None for v in c.values)]
    drawn = Table(title=title)
    for column in shown:
        number = column.kind in {"integer", "number"}
        drawn.add_column(
            column.name,
            justify="right" if number else "left",
            no_wrap=column.name in {"source_id", *_SHORT},
        )
    for row in zip(*(_texts(column) for column in shown), strict=True):
        drawn.add_row(*row)
    return drawn


def _texts(column: TableColumn) -> list[str]:
    write = _SHORT.get(column.name, str)
    return ["" if value is None else write(value) for value in column.values]
