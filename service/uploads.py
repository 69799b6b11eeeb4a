"""The file in a multipart body."""

from fastapi import UploadFile

from twinjet.service.errors import PayloadTooLargeError


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
