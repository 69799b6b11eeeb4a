"""The file in a multipart body."""

from fastapi import Request, UploadFile

from twinjet.index.errors import InvalidQueryError
from twinjet.service.errors import PayloadTooLargeError


async def one_file(request: Request) -> None:
    """Refuse a second file: of two the framework takes the last, and says nothing.

    Raises
    ------
    InvalidQueryError
        Naming how many there are.
    """
    count = len((await request.form()).getlist("file"))
    if count > 1:
        msg = f"send one file, several requests for several; there were {count}"
        raise InvalidQueryError(msg, parameter="file", limit=1, actual=count)


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
