"""Named lists of known sources: kept, replaced, taken away."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, File, Query, Request, UploadFile

from twinjet.index.discovery.known import MAX_RADIUS_ARCSEC, ListStore
from twinjet.index.source_tables import Entry
from twinjet.service.admission import without_place
from twinjet.service.dependencies import ResourcesDep
from twinjet.service.responses import FORM, problems
from twinjet.service.schemas_sessions import KnownListOut, KnownListsOut
from twinjet.service.scopes import INGEST, READ
from twinjet.service.uploads import file_bytes, only_parts

router = APIRouter(tags=["discovery"], responses=problems(503), dependencies=[READ])


@router.get("/lists", summary="Lists of known sources")
def list_lists(held: ResourcesDep) -> KnownListsOut:
    lists = ListStore(held.store.engine).lists()
    return KnownListsOut(lists=[KnownListOut.of(one) for one in lists])


@router.get(
    "/lists/{name}", summary="One list of known sources", responses=problems(404)
)
def one_list(name: str, held: ResourcesDep) -> KnownListOut:
    return KnownListOut.of(ListStore(held.store.engine).get(name))


@router.put(
    "/lists/{name}",
    summary="Keep a list, instead of what has its name",
    dependencies=[INGEST, Depends(only_parts("file"))],
    responses=problems(*FORM),
)
async def put_list(
    request: Request,
    name: str,
    held: ResourcesDep,
    *,
    file: Annotated[
        UploadFile,
        File(description="CSV or VOTable with IDs, or with ra and dec, or both"),
    ],
    radius_arcsec: Annotated[
        float | None,
        Query(
            ge=0,
            le=MAX_RADIUS_ARCSEC,
            allow_inf_nan=False,
            description="Sources so near to a position are on the list; that of "
            "duplicates when absent",
        ),
    ] = None,
) -> KnownListOut:
    file_name = (file.filename or "upload")[:100]
    limit = held.config.max_upload_bytes
    async with without_place(request):
        entries = await held.tables.entries(file_name, lambda: file_bytes(file, limit))
    radius = radius_arcsec
    if radius is None:
        radius = held.config.duplicate_radius_arcsec
    return await asyncio.to_thread(_put, held, name, entries, radius)


@router.delete(
    "/lists/{name}",
    status_code=204,
    summary="Forget a list",
    responses=problems(404, 409, 507),
    dependencies=[INGEST],
)
def delete_list(name: str, held: ResourcesDep) -> None:
    ListStore(held.store.engine).delete(name)


def _put(
    held: ResourcesDep, name: str, entries: list[Entry], radius: float
) -> KnownListOut:
    kept = ListStore(held.store.engine).put(name, entries, radius_arcsec=radius)
    return KnownListOut.of(kept)
