"""Catalogued sources and their cutouts."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from twinjet.index.errors import InvalidQueryError
from twinjet.index.options import check_cone
from twinjet.index.resolve import resolve
from twinjet.index.source import Source
from twinjet.model.render import Stretch
from twinjet.service.dependencies import (
    WHERE,
    RegionDep,
    ResourcesDep,
    RootDep,
    ServedDep,
)
from twinjet.service.paging import next_page
from twinjet.service.responses import problems
from twinjet.service.schemas import (
    ColumnOut,
    GenerationOut,
    IsolationOut,
    Links,
    OneSourceOut,
    SourceItem,
    SourceOut,
    SourcesOut,
)
from twinjet.service.scopes import READ
from twinjet.service.served import Served

router = APIRouter(tags=["sources"], responses=problems(503), dependencies=[READ])

# A generation never changes, but the ID may mean other pixels in the next one.
_CACHE = {"Cache-Control": "private, max-age=300"}

_FITS_START = b"SIMPLE"


@router.get("/sources", summary="Sources by name, by cone, by filter")
def list_sources(
    request: Request,
    held: ResourcesDep,
    served: ServedDep,
    root: RootDep,
    *,
    name: Annotated[
        str | None,
        Query(min_length=1, max_length=200, description="ID, name or position, typed"),
    ] = None,
    ra: Annotated[
        float | None,
        Query(ge=0, le=360, allow_inf_nan=False, description="ICRS degrees"),
    ] = None,
    dec: Annotated[
        float | None,
        Query(ge=-90, le=90, allow_inf_nan=False, description="ICRS degrees"),
    ] = None,
    radius_arcsec: Annotated[
        float | None,
        Query(ge=0, le=648_000, allow_inf_nan=False, description="Of the cone"),
    ] = None,
    where: Annotated[str | None, Query(description=WHERE)] = None,
    region: RegionDep,
    sort: Annotated[
        str | None,
        Query(max_length=100, description="Column; `-column` for descending"),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[
        str | None, Query(max_length=2000, description="From `next` of a page")
    ] = None,
) -> SourcesOut:
    number = served.generation.number
    token = None
    if name is not None:
        _only(
            "name",
            {
                "ra": ra,
                "dec": dec,
                "radius_arcsec": radius_arcsec,
                "where": where,
                "sort": sort,
                "region": region,
                "after": after,
            },
        )
        items = [
            _item(served, root, m.source, match=m.kind, separation=m.separation_arcsec)
            for m in resolve(held.store, number, name, limit=limit)
        ]
    elif (ra, dec, radius_arcsec) != (None, None, None):
        _only("a cone", {"sort": sort, "after": after})
        if region is not None:
            message = (
                "a cone by ra, dec and radius_arcsec is answered in order of "
                "separation and is a region itself: leave region out, or keep it and "
                "leave the cone out"
            )
            raise InvalidQueryError(message, parameter="region")
        if ra is None or dec is None or radius_arcsec is None:
            given = {"ra": ra, "dec": dec, "radius_arcsec": radius_arcsec}
            missing = next(part for part, value in given.items() if value is None)
            message = f"{missing} is missing: a cone needs ra, dec and radius_arcsec"
            raise InvalidQueryError(message, parameter=missing)
        check_cone(ra, dec, radius_arcsec)
        found = held.store.cone(
            number, ra, dec, radius_arcsec, limit=limit, where=where
        )
        items = [
            _item(served, root, source, separation=separation)
            for _, source, separation in found
        ]
    else:
        sources, token = held.store.page(
            number, where=where, region=region, after=after, limit=limit, sort=sort
        )
        items = [_item(served, root, source) for source in sources]
    return SourcesOut(
        sources=items,
        next=None if token is None else next_page(request, root, after=token),
        generation=GenerationOut.of(served.manifest),
        columns=[ColumnOut.of(column) for column in served.generation.columns],
    )


@router.get(
    "/sources/{source_id:path}/cutout.fits",
    summary="The pixels, as they were indexed",
    response_class=Response,
    responses=problems(404)
    | {
        200: {
            "content": {
                "application/fits": {},
                "application/gzip": {},
                "image/png": {},
                "image/jpeg": {},
            }
        }
    },
)
def cutout_fits(source_id: str, held: ResourcesDep, served: ServedDep) -> Response:
    source = _source(held, served, source_id)
    data = served.provider.read(source)
    kind = "application/fits"
    if data[:2] == b"\x1f\x8b":
        kind = "application/gzip"
    elif not data.startswith(_FITS_START):
        kind = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
    name = (source.cutout or source.source_id).rsplit("/", 1)[-1]
    if kind == "application/fits" and ".f" not in name.lower():
        name += ".fits"
    file_name = "".join(c for c in name if c.isprintable())
    ascii_name = file_name.encode("ascii", "replace").decode().replace('"', "'")
    disposition = f'attachment; filename="{ascii_name}"'
    return Response(
        data, media_type=kind, headers=_CACHE | {"Content-Disposition": disposition}
    )


@router.get(
    "/sources/{source_id:path}/cutout.png",
    summary="The pixels, drawn",
    response_class=Response,
    responses=problems(404) | {200: {"content": {"image/png": {}}}},
)
def cutout_png(
    source_id: str,
    held: ResourcesDep,
    served: ServedDep,
    *,
    size: Annotated[int, Query(ge=16, le=1024, description="Side, pixels")] = 256,
    stretch: Stretch = "asinh",
    field_arcsec: Annotated[
        float | None,
        Query(
            gt=0,
            le=36_000,
            allow_inf_nan=False,
            description="Side on the sky; what the encoder sees when absent",
        ),
    ] = None,
) -> Response:
    source = _source(held, served, source_id)
    png = held.picture(
        served,
        source.source_id,
        size,
        stretch,
        field_arcsec or held.field_arcsec,
    )
    return Response(png, media_type="image/png", headers=_CACHE)


@router.get("/sources/{source_id:path}", summary="One source", responses=problems(404))
def one_source(
    source_id: str, held: ResourcesDep, served: ServedDep, root: RootDep
) -> OneSourceOut:
    row, source = held.store.row_of(served.generation.number, source_id)
    item = _item(served, root, source)
    calibration = served.searcher.generation.calibration
    isolation = None if calibration is None else calibration.isolation_of(row)
    return OneSourceOut(
        isolation=None if isolation is None else IsolationOut.of(isolation),
        source=item.source,
        links=item.links,
        field_arcsec=item.field_arcsec,
        match="id",
        generation=GenerationOut.of(served.manifest),
        columns=[ColumnOut.of(column) for column in served.generation.columns],
    )


def _source(held: ResourcesDep, served: Served, source_id: str) -> Source:
    return held.store.row_of(served.generation.number, source_id)[1]


def _item(
    served: Served,
    root: str,
    source: Source,
    *,
    match: Literal["id", "name", "position"] | None = None,
    separation: float | None = None,
) -> SourceItem:
    return SourceItem(
        source=SourceOut.of(source),
        links=Links.of(source, root, cutout=served.has_cutout(source)),
        field_arcsec=served.field_of(source),
        match=match,
        separation_arcsec=separation,
    )


def _only(what: str, others: dict[str, object]) -> None:
    """Refuse parameters that would be passed over without a word."""
    for parameter, value in others.items():
        if value is not None:
            message = f"{parameter} does not go with {what}: leave one of them out"
            raise InvalidQueryError(message, parameter=parameter)
