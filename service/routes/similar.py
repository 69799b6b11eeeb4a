"""Neighbours of a source, of a position, of an upload; and the embedding alone."""

import asyncio
import base64
import math
from functools import partial
from typing import Annotated

from fastapi import (
    APIRouter,
    Depends,
    File,
    Form,
    Query,
    Request,
    Response,
    UploadFile,
)
from fastapi.exceptions import RequestValidationError
from pydantic.json_schema import SkipJsonSchema

from twinjet.index.examples import Examples, known_rows
from twinjet.index.scorers import Strategy
from twinjet.model.render import render_input
from twinjet.service.admission import place
from twinjet.service.answers import AskingDep
from twinjet.service.content import form_only
from twinjet.service.dependencies import OptionsDep, ResourcesDep
from twinjet.service.form_examples import (
    SomeExamples,
    embedded_examples,
    ids_of,
    known_parts,
)
from twinjet.service.inference import Embedded
from twinjet.service.regions import MocFile, within_moc
from twinjet.service.responses import FORM, PINNED, TABLE_RESPONSES, problems
from twinjet.service.routes.examples import EXAMPLES_BODY
from twinjet.service.schemas import EmbeddingOut, QueryOut, SimilarOut
from twinjet.service.schemas_examples import ExamplesOut
from twinjet.service.scopes import READ
from twinjet.service.timings import note
from twinjet.service.uploads import UploadRoute, embedded_upload, only_parts

router = APIRouter(tags=["similar"], dependencies=[READ], route_class=UploadRoute)

_SEARCH = problems(*PINNED) | TABLE_RESPONSES

_Scale = Annotated[
    float | None,
    Query(
        ge=1e-4,
        le=3600,
        allow_inf_nan=False,
        description="Pixel size in arcsec of a file without WCS",
    ),
]
_Hdu = Annotated[
    int | None,
    Query(
        ge=0,
        le=15,
        description="HDU of the image. When absent it is the primary one, or the only "
        "extension that holds an image and is no map of noise, weights or flags; where "
        "there are several, the refusal lists them",
    ),
]
_Invariant = Annotated[
    bool | None,
    Query(
        description="Average over the eight rotations and mirrors (true), take the "
        "image as it is (false), or do as the index did (absent)"
    ),
]


@router.get(
    "/similar/{source_id:path}",
    summary="Neighbours of a catalogued source",
    response_model=SimilarOut,
    responses=_SEARCH,
)
def similar_to_source(
    source_id: str, asking: AskingDep, options: OptionsDep
) -> Response:
    answer = asking.served.searcher.similar_to_source(source_id, options)
    query = QueryOut(kind="source", **asking.known_source(answer.query))
    return asking.similar(answer, query)


@router.get(
    "/similar",
    summary="Neighbours of the source nearest to a position",
    response_model=SimilarOut,
    responses=_SEARCH,
)
def similar_to_position(
    asking: AskingDep,
    options: OptionsDep,
    *,
    ra: Annotated[
        float, Query(ge=0, le=360, allow_inf_nan=False, description="ICRS degrees")
    ],
    dec: Annotated[
        float, Query(ge=-90, le=90, allow_inf_nan=False, description="ICRS degrees")
    ],
    radius_arcsec: Annotated[
        float, Query(ge=0, le=3600, allow_inf_nan=False, description="How far to look")
    ] = 30.0,
) -> Response:
    searcher = asking.served.searcher
    answer = searcher.similar_to_position(ra, dec, radius_arcsec, options)
    query = QueryOut(
        kind="position",
        ra=ra,
        dec=dec,
        radius_arcsec=radius_arcsec,
        **asking.known_source(answer.query),
    )
    return asking.similar(answer, query)


@router.post(
    "/similar",
    summary="Neighbours of an uploaded cutout, or of examples as JSON",
    dependencies=[Depends(form_only), Depends(known_parts)],
    response_model=SimilarOut,
    responses=_SEARCH | problems(*FORM, 415),
    openapi_extra={"requestBody": {"content": EXAMPLES_BODY}},
)
async def similar_to_upload(
    held: ResourcesDep,
    asking: AskingDep,
    options: OptionsDep,
    *,
    file: Annotated[
        UploadFile | SkipJsonSchema[None],
        File(description="FITS (also .gz, .fz), PNG or JPEG"),
    ] = None,
    like: SomeExamples = [],  # noqa: B006 - which the framework copies
    unlike: SomeExamples = [],  # noqa: B006
    strategy: Annotated[Strategy, Form(description="Of examples, as in JSON")] = "mean",
    invariant: _Invariant = None,
    pixel_scale_arcsec: _Scale = None,
    hdu: _Hdu = None,
    moc: MocFile = None,
) -> Response:
    options = await within_moc(options, moc, held.config.max_upload_bytes)

    async def embed(file: UploadFile) -> Embedded:
        embedded = await embedded_upload(
            asking.request,
            file,
            pixel_scale_arcsec=pixel_scale_arcsec,
            hdu=hdu,
            invariant=invariant,
        )
        note(asking.request, embedded.timings_ms)
        return embedded

    if like or unlike:
        given = {"like": like, "unlike": unlike}
        ids = ids_of(given)
        searcher = asking.served.searcher
        parts_are_ids = sum(map(len, ids.values())) == len(like) + len(unlike)
        if not parts_are_ids:
            searcher = held.embedding_searcher(asking.served)
            # Before anything is decoded for an answer that there will not be.
            await asyncio.to_thread(
                known_rows, ids, searcher.generation, searcher.store
            )
        parts, notes = await embedded_examples(given, embed)
        examples = Examples(parts["like"], parts["unlike"], strategy=strategy)
        search = partial(searcher.similar_to_examples, examples, options)
        if parts_are_ids:
            async with place(asking.request):
                answer = await asyncio.to_thread(search)
        else:
            answer = await asyncio.to_thread(search)
        sought = ExamplesOut.of(examples)
        query = QueryOut(kind="examples", examples=sought, notes=notes)
        return await asyncio.to_thread(asking.similar, answer, query)
    if file is None:
        raise RequestValidationError([{"type": "missing", "loc": ("body", "file")}])
    searcher = held.embedding_searcher(asking.served)
    embedded = await embed(file)
    answer = await asyncio.to_thread(
        searcher.similar_to_vector, embedded.vector, options
    )
    decoded = embedded.decoded
    ra, dec = decoded.position or (None, None)
    query = QueryOut(
        kind="upload",
        ra=ra,
        dec=dec,
        file_name=(file.filename or "")[:255] or None,
        field_arcsec=held.field_arcsec if decoded.has_scale else None,
        notes=embedded.notes(),
        peak_snr=_finite(decoded.prepared.peak_snr),
        preview_png=_data_url(
            await asyncio.to_thread(render_input, decoded.prepared.image)
        ),
    )
    return await asyncio.to_thread(asking.similar, answer, query)


@router.post(
    "/embeddings",
    summary="The embedding of an uploaded cutout",
    dependencies=[Depends(only_parts("file"))],
    responses=problems(*FORM, 415, 503),
)
async def embedding_of_upload(
    request: Request,
    held: ResourcesDep,
    file: Annotated[UploadFile, File(description="FITS (also .gz, .fz), PNG or JPEG")],
    *,
    invariant: _Invariant = None,
    pixel_scale_arcsec: _Scale = None,
    hdu: _Hdu = None,
) -> EmbeddingOut:
    embedded = await embedded_upload(
        request,
        file,
        pixel_scale_arcsec=pixel_scale_arcsec,
        hdu=hdu,
        invariant=invariant,
    )
    note(request, embedded.timings_ms)
    card = held.inference.encoder.card
    return EmbeddingOut(
        encoder=card.id,
        dimension=card.dimension,
        embedding=embedded.vector.tolist(),
        notes=embedded.notes(),
        peak_snr=_finite(embedded.decoded.prepared.peak_snr),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
