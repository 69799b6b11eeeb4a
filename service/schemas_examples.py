"""Examples over the wire."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from twinjet.index.examples import MAX_EXAMPLES, Embedding, Example, Examples
from twinjet.index.scorers import LEAST_FOR_RANKER, Strategy
from twinjet.service.regions import RegionIn

MAX_NAME = 1000
"""Characters of an ID or of the name of an encoder."""


class EmbeddingIn(BaseModel):
    """An embedding as ``POST /embeddings`` answers it; what else it says is ignored."""

    encoder: Annotated[str, Field(max_length=MAX_NAME)]
    embedding: list[float]


def _known_shape(value: Any) -> Any:
    if not isinstance(value, str | list | dict):
        msg = 'an example is an ID, {"id": ID}, an embedding (a list of numbers), or '
        msg += 'what POST /embeddings answers: {"encoder": …, "embedding": […]}'
        raise ValueError(msg)  # noqa: TRY004 - what pydantic turns into a refusal
    if not isinstance(value, dict) or value.keys() == {"id"}:
        return value
    if not value.keys() >= EmbeddingIn.model_fields.keys():
        names = ", ".join(sorted(map(str, value)))[:100] or "none"
        msg = 'an example that is an object is {"id": ID}, or what POST /embeddings '
        msg += f"answers; its members were: {names}"
        raise ValueError(msg)
    return EmbeddingIn.model_validate(value)


ExampleIn = Annotated[
    Annotated[str, Field(max_length=MAX_NAME)]
    | Annotated[
        dict[Literal["id"], Annotated[str, Field(max_length=MAX_NAME)]],
        Field(min_length=1),
    ]
    # In place, since the description of a body has no definitions of its own.
    | Annotated[EmbeddingIn, WithJsonSchema(EmbeddingIn.model_json_schema())]
    | list[float],
    BeforeValidator(_known_shape),
]

_Some = Annotated[list[ExampleIn], Field(max_length=MAX_EXAMPLES)]


class ExamplesIn(BaseModel):
    """What is sought, by example."""

    model_config = ConfigDict(extra="forbid")

    like: Annotated[
        _Some,
        Field(
            description="IDs of sources, embeddings of this index's encoder, or what "
            "POST /embeddings answers"
        ),
    ] = []
    unlike: Annotated[
        _Some,
        Field(description="Counter-examples; alone, the least similar are answered"),
    ] = []
    pairs: Annotated[
        list[Annotated[list[ExampleIn], Field(min_length=2, max_length=2)]],
        Field(
            max_length=MAX_EXAMPLES // 2,
            description="[positive, negative] each. Alone: sources that are nearer to "
            "the positive than to the negative. With like: like these, but as the "
            "positives differ from the negatives",
        ),
    ] = []
    strategy: Annotated[
        Strategy,
        Field(
            description="mean: cosine to the mean of the likes minus that of the "
            "unlikes. best: cosine to the nearest like; what is nearer to an unlike is "
            "left out. ranker: distance from a boundary that is fitted between "
            f"{LEAST_FOR_RANKER} or more likes and as many unlikes"
        ),
    ] = "mean"
    region: RegionIn = None

    def examples(self) -> Examples:
        """As the index takes them."""
        return Examples(
            like=[_plain(one) for one in self.like],
            unlike=[_plain(one) for one in self.unlike],
            pairs=[(_plain(one), _plain(other)) for one, other in self.pairs],
            strategy=self.strategy,
        )


class ExamplesOut(BaseModel):
    """What was sought: how many examples of each kind."""

    strategy: Literal["mean", "best", "ranker", "pairs"]
    like: int
    unlike: int
    pairs: int

    @classmethod
    def of(cls, examples: Examples) -> Self:
        """On the wire."""
        return cls(
            strategy="pairs" if examples.pairs else examples.strategy,
            like=len(examples.like),
            unlike=len(examples.unlike),
            pairs=len(examples.pairs),
        )


def _plain(one: ExampleIn) -> Example:
    if isinstance(one, EmbeddingIn):
        return Embedding(one.embedding, one.encoder)
    return one["id"] if isinstance(one, dict) else one
