"""What routes ask for, as annotated types.

What is not `async` is called in a thread, and each change of threads waits for those
that compute: only what may have to wait for a disk is.
"""

import asyncio
from typing import Annotated

from fastapi import Depends, Query, Request

from twinjet.index.errors import InvalidQueryError
from twinjet.index.options import MAX_K, MAX_OFFSET, Options
from twinjet.index.polygons import MAX_VERTICES
from twinjet.index.region_text import parse_region
from twinjet.index.regions import Cone, Region
from twinjet.index.where_grammar import MAX_DEPTH, MAX_LENGTH, MAX_LIST, MAX_TERMS
from twinjet.service.resources import Resources
from twinjet.service.served import Served

_MAX_EXCLUDED = 1000

WHERE = (
    "Filter on columns, as `angular_size_arcsec > 30 and redshift is not null`. "
    "`= != < <= > >=` with a number, `'text'`, `true`, `false` or another column; "
    "`in (…)`, `between … and …`, `like '…%'`, `ilike`, `is null`; `and`, `or`, "
    f"`not`, parentheses. Up to {MAX_LENGTH} characters, {MAX_TERMS} terms, "
    f"{MAX_LIST} values in a list, {MAX_DEPTH} parentheses and nots within one another"
)

REGION = (
    "Part of the sky, ICRS degrees: `CIRCLE ra dec radius`, `RANGE ra ra dec dec`, "
    "`BOX ra dec width height [angle]`, `POLYGON ra dec ra dec ra dec …` (up to "
    f"{MAX_VERTICES} corners, smaller than a hemisphere), or `MOC` followed by a MOC "
    "as ASCII or JSON"
)
REGIONS = [
    "CIRCLE 180 30 2",
    "RANGE 350 10 -5 5",
    "POLYGON 10 0 12 0 11 2",
    "MOC 3/1-4",
]
ExcludeParam = Annotated[
    list[str] | None, Query(max_length=_MAX_EXCLUDED, description="IDs to leave out")
]
DuplicatesParam = Annotated[
    str,
    Query(
        pattern="^(keep|drop)$",
        description="The same object catalogued twice: keep or drop",
    ),
]
WhereParam = Annotated[
    str | None,
    Query(
        description=WHERE,
        examples=["angular_size_arcsec > 30 and fr_class = 'FRII'"],
    ),
]


async def resources(request: Request) -> Resources:
    """What the service holds open."""
    found: Resources = request.app.state.resources
    return found


def served(held: Annotated[Resources, Depends(resources)]) -> Served:
    """The generation that answers this request, taken once."""
    return held.served


def pinned(
    held: Annotated[Resources, Depends(resources)],
    generation: Annotated[
        int | None,
        Query(
            ge=1,
            le=2**63 - 1,
            description="Answer from this generation as long as it is kept; the one "
            "in force when absent. `next` names it",
        ),
    ] = None,
) -> Served:
    """The generation in force, or the one that a page is of."""
    in_force = held.served
    if generation in {None, in_force.generation.number}:
        return in_force
    return held.earlier(generation)


async def root_path(request: Request) -> str:
    """Path prefix of the service, without a slash at the end."""
    prefix: str = request.scope.get("root_path", "")
    return prefix.rstrip("/")


async def region(
    *,
    region: Annotated[str | None, Query(description=REGION, examples=REGIONS)] = None,
    region_ra: Annotated[
        float | None,
        Query(ge=0, le=360, allow_inf_nan=False, description="ICRS degrees"),
    ] = None,
    region_dec: Annotated[
        float | None,
        Query(ge=-90, le=90, allow_inf_nan=False, description="ICRS degrees"),
    ] = None,
    region_radius_deg: Annotated[
        float | None,
        Query(ge=0, le=180, allow_inf_nan=False, description="Radius of the region"),
    ] = None,
) -> Region | None:
    """The part of the sky that is asked for."""
    parts = {
        "region_ra": region_ra,
        "region_dec": region_dec,
        "region_radius_deg": region_radius_deg,
    }
    given = [value for value in parts.values() if value is not None]
    if given and len(given) < len(parts):
        missing = next(name for name, value in parts.items() if value is None)
        message = f"{missing} is missing: a region needs {', '.join(parts)}"
        raise InvalidQueryError(message, parameter=missing)
    if region is not None:
        if given:
            message = "region does not go with region_ra: leave one of them out"
            raise InvalidQueryError(message, parameter="region")
        # Of a large MOC it takes as long as a search.
        return await asyncio.to_thread(parse_region, region)
    return Cone(given[0], given[1], given[2]) if given else None


async def options(
    held: Annotated[Resources, Depends(resources)],
    *,
    k: Annotated[int, Query(ge=1, le=MAX_K, description="Neighbours wanted")] = 10,
    offset: Annotated[
        int, Query(ge=0, le=MAX_OFFSET, description="Neighbours to pass over first")
    ] = 0,
    min_similarity: Annotated[
        float | None,
        Query(
            ge=-1,
            le=1,
            allow_inf_nan=False,
            description="Leave out what is less similar",
        ),
    ] = None,
    exclude: ExcludeParam = None,
    duplicates: DuplicatesParam = "drop",
    where: WhereParam = None,
    region: Annotated[Region | None, Depends(region)],
    exact: Annotated[bool, Query(description="Compare with every vector")] = False,
    order: Annotated[
        str,
        Query(pattern="^(most|least)$", description="The most or least similar first"),
    ] = "most",
    diversity: Annotated[
        float,
        Query(
            ge=0,
            le=1,
            allow_inf_nan=False,
            description="How much neighbours shall differ from each other",
        ),
    ] = 0.0,
) -> Options:
    """The parameters that every search shares."""
    return Options(
        k=k,
        offset=offset,
        min_similarity=min_similarity,
        exclude=tuple(exclude or ()),
        keep_duplicates=duplicates == "keep",
        duplicate_radius_arcsec=held.config.duplicate_radius_arcsec,
        where=where,
        region=region,
        exact=exact,
        least=order == "least",
        diversity=diversity,
    )


ResourcesDep = Annotated[Resources, Depends(resources)]
RegionDep = Annotated[Region | None, Depends(region)]
ServedDep = Annotated[Served, Depends(served)]
PinnedDep = Annotated[Served, Depends(pinned)]
OptionsDep = Annotated[Options, Depends(options)]
RootDep = Annotated[str, Depends(root_path)]
