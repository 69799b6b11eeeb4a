"""Examples in a form: IDs of sources and files of cutouts, mixed."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated

from fastapi import File, Request, UploadFile

from twinjet.index.errors import InvalidQueryError
from twinjet.index.examples import MAX_EXAMPLES, Example
from twinjet.model.errors import CutoutError
from twinjet.service.inference import Embedded
from twinjet.service.schemas_examples import MAX_NAME
from twinjet.service.uploads import check_parts, part_names

MAX_FILES = 16
"""In all lists together: each of them waits for the encoder."""

SomeExamples = Annotated[
    list[UploadFile | str],
    File(
        max_length=MAX_EXAMPLES,
        description="IDs of sources or files of cutouts, instead of `file`: this part "
        f"once for each, up to {MAX_FILES} of them files, which share the limit of one "
        "upload. A form has up to 1,000 parts; more examples are for JSON",
    ),
]

_SOUGHT = ("file", "like", "unlike")
_ONCE = ("file", "strategy", "moc")
_PARTS = (*_SOUGHT, "strategy", "moc")


async def known_parts(request: Request) -> None:
    """Refuse what the framework would pass over in silence.

    Raises
    ------
    InvalidQueryError
        A part that nobody reads, one too many of a kind, or both a file and examples.
    """
    names = await part_names(request)
    if not {*_SOUGHT} & {*names}:
        return  # which the route says
    check_parts(names, _PARTS, once=_ONCE)
    for name in ("like", "unlike", "strategy"):
        if "file" in names and name in names:
            msg = f"give a file, or examples, in one request; file and {name} came"
            raise InvalidQueryError(msg, parameter=name)


def ids_of(
    given: Mapping[str, Sequence[UploadFile | str]],
) -> dict[str, Sequence[str]]:
    """IDs by their part of the form, before any file is decoded.

    Raises
    ------
    InvalidQueryError
        A text can be no ID, or there are too many files.
    """
    files = 0
    for part, some in given.items():
        for place, one in enumerate(some):
            if isinstance(one, str):
                _check_text(one, f"{part}[{place}]")
                continue
            files += 1
            if files > MAX_FILES:
                count = sum(not isinstance(o, str) for s in given.values() for o in s)
                msg = f"give up to {MAX_FILES} files as examples, more of them as what "
                msg += f"POST /embeddings answers; there were {count}"
                raise InvalidQueryError(
                    msg, parameter=part, limit=MAX_FILES, actual=count
                )
    return {
        part: [one for one in some if isinstance(one, str)]
        for part, some in given.items()
    }


async def embedded_examples(
    given: Mapping[str, Sequence[UploadFile | str]],
    embed: Callable[[UploadFile], Awaitable[Embedded]],
) -> tuple[dict[str, Sequence[Example]], list[str]]:
    """Examples by their part of the form, files embedded; and what is to be noted.

    Raises
    ------
    CutoutError
        A file is no usable cutout; its `parameter` says which.
    """
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


def _check_text(text: str, place: str) -> None:
    if len(text) > MAX_NAME:
        msg = f"{place} has {len(text)} characters; an ID has up to {MAX_NAME}"
        raise InvalidQueryError(msg, parameter=place, limit=MAX_NAME, actual=len(text))
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        msg = f"{place} has half of a character at {exc.start}"
        raise InvalidQueryError(msg, parameter=place) from None
