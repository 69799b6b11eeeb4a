"""Classes for all sources from a few labels."""

import asyncio
import csv
import io
from collections.abc import Generator
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, File, Query, Request, UploadFile
from fastapi.responses import StreamingResponse

from twinjet.index.errors import LabelsError
from twinjet.index.probe import Classified, as_table, classify, read_labels
from twinjet.service.dependencies import ResourcesDep, RootDep, ServedDep
from twinjet.service.pieces import in_turns
from twinjet.service.resources import Resources
from twinjet.service.responses import FORM, problems
from twinjet.service.schemas import (
    ClassifiedItem,
    GenerationOut,
    Links,
    ProbeOut,
    SourceOut,
)
from twinjet.service.scopes import READ
from twinjet.service.served import Served
from twinjet.service.uploads import file_bytes, only_parts

router = APIRouter(tags=["probe"], responses=problems(*FORM, 503), dependencies=[READ])


@router.post(
    "/probe",
    summary="Class and confidence of every source from a few labels",
    dependencies=[Depends(only_parts("file"))],
    response_model=ProbeOut,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
async def probe(
    request: Request,
    held: ResourcesDep,
    served: ServedDep,
    root: RootDep,
    *,
    file: Annotated[
        UploadFile, File(description="CSV with the columns id and label; a header")
    ],
    k: Annotated[
        int, Query(ge=0, le=1000, description="Most confident sources of each class")
    ] = 10,
    format: Annotated[  # noqa: A002 - the parameter's name on the wire
        Literal["json", "csv"],
        Query(description="csv has every source with its class and confidence"),
    ] = "json",
) -> ProbeOut | StreamingResponse:
    data = await file_bytes(file, held.config.max_upload_bytes)
    try:
        labels = await asyncio.to_thread(read_labels, data.decode("utf-8"))
    except UnicodeDecodeError as exc:
        message = f"the labels are not UTF-8 text: byte {exc.start} is not"
        raise LabelsError(message, parameter="file", actual=exc.start) from exc
    generation = served.searcher.generation
    classified = await asyncio.to_thread(classify, generation, held.store, labels)
    if format == "csv":
        name = f"classes-g{generation.manifest.number}.csv"
        return StreamingResponse(
            in_turns(request, _csv(classified, held, served)),
            media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )
    return await asyncio.to_thread(
        _answer, classified, labels, k=k, held=held, served=served, root=root
    )


def _answer(
    classified: Classified,
    labels: dict[str, str],
    *,
    k: int,
    held: Resources,
    served: Served,
    root: str,
) -> ProbeOut:
    number = served.manifest.number
    surest = {}
    for name in classified.probe.classes:
        rows = classified.most_confident(name, k)
        surest[name] = [
            ClassifiedItem(
                source=SourceOut.of(source),
                links=Links.of(source, root, cutout=served.has_cutout(source)),
                label=labels.get(source.source_id),
                confidence=round(float(classified.confidence[row]), 4),
            )
            for row, source in zip(
                rows, held.store.sources_by_row(number, rows), strict=True
            )
        ]
    return ProbeOut(
        generation=GenerationOut.of(served.manifest),
        report=classified.probe.report,
        counts=classified.counts(),
        most_confident=surest,
    )


def _csv(classified: Classified, held: Resources, served: Served) -> Generator[str]:
    text = io.StringIO()
    writer = csv.writer(text)
    for row in as_table(classified, held.store, served.manifest.number):
        writer.writerow(row)
        if text.tell() > 65_536:  # noqa: PLR2004 - a piece worth sending
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()
