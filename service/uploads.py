"""The file in a multipart body."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from fastapi import HTTPException, Request, UploadFile
from fastapi.routing import APIRoute

from twinjet.index.errors import InvalidQueryError
from twinjet.service.content import FORM, media_type
from twinjet.service.dependencies import resources
from twinjet.service.errors import ClientGoneError, PayloadTooLargeError
from twinjet.service.files import taken
from twinjet.service.inference import Embedded

_T = TypeVar("_T")


class UploadRoute(APIRoute):
    """Of a router whose forms embed files: `Admission` turns some of them away."""


def only_parts(*known: str) -> Callable[[Request], Awaitable[None]]:
    """For a route: refuses other parts of its form than these, and two of a kind.

    And a body of another type (415).
    """

    async def refuse_others(request: Request) -> None:
        given = media_type(request.headers)
        # Without any there is no file, which is said by the route itself.
        if given not in {FORM, ""}:
            raise HTTPException(415, f"send {FORM}; {given[:100]!r} came")
        check_parts(await part_names(request), known, once=known)

    return refuse_others


async def part_names(request: Request) -> list[str]:
    """Of the form of a request, as often as they came."""
    return [name for name, _ in (await request.form()).multi_items()]


def check_parts(
    names: Sequence[str], known: Sequence[str], *, once: Sequence[str]
) -> None:
    """Refuse what the framework would pass over: it takes the last of several.

    Raises
    ------
    InvalidQueryError
        A part that is not known, or one too many of a kind that comes once.
    """
    for name in names:
        if name not in known:
            shown = name[:100]
            msg = f"this form has {', '.join(known)}; {shown!r} came. Parameters and "
            msg += "regions are in the address, pairs of examples in JSON"
            raise InvalidQueryError(msg, parameter=shown, actual=shown)
    for name in once:
        if (count := names.count(name)) > 1:
            msg = f"send one {name}, several requests for several; there were {count}"
            raise InvalidQueryError(msg, parameter=name, limit=1, actual=count)


async def file_bytes(file: UploadFile, limit: int) -> bytes:
    """Bytes of an uploaded file.

    Raises
    ------
    PayloadTooLargeError
        It has more than the limit.
    """
    data = await file.read(limit + 1)
    if len(data) > limit:
        raise PayloadTooLargeError(limit, len(data))
    return data


async def embedded_upload(
    request: Request,
    file: UploadFile,
    *,
    pixel_scale_arcsec: float | None,
    hdu: int | None,
    invariant: bool | None,
) -> Embedded:
    """An uploaded file and its embedding, unless its client goes away.

    Raises
    ------
    OverloadedError
        There are too many.
    PayloadTooLargeError
        It has too many bytes.
    CutoutError
        The bytes are no usable cutout.
    ClientGoneError
        Nobody waits for the answer any more.
    """
    held = await resources(request)

    async def embed() -> Embedded:
        taken(request.scope)
        return await held.inference.embed(
            lambda: file_bytes(file, held.config.max_upload_bytes),
            pixel_scale_arcsec=pixel_scale_arcsec,
            hdu=hdu,
            invariant=invariant,
        )

    return await _unless_gone(request, embed())


async def _unless_gone(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """Result of work that is given up when the client closes its connection.

    Servers let a request run on whose client has gone.
    """
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait([task, gone], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    """Wait until the client goes away; the body has been read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
