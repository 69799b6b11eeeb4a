"""Sources that are like no others: ``GET /outliers``."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from twinjet.index.options import MAX_K, MAX_OFFSET, Options
from twinjet.index.outliers import outliers
from twinjet.service.answers import AskingDep
from twinjet.service.dependencies import (
    DuplicatesParam,
    ExcludeParam,
    RegionDep,
    ResourcesDep,
    WhereParam,
)
from twinjet.service.responses import PINNED, TABLE_RESPONSES, problems
from twinjet.service.schemas_outliers import OutliersOut
from twinjet.service.scopes import READ

router = APIRouter(tags=["similar"], responses=problems(*PINNED), dependencies=[READ])


@router.get(
    "/outliers",
    summary="The most isolated sources: those whose nearest others are farthest",
    response_model=OutliersOut,
    responses=TABLE_RESPONSES,
)
def list_outliers(
    held: ResourcesDep,
    asking: AskingDep,
    region: RegionDep,
    *,
    k: Annotated[int, Query(ge=1, le=MAX_K, description="Sources wanted")] = 10,
    offset: Annotated[
        int, Query(ge=0, le=MAX_OFFSET, description="Sources to pass over first")
    ] = 0,
    exclude: ExcludeParam = None,
    duplicates: DuplicatesParam = "drop",
    where: WhereParam = None,
    order: Annotated[
        str,
        Query(pattern="^(most|least)$", description="The most or least isolated first"),
    ] = "most",
) -> Response:
    options = Options(
        k=k,
        offset=offset,
        exclude=tuple(exclude or ()),
        keep_duplicates=duplicates == "keep",
        duplicate_radius_arcsec=held.config.duplicate_radius_arcsec,
        where=where,
        region=region,
        least=order == "least",
    )
    return asking.outliers(outliers(asking.served.searcher, options))
