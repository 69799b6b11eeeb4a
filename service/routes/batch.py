"""Neighbours of many sources at once: ``POST /similar/batch``."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, File, Query, Request, Response, UploadFile

from twinjet.index.batch import similar_to_each
from twinjet.index.options import Options
from twinjet.index.source_tables import Asked
from twinjet.service.admission import without_place
from twinjet.service.answers import Asking, AskingDep
from twinjet.service.content import JSON, form_only
from twinjet.service.dependencies import OptionsDep, ResourcesDep
from twinjet.service.json_body import JsonRoute
from twinjet.service.regions import MocFile, within, within_moc
from twinjet.service.responses import FORM, PINNED, TABLE_RESPONSES, problems
from twinjet.service.schemas_batch import BatchIn, BatchOut
from twinjet.service.scopes import READ
from twinjet.service.uploads import file_bytes, only_parts

router = APIRouter(
    tags=["similar"], responses=problems(*PINNED, *FORM, 415), dependencies=[READ]
)
_json = APIRouter(route_class=JsonRoute)

_BODY = {JSON: {"schema": BatchIn.model_json_schema()}}

_Radius = Annotated[
    float,
    Query(
        ge=0,
        le=3600,
        allow_inf_nan=False,
        description="How far from a position its source may be",
    ),
]


@_json.post(
    "/similar/batch",
    summary="Neighbours of each of many sources",
    response_model=BatchOut,
    responses=TABLE_RESPONSES,
    include_in_schema=False,
)
def similar_to_ids(
    asking: AskingDep,
    options: OptionsDep,
    batch: BatchIn,
    *,
    radius_arcsec: _Radius = 30.0,
) -> Response:
    options = within(options, batch.region)
    return _answered(asking, batch.rows(), options, radius_arcsec)


router.include_router(_json)


@router.post(
    "/similar/batch",
    summary="Neighbours of each of many sources: IDs or positions, as JSON or a table",
    dependencies=[Depends(form_only), Depends(only_parts("file", "moc"))],
    response_model=BatchOut,
    responses=TABLE_RESPONSES,
    openapi_extra={"requestBody": {"content": _BODY}},
)
async def similar_to_table(
    request: Request,
    held: ResourcesDep,
    asking: AskingDep,
    options: OptionsDep,
    *,
    file: Annotated[
        UploadFile,
        File(
            description="CSV, VOTable, FITS or Parquet with source_id, or ra and dec, "
            "or both: then the position stands for an ID that is not in this index"
        ),
    ],
    moc: MocFile = None,
    radius_arcsec: _Radius = 30.0,
) -> Response:
    options = await within_moc(options, moc, held.config.max_upload_bytes)
    name = (file.filename or "table")[:100]
    limit = held.config.max_upload_bytes
    async with without_place(request):
        rows = await held.tables.batch(name, lambda: file_bytes(file, limit))
    return await asyncio.to_thread(_answered, asking, rows, options, radius_arcsec)


def _answered(
    asking: Asking, rows: list[Asked], options: Options, radius_arcsec: float
) -> Response:
    answer = similar_to_each(
        asking.served.searcher, rows, options, radius_arcsec=radius_arcsec
    )
    return asking.batch(answer, radius_arcsec)
