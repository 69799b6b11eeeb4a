"""Isolated sources over the wire."""

from typing import Annotated, Self

from pydantic import BaseModel, Field

from twinjet.index.calibration import CalibrationInfo
from twinjet.service.schemas import GenerationOut, IsolationOut, Links, SourceOut


class CalibrationOut(BaseModel):
    """How isolation was measured."""

    neighbours: Annotated[
        int, Field(description="Nearest sources whose mean distance it is")
    ]
    references: Annotated[
        int, Field(description="Sources, of different objects, they were sought among")
    ]
    object_radius_arcsec: Annotated[
        float, Field(description="Sources closer than this are one object")
    ]

    @classmethod
    def of(cls, info: CalibrationInfo) -> Self:
        """On the wire."""
        return cls(
            neighbours=info.neighbours,
            references=info.references,
            object_radius_arcsec=info.object_radius_arcsec,
        )


class OutlierOut(BaseModel):
    """A source and how isolated it is among all."""

    rank: Annotated[int, Field(description="In this list, from 1")]
    isolation: IsolationOut
    field_arcsec: float | None
    source: SourceOut
    links: Links


class OutliersOut(BaseModel):
    """Sources, the most isolated first."""

    generation: GenerationOut
    calibration: CalibrationOut
    outliers: list[OutlierOut]
    next: Annotated[str | None, Field(description="The next page, if there is one")]
