"""What routes ask for, as annotated types."""

from typing import Annotated

from fastapi import Depends, Query, Request

from twinjet.index.errors import InvalidQueryError
from twinjet.index.search import MAX_K, MAX_OFFSET, Options
from twinjet.service.resources import Resources, Served

# A filter longer than this is no filter that a person wrote.
_MAX_WHERE = 2000
_MAX_EXCLUDED = 1000


REGION = ("region_ra", "region_dec", "region_radius_deg")
"""Parameters of a part of the sky."""


def resources(request: Request) -> Resources:
    """What the service holds open."""
    found: Resources = request.app.state.resources
    return found


def served(held: Annotated[Resources, Depends(resources)]) -> Served:
    """The generation that answers this request, taken once."""
    return held.served


def root_path(request: Request) -> str:
    """Path prefix of the service, without a slash at the end."""
    prefix: str = request.scope.get("root_path", "")
    return prefix.rstrip("/")


def region_only(request: Request) -> None:
    """Refuse parameters that are none of a region's.

    Of a mistyped region one would get the whole sky, and not see it.
    """
    unknown = sorted(set(request.query_params) - set(REGION))
    if unknown:
        message = f"{unknown[0]!r} is no parameter; there are {', '.join(REGION)}"
        raise InvalidQueryError(message, parameter=unknown[0])


def region(
    *,
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
) -> tuple[float, float, float] | None:
    """Centre and radius of the part of the sky that is asked for, degrees."""
    values = (region_ra, region_dec, region_radius_deg)
    parts = dict(zip(REGION, values, strict=True))
    given = [value for value in parts.values() if value is not None]
    if given and len(given) < len(parts):
        missing = next(name for name, value in parts.items() if value is None)
        message = f"{missing} is missing: a region needs {', '.join(parts)}"
        raise InvalidQueryError(message, parameter=missing)
    return (given[0], given[1], given[2]) if given else None


def options(
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
    exclude: Annotated[
        list[str] | None,
        Query(max_length=_MAX_EXCLUDED, description="IDs to leave out"),
    ] = None,
    duplicates: Annotated[
        str,
        Query(
            pattern="^(keep|drop)$",
            description="The same object catalogued twice: keep or drop",
        ),
    ] = "drop",
    where: Annotated[
        str | None,
        Query(
            max_length=_MAX_WHERE,
            description="Filter on columns, as `angular_size_arcsec > 30`",
        ),
    ] = None,
    region: Annotated[tuple[float, float, float] | None, Depends(region)],
    exact: Annotated[bool, Query(description="Compare with every vector")] = False,
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
    )


ResourcesDep = Annotated[Resources, Depends(resources)]
RegionDep = Annotated[tuple[float, float, float] | None, Depends(region)]
ServedDep = Annotated[Served, Depends(served)]
OptionsDep = Annotated[Options, Depends(options)]
RootDep = Annotated[str, Depends(root_path)]
