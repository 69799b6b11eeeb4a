"""Odd files sent to a service, and what is wrong with its answers."""

import time
from collections.abc import Callable, Iterable

import httpx2 as httpx
from oddities import Oddity, plain
from processes import Memory

from twinjet.model import errors

MOST_SECONDS = 10
MOST_BYTES = 256 * 2**20

# Status and problem type of what is wrong with a file; clients go by them.
REFUSED_AS = {
    errors.EmptyFileError: (422, "empty-upload"),
    errors.UnsupportedFormatError: (415, "unsupported-media-type"),
    errors.MalformedFitsError: (422, "malformed-fits"),
    errors.MalformedImageError: (422, "malformed-image"),
    errors.TruncatedFileError: (422, "truncated-file"),
    errors.DecompressionLimitError: (413, "decompression-limit"),
    errors.TooManyHdusError: (422, "too-many-hdus"),
    errors.NoImageError: (422, "no-image-hdu"),
    errors.AmbiguousImageError: (422, "ambiguous-image"),
    errors.ImageTooLargeError: (413, "image-too-large"),
    errors.ImageTooSmallError: (422, "image-too-small"),
    errors.UnsupportedPixelsError: (422, "unsupported-pixels"),
    errors.NoUsablePixelsError: (422, "no-usable-pixels"),
}

# Those that are told with what was passed, and by what.
WITH_LIMIT = {
    *("decompression-limit", "too-many-hdus", "image-too-large", "image-too-small"),
}

Post = Callable[..., httpx.Response]


def faults_of(
    post: Post, files: Iterable[Oddity], *, memory: Memory | None = None
) -> list[str]:
    """Each file is sent to ``POST /similar``; a line for each answer that is wrong.

    The plain file is sent before and after, and must have the same neighbours. An
    answer that takes more than ten seconds is wrong, or more memory than it may where
    that is watched.
    """
    first = neighbours(_send(post, plain()))
    assert len(first) == 10
    faults = []
    for odd in files:
        data = odd.make()
        if memory is not None:
            memory.begin()
        started = time.monotonic()
        fault = _fault(odd, _send(post, data, odd.hdu), first)
        if (seconds := time.monotonic() - started) > MOST_SECONDS:
            fault = f"{seconds:.1f} s"
        if memory is not None and (grown := memory.most_grown()) > MOST_BYTES:
            fault = f"{grown / 2**20:.0f} MiB"
        if fault is not None:
            faults.append(f"{odd.name}: {fault}")
    if neighbours(_send(post, plain())) != first:
        faults.append("the plain file has other neighbours at the end")
    return faults


def _send(post: Post, data: bytes, hdu: int | None = None) -> httpx.Response:
    params = {"k": "10"} | ({} if hdu is None else {"hdu": str(hdu)})
    return post("/similar", params=params, files={"file": ("odd.fits", data)})


def neighbours(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["source"]["source_id"] for one in answer.json()["neighbours"]]


def _fault(odd: Oddity, answer: httpx.Response, expected: list[str]) -> str | None:
    body = answer.json()
    if odd.error is None and not odd.faint:
        return _answer_fault(odd, answer, expected)
    if answer.headers["content-type"] != "application/problem+json":
        return f"no problem document: {answer.headers['content-type']}"
    error = odd.error or errors.NoUsablePixelsError
    # What a damaged file is refused for depends on what is read of it first.
    wanted = REFUSED_AS.get(error)
    known = set(REFUSED_AS.values()) if wanted is None else {wanted}
    got = (answer.status_code, body["type"].removeprefix("/problems/"))
    if got not in known:
        return f"{got} instead of {wanted}"
    if got[1] in WITH_LIMIT and None in {body.get("limit"), body.get("actual")}:
        return f"{got} without its limit or value: {body}"
    return None


def _answer_fault(
    odd: Oddity, answer: httpx.Response, expected: list[str]
) -> str | None:
    if answer.status_code != 200:
        return answer.text
    notes = answer.json()["query"]["notes"]
    if not any(odd.note in note for note in (*notes, "")):
        return f"{odd.note!r} is not in {notes}"
    found = neighbours(answer)
    return f"neighbours {found}" if odd.same and found != expected else None
