"""Many questions at once over the wire."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from twinjet.index.source_tables import MAX_ROWS, Asked
from twinjet.service.regions import RegionIn
from twinjet.service.schemas import (
    GenerationOut,
    Links,
    NeighbourOut,
    SourceOut,
)


class BatchIn(BaseModel):
    """Whose neighbours are wanted: rows are numbered from 1, IDs before positions."""

    model_config = ConfigDict(extra="forbid")

    ids: Annotated[
        list[str], Field(max_length=MAX_ROWS, description="IDs of sources")
    ] = []
    positions: Annotated[
        list[Annotated[list[float], Field(min_length=2, max_length=2)]],
        Field(max_length=MAX_ROWS, description="[RA, Dec] each, ICRS degrees"),
    ] = []
    region: RegionIn = None

    def rows(self) -> list[Asked]:
        """As the index takes them."""
        first = [Asked(row, source_id=one) for row, one in enumerate(self.ids, 1)]
        then = enumerate(self.positions, len(first) + 1)
        return first + [Asked(row, position=(one[0], one[1])) for row, one in then]


class RowProblem(BaseModel):
    """Why a row has no answer: as the problem document of its question alone."""

    type: str
    title: str
    status: int
    detail: str
    parameter: str | None = None
    limit: float | str | None = None
    actual: float | str | None = None


class BatchQueryOut(BaseModel):
    """What was asked for."""

    kind: Literal["batch"] = "batch"
    rows: int
    radius_arcsec: Annotated[
        float, Field(description="How far from a position its source may be")
    ]


class ResultOut(BaseModel):
    """What came of one row: neighbours of a source, or a problem."""

    row: Annotated[int, Field(description="From 1, or the line of a CSV")]
    source_id: Annotated[str | None, Field(description="As it was asked for")]
    ra: Annotated[float | None, Field(description="As it was asked for, ICRS degrees")]
    dec: Annotated[float | None, Field(description="As it was asked for, ICRS degrees")]
    source: SourceOut | None = None
    links: Links | None = None
    field_arcsec: float | None = None
    neighbours: list[NeighbourOut] = []
    problem: RowProblem | None = None

    @classmethod
    def of(cls, asked: Asked, **members: Any) -> Self:
        """On the wire."""
        ra, dec = asked.position or (None, None)
        return cls(row=asked.row, source_id=asked.source_id, ra=ra, dec=dec, **members)


class BatchOut(BaseModel):
    """What came of each row, in the order of the rows."""

    query: BatchQueryOut
    generation: GenerationOut
    failed: Annotated[int, Field(description="Rows that have a problem")]
    results: list[ResultOut]
