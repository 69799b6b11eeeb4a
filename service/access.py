"""Who may ask for what changes the service: the holder of the admin key."""

import secrets
from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from twinjet.service.dependencies import ResourcesDep

_bearer = HTTPBearer(auto_error=False, description="TWINJET_ADMIN_KEY of the service")


def admin(
    held: ResourcesDep,
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> None:
    """Refuse a request that does not bear the admin key.

    Raises
    ------
    HTTPException
        403 where the service has no key, 401 where the request has another or none.
    """
    key = held.config.admin_key
    if key is None:
        message = "this service takes no jobs: it was started without TWINJET_ADMIN_KEY"
        raise HTTPException(403, message)
    wanted = key.get_secret_value().encode()
    if given is None or not secrets.compare_digest(given.credentials.encode(), wanted):
        message = "the admin key is missing or another: Authorization: Bearer KEY"
        raise HTTPException(401, message, {"WWW-Authenticate": "Bearer"})
