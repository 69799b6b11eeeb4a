"""Examples in a form: IDs of sources and files of cutouts, mixed."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

from fastapi import File, UploadFile

from twinjet.index.errors import InvalidQueryError
from twinjet.index.examples import MAX_EXAMPLES, Example
from twinjet.model.errors import CutoutError
from twinjet.service.inference import Embedded

MAX_FILES = 16
"""In all lists together: each of them waits for the encoder."""

SomeExamples = Annotated[
    list[UploadFile | str],
    File(
        max_length=MAX_EXAMPLES,
        description="IDs of sources or files of cutouts, instead of `file`: this part "
        f"once for each, up to {MAX_FILES} of them files",
    ),
]


async def embedded_examples(
    given: dict[str, list[UploadFile | str]],
    embed: Callable[[UploadFile], Awaitable[Embedded]],
) -> tuple[dict[str, Sequence[Example]], list[str]]:
    """Examples by their part of the form, files embedded; and what is to be noted.

    Raises
    ------
    InvalidQueryError
        There are too many files.
    CutoutError
        A file is no usable cutout; its `parameter` says which.
    """
    files = sum(not isinstance(one, str) for some in given.values() for one in some)
    if files > MAX_FILES:
        msg = f"give up to {MAX_FILES} files as examples, more of them as what "
        msg += f"POST /embeddings answers; there were {files}"
        raise InvalidQueryError(msg, parameter="like", limit=MAX_FILES, actual=files)
    found: dict[str, Sequence[Example]] = {}
    notes: list[str] = []
    for part, some in given.items():
        examples: list[Example] = []
        for place, one in enumerate(some):
            if isinstance(one, str):
                examples.append(one)
                continue
            name = f"{part}[{place}]"
            try:
                embedded = await embed(one)
            except CutoutError as exc:
                exc.parameter = name
                raise
            examples.append(embedded.vector.tolist())
            notes += [f"{name}: {note}" for note in embedded.notes()]
        found[part] = examples
    return found, notes
