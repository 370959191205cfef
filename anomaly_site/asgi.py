"""The ASGI application: Django answers HTTP, the consumer answers WebSockets; the hub starts and stops with it.

uvicorn anomaly_site.asgi:application --http anomaly_site.connections:Protocol --ws anomaly_site.ws.broadcast:Protocol
daphne anomaly_site.asgi:application
"""

import asyncio
import gc
import json
import logging
import os
from collections import Counter
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "anomaly_site.settings")
django_application = get_asgi_application()

# These import models, so Django has to be set up first.
from django.conf import settings  # noqa: E402
from django.http.request import split_domain_port, validate_host  # noqa: E402
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware  # noqa: E402

import anomaly_site.metrics  # noqa: E402, F401 - the counters of the hub, for an address of its own
from anomaly_site.access.choice import exposed_by, exposures, refusal  # noqa: E402
from anomaly_site.origins import is_listed, is_own_host, is_own_page, lacks_port  # noqa: E402
from anomaly_site.ws.consumer import StreamConsumer  # noqa: E402
from anomaly_site.ws.hub import running_hub, stop_hub  # noqa: E402
from anomaly_site.ws.log import SparseLog  # noqa: E402
from market.wire.filters import Channel  # noqa: E402

logger = logging.getLogger(__name__)
_sparse = SparseLog(logger)

if _exposures := exposures():
    raise SystemExit(refusal(_exposures))

# How long the hub may take to close its clients and leave the channel layer, which may be away.
_STOP_S = 2.5
_TOO_LARGE = "The body of the request is larger than any that this site takes."
# Whether the server says when it starts and stops. daphne and runserver do not.
_has_lifespan = False
# Requests without a complete answer, by address: those of a proxy's visitors are seen here first.
_under_way: Counter[str] = Counter()


_NOT_CHOSEN = (
    "This server answers only its own machine, because ACCESS is not set: %s. Its operator sets ACCESS to open, "
    "read-token or accounts (docs/security.md)."
)


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    """Reject a WebSocket at any other path: HTTP 404 where the server supports it, else 403."""
    await receive()
    if "websocket.http.response" in scope.get("extensions", {}):
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "websocket.http.response.start", "status": 404, "headers": headers})
        await send(
            {"type": "websocket.http.response.body", "body": b"No WebSocket at this path. The stream is at /ws\n"}
        )
    else:
        await send({"type": "websocket.close"})


STREAMS = {
    "/ws": StreamConsumer.as_asgi(),
    "/ws/alerts": StreamConsumer.as_asgi(auto_subscribe=(Channel.ALERTS,)),
    "/ws/market": StreamConsumer.as_asgi(auto_subscribe=(Channel.MARKET,)),
}


def may_connect(headers: dict[bytes, bytes]) -> bool:
    """Whether the `Origin` header allows the connection: a page of ours, an entry of ALLOWED_ORIGINS, or no origin."""
    origin = headers.get(b"origin", b"").decode("latin-1")
    host = headers.get(b"host", b"").decode("latin-1")
    if not origin or is_listed(origin, settings.CORS_ALLOWED_ORIGIN_REGEXES):
        return True
    if is_own_host(origin, host):
        # A foreign name that resolves to us is not our host (DNS rebinding).
        return validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS)
    if is_own_page(origin, host, settings.PUBLIC_URL):
        return True
    if lacks_port(origin, host):
        _sparse.warning(
            "port",
            "Refused /ws to the page %s: the Host header is %s, without the port. Let the proxy pass it (nginx: "
            "proxy_set_header Host $http_host), or set PUBLIC_URL to the address of the page",
            origin,
            host,
        )
    return False


async def websocket(scope: Any, receive: Any, send: Any) -> None:
    """Pass the connection to the consumer of its path; close it with 1008 if its origin is not allowed."""
    if may_connect(dict(scope["headers"])):
        path = scope["path"].removeprefix(scope.get("root_path", "")).rstrip("/")
        await STREAMS.get(path, refuse)(scope, receive, send)
    else:
        await receive()
        await send({"type": "websocket.close", "code": 1008})


async def lifespan(receive: Any, send: Any) -> None:
    """Start the hub before the first connection, and stop it, which closes all clients, at shutdown."""
    global _has_lifespan
    _has_lifespan = True
    while True:
        event = await receive()
        if event["type"] == "lifespan.startup":
            # Code loaded by now is never freed. Excluding it from garbage collection makes connections a third cheaper.
            gc.collect()
            gc.freeze()
            # A connection keeps about a hundred objects alive; collecting every 700 allocations would find no garbage.
            gc.set_threshold(20_000, 10, 10)
            running_hub()
            logger.info("Web: process %d serves", os.getpid())
            await send({"type": "lifespan.startup.complete"})
        else:
            try:
                await asyncio.wait_for(stop_hub(), _STOP_S)
            except Exception as error:
                logger.warning("The hub did not stop in order (%s); its clients reconnect", str(error) or repr(error))
            await send({"type": "lifespan.shutdown.complete"})
            return


async def http(scope: Any, receive: Any, send: Any) -> None:
    """Pass the request to Django, if it is one that a client may send.

    Django keeps bodies of any size in a file before it looks at the request. None here is larger than a form.
    """
    if not _has_lifespan:
        running_hub()  # before the first WebSocket: /readyz, /status and the pages ask it
    headers = Counter(name for name, _ in scope["headers"])
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    if headers[b"content-length"] > 1 or (headers[b"content-length"] and headers[b"transfer-encoding"]):
        await _answer(send, 400, "The length of the body is given twice.")
        return
    if not declared.isdigit() or int(declared) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        await _answer(send, 413, _TOO_LARGE)
        return
    address = (scope.get("client") or [""])[0]
    if address and _under_way[address] >= settings.WS_MAX_CONNECTIONS_PER_ADDRESS:
        await _answer(send, 429, "Too many requests of this address are under way. Wait for their answers.")
        return
    read, started = 0, False

    async def bounded() -> Any:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        # Django ends the request, and the file it keeps the body in, as when the client leaves.
        return message if read <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE else {"type": "http.disconnect"}

    async def sending(message: Any) -> None:
        nonlocal started
        started = True
        await send(message)

    _under_way[address] += 1
    try:
        await django_application(scope, bounded, sending)
        if read > settings.DATA_UPLOAD_MAX_MEMORY_SIZE and not started:
            await _answer(send, 413, _TOO_LARGE)
    finally:
        _under_way[address] -= 1
        if not _under_way[address]:
            del _under_way[address]


async def _answer(send: Any, status: int, text: str) -> None:
    body = json.dumps({"detail": text}).encode()
    headers = [
        (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (b"connection", b"close"),
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _refuse_elsewhere(scope: Any, receive: Any, send: Any, reason: str) -> None:
    """Answer a request from elsewhere while nobody has chosen who may read."""
    logger.warning(
        "Refused a request from elsewhere: ACCESS is not set, and %s. Set it to open, read-token or accounts", reason
    )
    if scope["type"] == "http":
        await _answer(send, 403, _NOT_CHOSEN % reason)
        return
    await receive()
    await send({"type": "websocket.close", "code": 1008})


async def routed(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await http(scope, receive, send)
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    elif scope["type"] == "lifespan":
        await lifespan(receive, send)
    else:
        raise ValueError(f"unsupported ASGI scope type {scope['type']!r}; expected http, websocket or lifespan")


# The visitor's address and scheme, by the word of a proxy of ours and of nobody else.
_through_proxies = ProxyHeadersMiddleware(routed, trusted_hosts=settings.TRUSTED_PROXIES)


async def application(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI entry point. Raises `ValueError` for an unknown scope type."""
    if scope["type"] in ("http", "websocket") and (reason := exposed_by(scope)):
        await _refuse_elsewhere(scope, receive, send, reason)
    elif settings.TRUSTED_PROXIES and scope["type"] in ("http", "websocket"):
        await _through_proxies(scope, receive, send)
    else:
        await routed(scope, receive, send)
