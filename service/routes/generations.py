"""What is and was served, and by which encoder."""

import re
from dataclasses import fields
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import StreamingResponse

from twinjet.index.errors import UnknownEncoderError, UnknownGenerationError
from twinjet.index.export import embeddings_parquet
from twinjet.index.generation import Manifest
from twinjet.index.published import publish_again
from twinjet.index.store import Generation
from twinjet.model.card import EncoderCard
from twinjet.model.engine import engine_of
from twinjet.service.dependencies import RegionDep, ResourcesDep
from twinjet.service.errors import without_home
from twinjet.service.pieces import in_turns
from twinjet.service.resources import Resources
from twinjet.service.responses import PINNED, problems
from twinjet.service.schemas import (
    EncoderItem,
    EncodersOut,
    GenerationItem,
    GenerationReport,
    GenerationsOut,
)
from twinjet.service.scopes import ADMIN, READ

router = APIRouter(tags=["provenance"], responses=problems(), dependencies=[READ])

_STORE = problems(503)
_ONE = problems(*PINNED)

PARQUET = "application/vnd.apache.parquet"

# Of a signed 64-bit integer, which is what the store takes.
_MOST = 2**63 - 1


def _damage(request: Request, held: Resources, generation: Generation) -> str | None:
    found = held.damage(generation)
    return None if found is None else without_home(request, found)


@router.get(
    "/generations", summary="Every build of the index that is kept", responses=_STORE
)
def list_generations(request: Request, held: ResourcesDep) -> GenerationsOut:
    current = held.store.current()
    return GenerationsOut(
        generations=[
            GenerationItem.of(
                generation,
                current=current is not None and generation.number == current.number,
                damage=_damage(request, held, generation),
            )
            for generation in held.store.generations()
            if generation.state == "ready"
        ]
    )


@router.get(
    "/generations/{number}", summary="One build with its manifest", responses=_ONE
)
def one_generation(
    request: Request, number: Annotated[int, Path(ge=1, le=_MOST)], held: ResourcesDep
) -> GenerationReport:
    generation = held.store.generation(number)
    if generation.state != "ready":
        message = f"generation {number} has not been published"
        raise UnknownGenerationError(message, actual=number)
    current = held.store.current()
    item = GenerationItem.of(
        generation,
        current=current is not None and number == current.number,
        damage=_damage(request, held, generation),
    )
    manifest = Manifest.read(held.config.files.generation(generation.folder))
    hidden = {"cutouts"}  # a path on the server is nobody's business
    shown = {f.name for f in fields(manifest)} - hidden
    return GenerationReport(
        **item.model_dump(),
        manifest={n: v for n, v in manifest.to_dict().items() if n in shown},
        report=generation.report,
        forced=generation.forced,
    )


@router.get(
    "/generations/{number}/embeddings.parquet",
    response_class=StreamingResponse,
    responses=_ONE | {200: {"content": {PARQUET: {}}, "description": "The table"}},
    summary="Embeddings of one build or a region of it, as HATS catalogues have theirs",
)
def embeddings(
    request: Request,
    number: Annotated[int, Path(ge=1, le=_MOST)],
    held: ResourcesDep,
    region: RegionDep,
) -> StreamingResponse:
    generation = held.store.generation(number)
    if generation.state != "ready":
        message = f"generation {number} has not been published"
        raise UnknownGenerationError(message, actual=number)
    served = held.served
    if served.generation.number != number:
        served = held.earlier(number)  # open for the next ones who ask, too
    opened = served.searcher.generation
    name = f"twinjet-{generation.catalogue_name}-{number}.parquet"
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return StreamingResponse(
        in_turns(
            request, embeddings_parquet(number, opened, held.store, region=region)
        ),
        media_type=PARQUET,
        headers={"Content-Disposition": f'attachment; filename="{safe}"'},
    )


@router.post(
    "/generations/{number}/publish",
    dependencies=[ADMIN],
    responses=_ONE | problems(507),
    summary="Serve an earlier build again, if its files are whole",
)
def publish(
    request: Request, number: Annotated[int, Path(ge=1, le=_MOST)], held: ResourcesDep
) -> GenerationReport:
    publish_again(number, held.config.files, held.store, held.vector_engine)
    return one_generation(request, number, held)


@router.get("/encoders", summary="The encoders that this service has", responses=_STORE)
def list_encoders(held: ResourcesDep) -> EncodersOut:
    return EncodersOut(encoders=[_item(card, held) for card in held.cards()])


@router.get(
    "/encoders/{encoder_id}", summary="An encoder card", responses=problems(404, 503)
)
def one_encoder(encoder_id: str, held: ResourcesDep) -> EncoderItem:
    cards = held.cards()
    for card in cards:
        if encoder_id in {card.id, card.name}:
            return _item(card, held)
    known = ", ".join(f"{card.name} ({card.id})" for card in cards)
    message = f"no encoder {encoder_id[:100]!r}; this service has {known}"
    raise UnknownEncoderError(message, actual=encoder_id[:100])


def _item(card: EncoderCard, held: Resources) -> EncoderItem:
    return EncoderItem.of(card, held.encoder_id, engine_of(held.inference.encoder))
