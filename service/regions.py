"""Parts of the sky in the body of a request, where addresses are too short."""

import asyncio
from dataclasses import replace
from typing import Annotated, Any

from fastapi import File, UploadFile
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from twinjet.index.errors import RegionError
from twinjet.index.moc import moc_of_bytes, moc_of_json
from twinjet.index.options import Options
from twinjet.index.region_text import parse_region
from twinjet.index.regions import Region
from twinjet.service.dependencies import REGION
from twinjet.service.uploads import file_bytes

RegionIn = Annotated[
    str | dict[str, Any] | None,
    Field(
        description=f"{REGION}, or the object that a MOC is as JSON",
        examples=["POLYGON 10 0 12 0 11 2", {"6": [1, 2, 3], "7": [40]}],
    ),
]

MocFile = Annotated[
    UploadFile | SkipJsonSchema[None],
    File(description="Only in the cells of this MOC: FITS, ASCII or JSON"),
]


def within(options: Options, region: str | dict[str, Any] | None) -> Options:
    """Options with the region of a JSON body.

    Raises
    ------
    RegionError
        It cannot be understood, or the address has one, too.
    """
    if region is None:
        return options
    found = parse_region(region) if isinstance(region, str) else moc_of_json(region)
    return _only(options, found)


async def within_moc(options: Options, moc: UploadFile | None, limit: int) -> Options:
    """Options with the MOC of a form, of so many bytes at most.

    Raises
    ------
    RegionError
        It cannot be understood, or the address has a region, too.
    PayloadTooLargeError
        It has more bytes than the limit.
    """
    if moc is None:
        return options
    data = await file_bytes(moc, limit)
    return _only(options, await asyncio.to_thread(moc_of_bytes, data))


def _only(options: Options, region: Region) -> Options:
    if options.region is not None:
        msg = "there is a region in the address and another in the body: leave one out"
        raise RegionError(msg)
    return replace(options, region=region)
