"""Exports over HTTP: how many there may be at once, and how a file goes to a client that may leave at any time."""

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Final

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import APIException
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import AnonRateThrottle
from rest_framework.views import APIView
from servestatic.utils import parse_accept_encoding

from market import bounds
from market.exports import EXPORTS, Chunk, Export, compressed

# Exports at a time in one web process; one of them per client.
MOST_EXPORTS: Final = 2
# A client that takes nothing for so long loses its place to others.
IDLE_S: Final = 60.0
_RETRY_S: Final = 10

FORMAT: Final = OpenApiParameter(
    "format",
    str,
    enum=["json", *(form.format for form in EXPORTS)],
    description=(
        "`csv`, `jsonl` or `parquet`: a file of all rows that match, without pages (docs/api.md); `Accept` with "
        f"{', '.join(form.media_type for form in EXPORTS)} does the same. Default: json."
    ),
)


class TooManyExports(APIException):
    """429 with `Retry-After`."""

    status_code = 429
    default_code = "throttled"
    wait = _RETRY_S


class ExportEnded(Exception):
    """The place of this export was given to another client."""


class Slots:
    """Who exports now. Thread-safe."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._used: dict[object, tuple[str, float]] = {}  # slot → client, when it last took something

    def take(self, client: str) -> object:
        """A slot for this client. Raises `TooManyExports`."""
        with self._lock:
            now = self._clock()
            self._used = {slot: used for slot, used in self._used.items() if now - used[1] < IDLE_S}
            if any(client == other for other, _ in self._used.values()):
                raise TooManyExports("An export to your address is under way: wait for its end, or end it.")
            if len(self._used) >= MOST_EXPORTS:
                raise TooManyExports(f"{MOST_EXPORTS} exports are under way, which is the most: try again later.")
            slot = object()
            self._used[slot] = (client, now)
            return slot

    def touch(self, slot: object) -> None:
        """The client of this slot took something. Raises `ExportEnded` if it waited too long."""
        with self._lock:
            if slot not in self._used:
                raise ExportEnded
            self._used[slot] = (self._used[slot][0], self._clock())

    def release(self, slot: object) -> None:
        with self._lock:
            self._used.pop(slot, None)

    def __len__(self) -> int:
        with self._lock:
            return len(self._used)


SLOTS: Final = Slots()


class _Stream:
    """The pieces of a file; the slot is free when it ends, is closed, or is forgotten."""

    def __init__(self, pieces: Iterator[bytes], slot: object) -> None:
        self._pieces, self._slot = pieces, slot
        self._end = weakref.finalize(self, SLOTS.release, slot)
        try:
            self._first: bytes | None = next(pieces)  # whatever fails now is answered in order
        except BaseException:
            self._end()
            raise

    def __iter__(self) -> "_Stream":
        return self

    def __next__(self) -> bytes:
        piece = self.following()
        if piece is None:
            raise StopIteration
        return piece

    def following(self) -> bytes | None:
        """The next piece; None at the end. Raises `ExportEnded`."""
        SLOTS.touch(self._slot)
        piece, self._first = self._first, None
        if piece is None:
            piece = next(self._pieces, None)
        if piece is None:
            self.close()
        return piece

    def close(self) -> None:
        self._end()


class _AsyncStream:
    """A `_Stream` whose pieces are made in the request's thread, not in the event loop."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def __aiter__(self) -> "_AsyncStream":
        return self

    async def __anext__(self) -> bytes:
        piece = await sync_to_async(self._stream.following, thread_sensitive=True)()
        if piece is None:
            raise StopAsyncIteration
        return piece

    def close(self) -> None:
        self._stream.close()


class HasExport(APIView):
    """A view that answers with a file, too, if `?format=` or `Accept` asks for one."""

    def chunks(self, request: Request, form: type[Export]) -> Iterator[Chunk]:
        """The rows of an export, at least one chunk. Raises `APIException`."""
        raise NotImplementedError

    def file_name(self, request: Request) -> str:
        """Without its ending."""
        raise NotImplementedError

    def file_headers(self) -> dict[str, str]:
        """Headers beside those of all files; called before the rows are read."""
        return {}

    def export(self, request: Request) -> HttpResponseBase | None:
        """The file, if the request asks for one. Raises `APIException`."""
        form = type(request.accepted_renderer)
        if not issubclass(form, Export):
            return None
        bounds.end()  # a file of all rows takes as long as it takes; its slot is the bound
        chunks = self.chunks(request, form)
        name, headers = self.file_name(request), self.file_headers()
        packed = form.compresses and "gzip" in parse_accept_encoding(request.headers.get("Accept-Encoding", ""))
        response: HttpResponseBase
        if request.method == "HEAD":
            response = HttpResponse()
        else:
            slot = SLOTS.take(AnonRateThrottle().get_ident(request))
            pieces = form.pieces(chunks)
            stream = _Stream(compressed(pieces) if packed else pieces, slot)
            on_loop = isinstance(request._request, ASGIRequest)
            response = StreamingHttpResponse(_AsyncStream(stream) if on_loop else stream)
        response.headers["Content-Type"] = form.media_type + ("; charset=utf-8" if form.compresses else "")
        response.headers["Content-Disposition"] = f'attachment; filename="{name}.{form.format}"'
        for header, value in headers.items():
            response.headers[header] = value
        if packed:
            response.headers["Content-Encoding"] = "gzip"
        patch_vary_headers(response, ("Accept-Encoding",))
        return response

    def handle_exception(self, exc: Exception) -> Response:
        """A failure of an export is no file."""
        if isinstance(getattr(self.request, "accepted_renderer", None), Export):
            self.request.accepted_renderer = JSONRenderer()
            self.request.accepted_media_type = JSONRenderer.media_type
        return super().handle_exception(exc)
