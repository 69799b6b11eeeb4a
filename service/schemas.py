"""What goes over the wire."""

from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

from twinjet.index.calibration import Isolation
from twinjet.index.generation import Manifest
from twinjet.index.search import Neighbour
from twinjet.index.source import Column, Source
from twinjet.index.store import Generation
from twinjet.model.card import EncoderCard
from twinjet.service.schemas_examples import ExamplesOut

Value = str | int | float | bool | None


class Links(BaseModel):
    """Where there is more about a source; paths below the service's root."""

    self: str
    similar: str
    cutout_fits: str | None
    cutout_png: str | None

    @classmethod
    def of(cls, source: Source, root: str, *, cutout: bool) -> Self:
        """Links of a source; `root` is the service's path prefix."""
        name = quote(source.source_id, safe="")
        here = f"{root}/sources/{name}"
        return cls(
            self=here,
            similar=f"{root}/similar/{name}",
            cutout_fits=f"{here}/cutout.fits" if cutout else None,
            cutout_png=f"{here}/cutout.png" if cutout else None,
        )


class SourceOut(BaseModel):
    """A catalogued source; measured columns of its catalogue stand beside these."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Value]

    source_id: str
    ra: Annotated[float, Field(description="ICRS, degrees")]
    dec: Annotated[float, Field(description="ICRS, degrees")]
    survey: str | None

    @classmethod
    def of(cls, source: Source) -> Self:
        """On the wire."""
        columns: dict[str, Any] = {
            name: value
            for name, value in source.columns.items()
            if name not in cls.model_fields
        }
        return cls(
            source_id=source.source_id,
            ra=source.ra,
            dec=source.dec,
            survey=source.survey,
            **columns,
        )


class GenerationOut(BaseModel):
    """Which build of the index answered."""

    number: int
    encoder: Annotated[str, Field(description="ID of the encoder card")]
    catalogue: str
    catalogue_digest: Annotated[
        str, Field(description="Of its contents and of every cutout: its version")
    ]
    sources: int
    exact: Annotated[
        bool | None,
        Field(description="Whether every vector that could match was compared"),
    ] = None
    searched: Annotated[
        int | None,
        Field(
            description="Sources that passed the filters, without those asked for; "
            "of a batch, all: each row is compared with all but itself"
        ),
    ] = None

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        *,
        exact: bool | None = None,
        searched: int | None = None,
    ) -> Self:
        """On the wire."""
        return cls(
            number=manifest.number,
            encoder=manifest.encoder_id,
            catalogue=manifest.catalogue_name,
            catalogue_digest=manifest.catalogue_digest,
            sources=manifest.count,
            exact=exact,
            searched=searched,
        )


class NeighbourOut(BaseModel):
    """A source and how alike it is."""

    rank: int
    similarity: Annotated[
        float,
        Field(description="Cosine, -1 to 1; of examples, to the one it is most like"),
    ]
    percentile: Annotated[
        float | None,
        Field(description="Percentage of random pairs that are less similar"),
    ]
    expected_by_chance: Annotated[
        float | None,
        Field(
            description="How many of the sources searched would be at least so similar "
            "to one drawn at random; of several examples an upper bound"
        ),
    ]
    score: Annotated[
        float | None,
        Field(description="What the rank is by, where that is not the similarity"),
    ]
    field_arcsec: float | None
    source: SourceOut
    links: Links

    @classmethod
    def of(
        cls, neighbour: Neighbour, root: str, field: float | None, *, cutout: bool
    ) -> Self:
        """On the wire."""
        return cls(
            rank=neighbour.rank,
            similarity=neighbour.similarity,
            percentile=neighbour.percentile,
            expected_by_chance=neighbour.expected_by_chance,
            score=neighbour.score,
            field_arcsec=field,
            source=SourceOut.of(neighbour.source),
            links=Links.of(neighbour.source, root, cutout=cutout),
        )


class QueryOut(BaseModel):
    """What was asked for."""

    kind: Literal["source", "position", "upload", "examples"]
    source: SourceOut | None = None
    links: Links | None = None
    field_arcsec: float | None = None
    ra: float | None = None
    dec: float | None = None
    radius_arcsec: float | None = None
    examples: ExamplesOut | None = None
    file_name: str | None = None
    notes: list[str] = []
    peak_snr: Annotated[
        float | None, Field(description="Brightest pixel over the noise of the sky")
    ] = None
    preview_png: Annotated[
        str | None, Field(description="Data URL: the upload as the encoder saw it")
    ] = None


class SimilarOut(BaseModel):
    """Neighbours, best first."""

    query: QueryOut
    generation: GenerationOut
    neighbours: list[NeighbourOut]
    next: Annotated[str | None, Field(description="The next page, if there is one")]


class EmbeddingOut(BaseModel):
    """An embedding and the encoder that made it."""

    encoder: str
    dimension: int
    embedding: list[float]
    notes: list[str]
    peak_snr: float | None


class ColumnOut(BaseModel):
    """A measured column of the catalogue."""

    name: str
    unit: str | None
    kind: Literal["number", "text", "boolean"]
    description: str | None
    ucd: str | None

    @classmethod
    def of(cls, column: Column) -> Self:
        """On the wire."""
        return cls(
            name=column.name,
            unit=column.unit,
            kind=column.kind,
            description=column.description,
            ucd=column.ucd,
        )


class IsolationOut(BaseModel):
    """How far a source is from what is most like it."""

    distance: Annotated[
        float, Field(description="Mean of 1 - cosine to the nearest reference sources")
    ]
    rank: Annotated[int, Field(description="1 for the most isolated of all")]
    percentile: Annotated[
        float, Field(description="Percentage of sources that are less isolated")
    ]

    @classmethod
    def of(cls, isolation: Isolation) -> Self:
        """On the wire."""
        return cls(
            distance=isolation.distance,
            rank=isolation.rank,
            percentile=isolation.percentile,
        )


class SourceItem(BaseModel):
    """A source in a list."""

    source: SourceOut
    links: Links
    field_arcsec: float | None
    match: Literal["id", "name", "position"] | None = None
    separation_arcsec: float | None = None


class SourcesOut(BaseModel):
    """Sources of a page, a cone or a name."""

    sources: list[SourceItem]
    next: str | None
    generation: GenerationOut
    columns: list[ColumnOut]


class OneSourceOut(SourceItem):
    """One source."""

    isolation: Annotated[
        IsolationOut | None,
        Field(description="None in a generation where it was not measured"),
    ]
    generation: GenerationOut
    columns: list[ColumnOut]


class GenerationItem(BaseModel):
    """A generation that is or was served."""

    number: int
    state: str
    current: bool
    encoder: str
    catalogue: str
    catalogue_digest: str
    sources: int
    created_at: str
    published_at: str | None
    damage: Annotated[
        str | None,
        Field(description="What was found to be wrong with it; it is not served"),
    ] = None

    @classmethod
    def of(
        cls, generation: Generation, *, current: bool, damage: str | None = None
    ) -> Self:
        """On the wire."""
        published = generation.published_at
        return cls(
            number=generation.number,
            state=generation.state,
            current=current,
            encoder=generation.encoder_id,
            catalogue=generation.catalogue_name,
            catalogue_digest=generation.catalogue_digest,
            sources=generation.source_count,
            created_at=generation.created_at.isoformat(),
            published_at=None if published is None else published.isoformat(),
            damage=damage,
        )


class GenerationsOut(BaseModel):
    """All generations, the latest first."""

    generations: list[GenerationItem]


class GenerationReport(GenerationItem):
    """A generation with its manifest, and what was found before it was published."""

    manifest: dict[str, Any]
    report: dict[str, Any] | None
    forced: Annotated[
        str | None,
        Field(description="Checks that it did not pass and that were passed over"),
    ]


class Health(BaseModel):
    """Whether the service can answer."""

    status: Literal["ok", "degraded", "unavailable"]
    generation: int | None = None
    trouble: str | None = None


class Problem(BaseModel):
    """A refusal (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    parameter: str | None = None
    limit: float | str | None = None
    actual: float | str | None = None
    position: Annotated[
        int | None, Field(description="In the filter or the JSON, from 0")
    ] = None
    expected: Annotated[
        list[str] | None, Field(description="What may stand at that position")
    ] = None
    nearest: Annotated[
        list[str] | None, Field(description="Columns with names like the one given")
    ] = None
    columns: Annotated[
        list[str] | None, Field(description="Columns that there are")
    ] = None
    candidates: Annotated[
        list[str] | None, Field(description="HDUs that could be meant")
    ] = None


class EncoderItem(BaseModel):
    """An encoder card; beside what is named here, its other members."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Any]

    id: str
    name: str
    dimension: int
    in_force: Annotated[
        bool,
        Field(description="Whether uploads go through it; another by TWINJET_ENCODER"),
    ]
    engine: Annotated[
        str | None,
        Field(
            description="What runs it here, torch or openvino (TWINJET_ENGINE); null "
            "where it is not in force"
        ),
    ]
    labels: Annotated[
        list[str],
        Field(description="Labelled sets it was taught; empty when self-supervised"),
    ]
    training: dict[str, Any]
    quality: Annotated[dict[str, Any], Field(description="Measured, with commands")]

    @classmethod
    def of(cls, card: EncoderCard, in_force: str, engine: str) -> Self:
        """On the wire."""
        return cls(
            **card.to_dict(),
            in_force=card.id == in_force,
            engine=engine if card.id == in_force else None,
            labels=sorted(card.training.get("labels", ())),
        )


class EncodersOut(BaseModel):
    """All encoders."""

    encoders: list[EncoderItem]


class ClassifiedItem(BaseModel):
    """A source with its class."""

    source: SourceOut
    links: Links
    label: Annotated[str | None, Field(description="That was given, if one was")]
    confidence: Annotated[
        float, Field(description="Calibrated on labelled sources; never for certain")
    ]


class ProbeOut(BaseModel):
    """A probe and what it makes of the generation."""

    generation: GenerationOut
    report: Annotated[
        dict[str, Any],
        Field(description="Cross-validated on parts of the sky that were not fitted"),
    ]
    counts: Annotated[dict[str, int], Field(description="Sources of each class")]
    most_confident: dict[str, list[ClassifiedItem]]
