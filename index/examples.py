"""Several examples instead of one: what is like what is sought, and what is not."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from twinjet.index.errors import InvalidQueryError, UnknownExamplesError
from twinjet.index.generation import OpenGeneration
from twinjet.index.scorers import (
    STRATEGIES,
    Scorer,
    Strategy,
    context_of,
    scorer_of,
    shifted_by,
)
from twinjet.index.store import SourceStore
from twinjet.index.vectors.port import Vectors

# In all lists together: scoring compares every source with each of them.
MAX_EXAMPLES = 1000

# How far from 1 the norm of a vector may be: what JSON and float16 round away.
_NORM_TOLERANCE = 0.01


@dataclass(frozen=True)
class Embedding:
    """An embedding that says which encoder made it."""

    values: Sequence[float]
    """(D,), of unit norm."""
    encoder_id: str


Example = str | Sequence[float] | Embedding
"""ID of a source, or an embedding made by the generation's encoder."""


@dataclass(frozen=True)
class Examples:
    """What is sought, by example.

    Attributes
    ----------
    like, unlike
        Examples and counter-examples; with unlikes alone the least similar are sought.
    pairs
        Of a positive and a negative example each. Alone they say what to be nearer to;
        beside likes, how what is sought differs from these.
    strategy
        How likes and unlikes are combined: see `twinjet.index.scorers`.
    """

    like: Sequence[Example] = ()
    unlike: Sequence[Example] = ()
    pairs: Sequence[tuple[Example, Example]] = ()
    strategy: Strategy = "mean"


@dataclass(frozen=True)
class Resolved:
    """Examples as vectors."""

    scorer: Scorer
    rows: frozenset[int] = field(default_factory=frozenset)
    """Of the examples that are sources of the generation."""


def resolve_examples(
    examples: Examples, generation: OpenGeneration, store: SourceStore
) -> Resolved:
    """Look the examples up and make a scorer of them; repeated ones count once.

    Raises
    ------
    UnknownExamplesError
        Some IDs are not those of sources of this generation; it names them.
    InvalidQueryError
        There are none, too many, the same on both sides, or too few for the strategy;
        a vector is of another length, is not finite or not of unit norm, or says that
        another encoder made it.
    """
    lists = _lists(examples)
    ids = {
        name: [one for one in some if isinstance(one, str)]
        for name, some in lists.items()
    }
    rows = known_rows(ids, generation, store)
    found = {
        name: [
            _keyed(one, f"{name}[{place}]", rows, generation)
            for place, one in enumerate(some)
        ]
        for name, some in lists.items()
    }
    likes, unlikes = dict(found["like"]), dict(found["unlike"])
    sides = list(zip(found["pairs"][::2], found["pairs"][1::2], strict=True))
    if likes.keys() & unlikes.keys() or any(p[0] == n[0] for p, n in sides):
        _refuse_both_sides(examples, rows)
    if sides:
        pairs = {(p[0], n[0]): (p[1], n[1]) for p, n in sides}
        positives, negatives = zip(*pairs.values(), strict=True)
        both = np.stack(positives), np.stack(negatives)
        if likes:
            scorer = shifted_by(np.stack([*likes.values()]), *both)
        else:
            scorer = context_of(*both)
    else:
        none = np.empty((0, generation.manifest.dimension), np.float32)
        scorer = scorer_of(
            np.stack([*likes.values()]) if likes else none,
            np.stack([*unlikes.values()]) if unlikes else none,
            examples.strategy,
        )
    return Resolved(scorer, frozenset(rows.values()))


def known_rows(
    ids: Mapping[str, Sequence[str]], generation: OpenGeneration, store: SourceStore
) -> Mapping[str, int]:
    """Rows of the IDs in some lists, by ID.

    Raises
    ------
    UnknownExamplesError
        Some are not those of sources of this generation; it names them and their list.
    """
    every = [one for some in ids.values() for one in some]
    rows = store.rows_named(generation.manifest.number, every)
    for name, some in ids.items():
        unknown = [one for one in some if one not in rows]
        if unknown:
            raise UnknownExamplesError(unknown, parameter=name)
    return rows


def _lists(examples: Examples) -> dict[str, Sequence[Example]]:
    """The examples by where they were given, counted."""
    if examples.strategy not in STRATEGIES:
        msg = f"strategy is one of {', '.join(STRATEGIES)}; not {examples.strategy!r}"
        raise InvalidQueryError(msg, parameter="strategy", actual=examples.strategy)
    if examples.pairs and examples.unlike:
        msg = "pairs have counter-examples of their own: leave unlike out"
        raise InvalidQueryError(msg, parameter="unlike", actual=len(examples.unlike))
    if examples.pairs and examples.strategy != "mean":
        msg = f"pairs have a strategy of their own; leave {examples.strategy!r} out"
        raise InvalidQueryError(msg, parameter="strategy", actual=examples.strategy)
    lists: dict[str, Sequence[Example]] = {
        "like": examples.like,
        "unlike": examples.unlike,
        "pairs": [one for pair in examples.pairs for one in pair],
    }
    count = sum(map(len, lists.values()))
    if not 1 <= count <= MAX_EXAMPLES:
        msg = f"give 1 to {MAX_EXAMPLES} examples in all lists together; it was {count}"
        raise InvalidQueryError(
            msg, parameter="like", limit=f"1 to {MAX_EXAMPLES}", actual=count
        )
    return lists


def _keyed(
    one: Example, place: str, rows: Mapping[str, int], generation: OpenGeneration
) -> tuple[int | bytes, Vectors]:
    """An example's vector (D,), and what it has in common with itself repeated."""
    if isinstance(one, str):
        row = rows[one]
        return row, np.asarray(generation.vectors[row], np.float32)
    if isinstance(one, Embedding):
        ours = generation.manifest.encoder_id
        if one.encoder_id != ours:
            theirs = one.encoder_id[:100]
            msg = f"{place} is of encoder {theirs!r}, this index's vectors of {ours}"
            raise InvalidQueryError(msg, parameter=place, limit=ours, actual=theirs)
        one = one.values
    vector = checked_vector(one, place, generation.manifest.dimension)
    return vector.tobytes(), vector


def checked_vector(values: Sequence[float], parameter: str, dimension: int) -> Vectors:
    """An embedding from outside, shape (D,), float32, unit norm.

    Raises
    ------
    InvalidQueryError
        It is of another length, is not finite, or its norm is not 1.

    Examples
    --------
    >>> checked_vector([0.6, 0.8], "like[0]", 2)
    array([0.6, 0.8], dtype=float32)
    """
    if len(values) != dimension:
        msg = f"{parameter} has {len(values)} numbers; this index's vectors {dimension}"
        raise InvalidQueryError(
            msg, parameter=parameter, limit=dimension, actual=len(values)
        )
    norm = math.hypot(*values)
    if not abs(norm - 1) <= _NORM_TOLERANCE:  # also when it is NaN
        msg = f"{parameter} must be finite and of norm 1, as embeddings are; its norm "
        msg += f"was {norm:g}"
        raise InvalidQueryError(
            msg, parameter=parameter, limit=_NORM_TOLERANCE, actual=str(norm)
        )
    return (np.asarray(values, np.float64) / norm).astype(np.float32)


def _refuse_both_sides(examples: Examples, rows: Mapping[str, int]) -> None:
    """Say what is liked and unliked at once."""
    pairs = examples.pairs or [(a, b) for a in examples.like for b in examples.unlike]
    same = next(
        (a for a, b in pairs if isinstance(a, str) and rows[a] == rows.get(str(b))),
        "a vector",
    )
    msg = f"{same} is both what is sought and what is not: leave it out of one side"
    parameter = "pairs" if examples.pairs else "unlike"
    raise InvalidQueryError(msg, parameter=parameter, actual=str(same))
