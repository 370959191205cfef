"""Static files: text is compressed, once per process."""

import asyncio
import gzip
from pathlib import Path
from typing import Final, cast

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from servestatic.middleware import ServeStaticMiddleware
from servestatic.responders import StaticFile
from servestatic.utils import parse_accept_encoding

_TEXT: Final = ("text/", "application/javascript", "application/json", "image/svg+xml")
# Shorter files fit into one packet as they are.
_LEAST_BYTES: Final = 1_000


class CompressedStaticMiddleware(ServeStaticMiddleware):  # type: ignore[misc]
    """Serves static files as ServeStatic does, and compresses those that are text for clients that accept gzip.

    ServeStatic itself serves compressed files only if `collectstatic` made them, which is not needed here. Django's
    `GZipMiddleware` would compress every chunk of every answer anew.
    """

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        file = None if self.autorefresh else self.files.get(request.path_info)
        if isinstance(file, StaticFile) and _is_text(file):
            response = await self._text(file, request)
            response.headers["Vary"] = "Accept-Encoding"
            return response
        return cast(HttpResponseBase, await super().__call__(request))

    async def _text(self, file: StaticFile, request: HttpRequest) -> HttpResponseBase:
        # The compressed form has the same entity tag, as a weak one.
        if known := request.headers.get("If-None-Match"):
            request.META["HTTP_IF_NONE_MATCH"] = known.removeprefix("W/")
        accepts = "gzip" in parse_accept_encoding(request.headers.get("Accept-Encoding", ""))
        if (
            not accepts
            or request.method not in {"GET", "HEAD"}
            or "Range" in request.headers
            or file.is_not_modified(request.META)
        ):
            return cast(HttpResponseBase, await super().aserve(file, request))
        path, headers = file.get_path_and_headers({})
        body = await asyncio.to_thread(_compressed, path, file.etag)
        kept = {name: value for name, value in headers if value is not None and name != "Content-Length"}
        return HttpResponse(
            body,
            headers=kept | {"Content-Encoding": "gzip", "Content-Length": str(len(body)), "ETag": f"W/{file.etag}"},
        )


_bodies: Final[dict[tuple[str, str], bytes]] = {}


def _compressed(path: str, etag: str) -> bytes:
    """The file's content, compressed. Raises `OSError`."""
    if (path, etag) not in _bodies:
        _bodies[path, etag] = gzip.compress(Path(path).read_bytes(), mtime=0)
    return _bodies[path, etag]


def _is_text(file: StaticFile) -> bool:
    _, _, headers = file.alternatives[0]
    found = dict(headers)
    return (found.get("Content-Type") or "").startswith(_TEXT) and int(found["Content-Length"] or 0) >= _LEAST_BYTES
