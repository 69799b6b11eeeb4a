"""Sources that have no twins: the most isolated first."""

import time
from dataclasses import dataclass, field

import numpy as np

from twinjet.index.calibration import Calibration, Isolation
from twinjet.index.errors import InvalidQueryError, NotCalibratedError
from twinjet.index.options import Options, check_options
from twinjet.index.ranking import first_of_each_object
from twinjet.index.search import Searcher
from twinjet.index.source import Source
from twinjet.index.vectors.port import Rows


@dataclass(frozen=True)
class Outlier:
    """A source and how isolated it is."""

    rank: int
    """From 1, in this list; the pages of one list continue it."""
    isolation: Isolation
    """Among all sources of the generation."""
    source: Source


@dataclass(frozen=True)
class OutliersAnswer:
    """Sources, the most isolated first."""

    outliers: list[Outlier]
    more: bool
    """Whether there are further ones."""
    searched: int
    """Sources that passed the filters."""
    timings_ms: dict[str, float] = field(default_factory=dict)


def calibration_of(searcher: Searcher) -> Calibration:
    """The calibration of a generation.

    Raises
    ------
    NotCalibratedError
        It was made without.
    """
    calibration = searcher.generation.calibration
    if calibration is None:
        raise NotCalibratedError(searcher.generation.manifest.number)
    return calibration


def outliers(searcher: Searcher, options: Options) -> OutliersAnswer:
    """The most isolated sources, or with `Options.least` the least isolated.

    Each object of the sky is there once, in place of its duplicates the one that
    comes first.

    Raises
    ------
    NotCalibratedError
        The generation was made without a calibration.
    InvalidQueryError, FilterError
        An option is out of bounds, or has no meaning here.
    """
    check_options(options)
    given = {
        "min_similarity": options.min_similarity is not None,
        "diversity": options.diversity != 0,
    }
    for name in (name for name, there in given.items() if there):
        msg = f"{name} has no meaning for outliers: leave it out"
        raise InvalidQueryError(msg, parameter=name)
    calibration = calibration_of(searcher)
    started = time.perf_counter()
    among = searcher.among(options)
    looked_up = time.perf_counter()
    order = calibration.order if among is None else calibration.sorted(among)
    if options.least:
        order = order[::-1]
    rows = _once_each(searcher, order, options)
    page = rows[options.offset : options.offset + options.k]
    searched = time.perf_counter()
    number = searcher.generation.manifest.number
    sources = searcher.store.sources_by_row(number, page.tolist())
    found = []
    for rank, (row, source) in enumerate(
        zip(page.tolist(), sources, strict=True), options.offset + 1
    ):
        isolation = calibration.isolation_of(row)
        if isolation is not None:  # as all that are in the order
            found.append(Outlier(rank, isolation, source))
    joined = time.perf_counter()
    return OutliersAnswer(
        outliers=found,
        more=len(rows) > options.offset + options.k,
        searched=len(order),
        timings_ms={
            "lookup": 1e3 * (looked_up - started),
            "search": 1e3 * (searched - looked_up),
            "metadata": 1e3 * (joined - searched),
        },
    )


def _once_each(searcher: Searcher, order: Rows, options: Options) -> Rows:
    """The first that are wanted and one more, without what is left out."""
    rules = searcher.rules(options, ())
    depth = options.wanted + len(rules.excluded) + 16
    while True:
        rows = order[:depth]
        keep = ~np.isin(rows, list(rules.excluded))
        if rules.duplicate_radius_arcsec is not None:
            keep &= first_of_each_object(
                searcher.generation.positions,
                rows,
                keep,
                rules.excluded,
                rules.duplicate_radius_arcsec,
            )
        if keep.sum() >= options.wanted or depth >= len(order):
            kept: Rows = rows[keep][: options.wanted]
            return kept
        depth *= 2
