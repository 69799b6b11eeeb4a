"""Answers of searches on the wire."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel

from twinjet.index.batch import BatchAnswer, Result
from twinjet.index.options import MAX_OFFSET
from twinjet.index.outliers import Outlier, OutliersAnswer, calibration_of
from twinjet.index.search import Answer, Neighbour
from twinjet.index.source import Column, Source
from twinjet.service.content import JSON, wanted_format
from twinjet.service.dependencies import PinnedDep, RootDep
from twinjet.service.errors import described
from twinjet.service.paging import next_page
from twinjet.service.schemas import (
    GenerationOut,
    IsolationOut,
    Links,
    NeighbourOut,
    QueryOut,
    SimilarOut,
    SourceOut,
)
from twinjet.service.schemas_batch import (
    BatchOut,
    BatchQueryOut,
    ResultOut,
    RowProblem,
)
from twinjet.service.schemas_outliers import CalibrationOut, OutlierOut, OutliersOut
from twinjet.service.served import Served
from twinjet.service.tables import (
    MEDIA_TYPES,
    AnswerTable,
    Format,
    batch_table,
    neighbours_table,
    outliers_table,
)
from twinjet.service.timings import note

_SUFFIXES: Mapping[Format, str] = {"csv": "csv", "votable": "vot", "parquet": "parquet"}


@dataclass(frozen=True)
class Asking:
    """A request for an answer of one generation, and how it shall look."""

    request: Request
    served: Served
    root: str
    form: Format | None
    """Of a table; None for JSON."""

    def similar(self, answer: Answer, query: QueryOut) -> Response:
        """Neighbours with links, and the address of the next page."""
        note(self.request, answer.timings_ms)
        began = time.perf_counter()
        out = SimilarOut(
            query=query,
            generation=GenerationOut.of(
                self.served.manifest, exact=answer.exact, searched=answer.searched
            ),
            neighbours=self._neighbours(answer.neighbours),
            next=self._next_page(answer.neighbours, more=answer.more),
        )
        return self._reply(
            out,
            out.generation,
            partial(neighbours_table, answer.neighbours),
            began,
            following=out.next,
        )

    def batch(self, answer: BatchAnswer, radius_arcsec: float) -> Response:
        """What came of each row."""
        note(self.request, answer.timings_ms)
        began = time.perf_counter()
        out = BatchOut(
            query=BatchQueryOut(rows=len(answer.results), radius_arcsec=radius_arcsec),
            generation=GenerationOut.of(
                self.served.manifest, exact=answer.exact, searched=answer.searched
            ),
            failed=sum(result.error is not None for result in answer.results),
            results=[self._result(result) for result in answer.results],
        )
        return self._reply(
            out, out.generation, partial(batch_table, answer.results), began
        )

    def outliers(self, answer: OutliersAnswer) -> Response:
        """Isolated sources, and the address of the next page."""
        note(self.request, answer.timings_ms)
        began = time.perf_counter()
        calibration = calibration_of(self.served.searcher)
        out = OutliersOut(
            generation=GenerationOut.of(
                self.served.manifest,
                exact=not calibration.info.sampled,
                searched=answer.searched,
            ),
            calibration=CalibrationOut.of(calibration.info),
            outliers=[
                OutlierOut(
                    rank=one.rank,
                    isolation=IsolationOut.of(one.isolation),
                    **self.known_source(one.source),
                )
                for one in answer.outliers
            ],
            next=self._next_page(answer.outliers, more=answer.more),
        )
        return self._reply(
            out,
            out.generation,
            partial(outliers_table, answer.outliers),
            began,
            following=out.next,
        )

    def known_source(self, source: Source | None) -> dict[str, Any]:
        """Members of the query for a catalogued source."""
        if source is None:
            return {}
        cutout = self.served.has_cutout(source)
        return {
            "source": SourceOut.of(source),
            "links": Links.of(source, self.root, cutout=cutout),
            "field_arcsec": self.served.field_of(source),
        }

    def _neighbours(self, neighbours: Sequence[Neighbour]) -> list[NeighbourOut]:
        return [
            NeighbourOut.of(
                neighbour,
                self.root,
                self.served.field_of(neighbour.source),
                cutout=self.served.has_cutout(neighbour.source),
            )
            for neighbour in neighbours
        ]

    def _result(self, result: Result) -> ResultOut:
        if result.error is not None:
            problem = RowProblem(**described(result.error))
            return ResultOut.of(result.asked, problem=problem)
        return ResultOut.of(
            result.asked,
            **self.known_source(result.source),
            neighbours=self._neighbours(result.neighbours),
        )

    def _next_page(
        self, page: Sequence[Neighbour | Outlier], *, more: bool
    ) -> str | None:
        """The same question to the same generation, further down."""
        if not more or not page or page[-1].rank > MAX_OFFSET:
            return None
        return next_page(
            self.request,
            self.root,
            generation=str(self.served.manifest.number),
            offset=str(page[-1].rank),
        )

    def _reply(
        self,
        out: BaseModel,
        generation: GenerationOut,
        table: Callable[[Sequence[Column], Mapping[str, str]], AnswerTable],
        began: float,
        *,
        following: str | None = None,
    ) -> Response:
        headers = provenance(generation) | {"Vary": "Accept"}
        if following is not None:
            headers["Link"] = f'<{following}>; rel="next"'
        body: str | bytes
        if self.form is None:
            body, media = out.model_dump_json(), JSON
        else:
            about = generation.model_dump(exclude_none=True)
            about = {"generation": about.pop("number"), **about}
            about |= {} if following is None else {"next": following}
            made = table(
                self.served.generation.columns,
                {name: _text(value) for name, value in about.items()},
            )
            body, media = made.written(self.form), MEDIA_TYPES[self.form]
            name = f"twinjet-{made.name}.{_SUFFIXES[self.form]}"
            headers["Content-Disposition"] = f'attachment; filename="{name}"'
        note(self.request, {"answer": 1e3 * (time.perf_counter() - began)})
        return Response(body, media_type=media, headers=headers)


def _text(value: object) -> str:
    """Of a member of the generation, as JSON writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def provenance(generation: GenerationOut) -> dict[str, str]:
    """Headers that say where an answer came from, whatever its body is."""
    headers = {
        "Twinjet-Generation": str(generation.number),
        "Twinjet-Encoder": generation.encoder,
        "Twinjet-Catalogue": generation.catalogue_digest,
    }
    if generation.exact is not None:
        headers["Twinjet-Exact"] = "true" if generation.exact else "false"
    return headers


async def asking(
    request: Request,
    served: PinnedDep,
    root: RootDep,
    *,
    format: Annotated[  # noqa: A002 - the parameter's name on the wire
        Literal["json", "csv", "votable", "parquet"] | None,
        Query(description="Of the answer; what `Accept` prefers when absent, or JSON"),
    ] = None,
) -> Asking:
    """What is needed to answer."""
    if format is None:
        form = wanted_format(request.headers.get("accept", ""))
    else:
        form = None if format == "json" else format
    return Asking(request, served, root, form)


AskingDep = Annotated[Asking, Depends(asking)]
