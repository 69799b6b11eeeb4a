"""The address of the next page."""

from urllib.parse import urlencode

from fastapi import Request


def next_page(request: Request, root: str, **changed: str) -> str:
    """The same question with some parameters changed.

    A path and not a whole address, so that any proxy may stand between; `root` is
    the service's path prefix, which some servers put before the path and some do not.
    """
    kept = [
        (name, value)
        for name, value in request.query_params.multi_items()
        if name not in changed
    ]
    path = request.scope["raw_path"].decode("ascii").removeprefix(root)
    return f"{root}{path}?{urlencode([*kept, *changed.items()])}"
