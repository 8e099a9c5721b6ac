"""``GET /`` and the files of the page: they need no key, and hold nothing of the lake."""

from typing import cast

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from serve.console.files import PREFIX, ConsoleFiles, StaticFile
from serve.problems import NotFound

router = APIRouter(include_in_schema=False)
_ALWAYS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",  # asked for again, and mostly answered by 304
}


@router.get("/")
async def page(request: Request) -> Response:
    """The page."""
    console = cast(ConsoleFiles, request.app.state.console)
    return _sent(console.page, request, policy=console.policy)


@router.get(f"/{PREFIX}/{{name:path}}")
async def static_file(request: Request, name: str) -> Response:
    """A file that the page loads."""
    console = cast(ConsoleFiles, request.app.state.console)
    found = console.others.get(name)
    if found is None:
        raise NotFound("the page has no such file")
    return _sent(found, request, policy="default-src 'none'")


def _sent(file: StaticFile, request: Request, *, policy: str) -> Response:
    headers = {**_ALWAYS, "content-security-policy": policy, "etag": file.etag}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)
