"""A server that speaks the part of CoinGecko's public contract we use, and fails on demand.

Contract: https://docs.coingecko.com/reference/endpoint-overview (`/coins/categories/list`, `/coins/list`,
`/coins/markets`: `vs_currency` required, `per_page` 1–250, an empty page behind the last, unknown category 404, the key
in a header of the plan's name, errors as `{"status": {"error_code", "error_message"}}`).
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Fault = Callable[["_Handler"], None]

CATEGORIES = {"layer-1": "Layer 1 (L1)", "meme-token": "Meme", "coinbase-ventures-portfolio": "Coinbase Ventures"}
COINS = [
    # id, symbol, rank, categories
    ("bitcoin", "btc", 1, ["layer-1"]),
    ("ethereum", "eth", 2, ["layer-1"]),
    ("dogecoin", "doge", 8, ["layer-1", "meme-token"]),
    ("pepe", "pepe", 30, ["meme-token"]),
    ("big-same", "same", 40, []),
    ("pepe-fork", "pepe", 900, ["layer-1"]),
    ("small-same", "same", 950, ["meme-token"]),
    ("unranked-meme", "wow!", None, ["meme-token"]),
]


@dataclass
class CoinGeckoServer:
    """`faults` are served first, one per request; then the truth. `requests`: path, query and headers of each."""

    root: str = ""
    key: str = ""
    header: str = "x-cg-demo-api-key"
    categories: dict[str, str] = field(default_factory=lambda: dict(CATEGORIES))
    coins: list[tuple[str, str, int | None, list[str]]] = field(default_factory=lambda: list(COINS))
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)

    def answer(self, path: str, query: dict[str, str], headers: dict[str, str]) -> tuple[int, Any]:
        if self.key and headers.get(self.header) != self.key:
            return 401, {"status": {"error_code": 10002, "error_message": "API Key Missing"}}
        match path:
            case "/api/v3/coins/categories/list":
                return 200, [{"category_id": id, "name": name} for id, name in self.categories.items()]
            case "/api/v3/coins/list":
                return 200, [{"id": id, "symbol": symbol, "name": id} for id, symbol, _, _ in self.coins]
            case "/api/v3/coins/markets":
                return self._markets(query)
            case _:
                return 404, {"error": "Incorrect path. Please check https://www.coingecko.com/api/"}

    def _markets(self, query: dict[str, str]) -> tuple[int, Any]:
        if "vs_currency" not in query:
            return 422, {"error": "Missing parameter vs_currency"}
        size, page, category = int(query.get("per_page", 100)), int(query.get("page", 1)), query.get("category")
        if not 1 <= size <= 250:
            return 422, {"error": "per_page must be 1..250"}
        if category and category not in self.categories:
            return 404, {"error": "category not found"}
        found = [
            {"id": id, "symbol": symbol, "name": id.title(), "market_cap_rank": rank, "current_price": 1.5, "roi": None}
            for id, symbol, rank, categories in self.coins
            if not category or category in categories
        ]
        return 200, found[size * (page - 1) : size * page]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gecko: CoinGeckoServer

    def do_GET(self) -> None:
        gecko = self.gecko
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        gecko.requests.append((address.path, query, headers))
        if gecko.faults:
            gecko.faults.pop(0)(self)
        else:
            status, body = gecko.answer(address.path, query, headers)
            self.reply(status, json.dumps(body).encode())

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


def status(code: int, body: bytes = b"{}", **headers: str) -> Fault:
    return lambda handler: handler.reply(code, body, **headers)


def length_of(text: str) -> Fault:
    """An empty list, with this as its length."""

    def reply(handler: _Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", text)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(b"[]")
        handler.close_connection = True

    return reply


def garbage(handler: _Handler) -> None:
    handler.reply(200, b"<html>Just a moment...</html>")


def other_shape(handler: _Handler) -> None:
    handler.reply(200, b'{"coins": []}')


def breaks_off(handler: _Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(b"[")
    handler.close_connection = True


def not_http(handler: _Handler) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    handler.close_connection = True


def trickle(released: threading.Event) -> Fault:
    """A byte now and then, so that no single read is late."""

    def answer(handler: _Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        handler.close_connection = True
        while not released.wait(0.05):
            try:
                handler.wfile.write(b" ")
            except OSError:
                return

    return answer


@contextmanager
def running() -> Iterator[CoinGeckoServer]:
    gecko = CoinGeckoServer()
    handler = type("Handler", (_Handler,), {"gecko": gecko})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    gecko.root = f"http://127.0.0.1:{server.server_address[1]}/api/v3"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield gecko
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
