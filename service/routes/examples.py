"""Neighbours of several examples: the JSON side of ``POST /similar``."""

from fastapi import APIRouter, Response

from twinjet.service.answers import AskingDep
from twinjet.service.content import JSON
from twinjet.service.dependencies import OptionsDep
from twinjet.service.json_body import JsonRoute
from twinjet.service.regions import within
from twinjet.service.schemas import QueryOut, SimilarOut
from twinjet.service.schemas_examples import ExamplesIn, ExamplesOut
from twinjet.service.scopes import READ

# The same path takes uploads and is described there, once for both.
router = APIRouter(tags=["similar"], dependencies=[READ], route_class=JsonRoute)

EXAMPLES_BODY = {JSON: {"schema": ExamplesIn.model_json_schema()}}


@router.post(
    "/similar",
    summary="Neighbours of examples",
    response_model=SimilarOut,
    include_in_schema=False,
)
def similar_to_examples(
    asking: AskingDep, options: OptionsDep, examples: ExamplesIn
) -> Response:
    searcher = asking.served.searcher
    options = within(options, examples.region)
    sought = examples.examples()
    answer = searcher.similar_to_examples(sought, options)
    query = QueryOut(kind="examples", examples=ExamplesOut.of(sought))
    return asking.similar(answer, query)
