"""Services on loopback: answers of every kind, and strict stubs of what Telegram and Discord document."""

import asyncio
import contextlib
import html
import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

TOKEN = "123456:AAtoken-of-the-bot"
HOOK = "/api/webhooks/77/hook-token"


def _length(text: str) -> int:
    """As Telegram counts: after its entities are parsed."""
    return len(html.unescape(text.replace("<b>", "").replace("</b>", "")))


class Sink:
    """Keeps what arrives. `behaviour` of a path: ok, busy (429), failing (500), hang, cut, redirect, gone (410).

    `answers` of a path: a status and a text or a JSON object, instead of what the stub would answer.
    """

    def __init__(self) -> None:
        self.port = 0
        self.behaviour: dict[str, str] = {}
        self.answers: dict[str, tuple[int, Any]] = {}
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.accepted: list[tuple[str, dict[str, str], bytes]] = []
        self.shown: dict[str, dict[str, Any]] = {}
        self.refused: list[str] = []
        # Pictures, by the message that shows them.
        self.files: dict[str, bytes] = {}
        self.arrived = asyncio.Event()
        # Telegram: updates that wait, the polls that are open, and what the buttons were answered.
        self.updates: list[dict[str, Any]] = []
        self.polls: list[asyncio.Event] = []
        self.answered: list[dict[str, Any]] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def bodies(self, path: str) -> list[dict[str, Any]]:
        return [json.loads(body) for where, _, body in self.requests if where == path]

    async def until(self, count: int, path: str = "", within_s: float = 20) -> None:
        """Wait for so many requests."""
        async with asyncio.timeout(within_s):
            while sum(where.startswith(path) for where, *_ in self.requests) < count:
                self.arrived.clear()
                await self.arrived.wait()

    def fails(self) -> bool:
        """Whether this request gets a 500, whatever else is set."""
        return False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer; what the service says it took is in `accepted`."""
        answer = await self._answer(request)
        if answer.status < 300:
            self.accepted.append((request.path, dict(request.headers), await request.read()))
        return answer

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        path = request.path
        self.requests.append((path, dict(request.headers), body))
        self.arrived.set()
        if self.fails():
            return web.Response(status=500)
        match self.behaviour.get(path, "ok"):
            case "busy":
                return web.Response(status=429, headers={"Retry-After": "3600"}, text="slow down")
            case "failing":
                return web.Response(status=500)
            case "long":
                return web.Response(status=413)
            case "gone":
                return web.Response(status=410)
            case "redirect":
                return web.Response(status=307, headers={"Location": self.url("/elsewhere")})
            case "no photos":
                said = "Bad Request: not enough rights to send photos to the chat"
                return web.json_response({"ok": False, "error_code": 400, "description": said}, status=400)
            case "hang":
                await asyncio.sleep(60)
            case "cut":
                assert request.transport is not None
                request.transport.abort()
        if path.endswith(f"{TOKEN}/getUpdates"):
            return await self._updates(json.loads(body))
        fields, file = read(request, body) if path.startswith(("/bot", "/api/webhooks")) else ({}, None)
        if path in self.answers:
            status, said = self.answers[path]
            return web.json_response(
                said, status=status, dumps=lambda said: said if isinstance(said, str) else json.dumps(said)
            )
        if path.startswith("/bot"):
            return self._telegram(path, fields, file)
        if path.startswith("/api/webhooks"):
            return self._discord(request, fields, file)
        return web.Response(status=204)

    def _refuse(self, why: str, answer: dict[str, Any], status: int = 400) -> web.Response:
        self.refused.append(why)
        return web.json_response(answer, status=status)

    def press(self, id: str, name: str = "ann") -> None:
        """Somebody presses the first button of a message."""
        data = self.shown[id]["reply_markup"]["inline_keyboard"][0][0]["callback_data"]
        assert 1 <= len(data.encode()) <= 64
        who = {"id": 42, "is_bot": False, "first_name": name}
        query = {"id": f"q{id}", "from": who, "message": {"message_id": int(id), "chat": {"id": -100}}, "data": data}
        last = self.updates[-1]["update_id"] if self.updates else 100
        self.updates.append({"update_id": last + 1, "callback_query": query})
        for poll in self.polls:
            poll.set()

    async def _updates(self, body: dict[str, Any]) -> web.Response:
        """A long poll. A second one ends the first with 409."""
        if set(body) != {"offset", "timeout", "allowed_updates"} or body["allowed_updates"] != ["callback_query"]:
            return self._refuse("getUpdates", {"ok": False, "description": "Bad Request: unknown"})
        mine = asyncio.Event()
        others, self.polls = self.polls, [mine]
        for other in others:
            other.set()
        self.updates = [update for update in self.updates if update["update_id"] >= body["offset"]]
        with contextlib.suppress(TimeoutError):
            if not self.updates:
                await asyncio.wait_for(mine.wait(), body["timeout"])
        if mine not in self.polls:
            said = "Conflict: terminated by other getUpdates request"
            return web.json_response({"ok": False, "error_code": 409, "description": said}, status=409)
        self.polls = []
        return web.json_response({"ok": True, "result": self.updates})

    def _telegram(self, path: str, body: dict[str, Any], file: tuple[str, bytes] | None) -> web.Response:
        _, _, rest = path.partition("/bot")
        token, _, method = rest.partition("/")
        if token != TOKEN:
            return self._refuse("token", {"ok": False, "error_code": 401, "description": "Unauthorized"}, 401)
        if method == "answerCallbackQuery":
            if set(body) != {"callback_query_id", "text", "show_alert"} or not len(body["text"]) <= 200:
                return self._refuse(f"{method} {sorted(body)}", {"ok": False, "description": "Bad Request: unknown"})
            self.answered.append(body)
            return web.json_response({"ok": True, "result": True})
        new, text, caption = (
            {"disable_notification", "message_thread_id"},
            {"text", "link_preview_options"},
            {"caption"},
        )
        more = {
            "sendMessage": text | new | {"reply_parameters"}, "sendPhoto": caption | new,
            "editMessageText": text | {"message_id"},
            "editMessageCaption": caption | {"message_id"}, "editMessageMedia": {"media", "message_id"},
        }  # fmt: skip
        of_file = {"sendPhoto": "photo", "editMessageMedia": "picture"}.get(method)
        wrong = method not in more or set(body) - {"chat_id", "parse_mode", "reply_markup"} - more[method]
        if (
            wrong
            or of_file != (file and file[0])
            or (of_file == "picture" and body["media"]["media"] != "attach://picture")
        ):
            return self._refuse(f"{method} {sorted(body)}", {"ok": False, "description": "Bad Request: unknown"})
        said = body.get("media", body)
        words, longest = (said["caption"], 1024) if "caption" in said else (said["text"], 4096)
        if said["parse_mode"] != "HTML" or words.replace("<b>", "").replace("</b>", "").count("<"):
            return self._refuse("entities", {"ok": False, "description": "Bad Request: can't parse entities"})
        if not 1 <= _length(words) <= longest:
            return self._refuse("length", {"ok": False, "description": "Bad Request: message is too long"})
        id = str(body.get("message_id", len(self.shown) + 1))
        if "message_id" in body:
            if id not in self.shown or (method == "editMessageText") == (id in self.files):
                return self._refuse("edit", {"ok": False, "description": "Bad Request: message to edit not found"})
            before = self.shown[id]
            if file is None and before["text"] == words:
                same = "Bad Request: message is not modified: specified new message content"
                return web.json_response({"ok": False, "error_code": 400, "description": same}, status=400)
        self.shown[id] = body | {"text": words}  # or its caption
        if file is not None:
            self.files[id] = file[1]
        return web.json_response({"ok": True, "result": {"message_id": int(id)}})

    def _discord(self, request: web.Request, body: dict[str, Any], file: tuple[str, bytes] | None) -> web.Response:
        if not request.path.startswith(HOOK):
            return self._refuse("hook", {"message": "Unknown Webhook", "code": 10015}, 404)
        known = {"content", "embeds", "allowed_mentions", "username", "avatar_url", "attachments"}
        embeds = body.get("embeds", [])
        named = [{"id": 0, "filename": "chart.png"}] if file else None
        wrong = body.get("attachments") != named or (file and file[0] != "files[0]")
        wrong = wrong or set(body) - known or len(body.get("content", "")) > 2000 or len(embeds) > 10
        wrong = wrong or any(len(e.get("title", "")) > 256 or len(e.get("description", "")) > 4096 for e in embeds)
        if wrong or body.get("allowed_mentions") != {"parse": []}:
            return self._refuse("form", {"code": 50035, "message": "Invalid Form Body"})
        if request.method == "PATCH":
            id = request.path.rpartition("/")[2]
            if id not in self.shown:
                return self._refuse("edit", {"message": "Unknown Message", "code": 10008}, 404)
        else:
            id = str(900_000_000_000_000_000 + len(self.shown))
        self.shown[id] = body
        if file is not None:
            self.files[id] = file[1]
        if request.method == "POST" and request.query.get("wait") != "true":
            return web.Response(status=204)
        return web.json_response({"id": id, "content": body["content"]})


def read(request: web.Request, body: bytes) -> tuple[dict[str, Any], tuple[str, bytes] | None]:
    """The fields of a call as JSON, or as a form, and its one file: name of the field, and content."""
    kind, _, boundary = request.headers["Content-Type"].partition("; boundary=")
    if kind != "multipart/form-data":
        return json.loads(body), None
    fields: dict[str, Any] = {}
    file = None
    for part in body.split(f"--{boundary}".encode())[1:-1]:
        head, _, data = part[2:-2].partition(b"\r\n\r\n")
        name = head.partition(b'name="')[2].partition(b'"')[0].decode()
        if b"filename=" in head:
            file = (name, data)
        elif name == "payload_json":
            fields |= json.loads(data)
        else:
            text = data.decode()
            fields[name] = json.loads(text) if name in ("message_id", "media", "reply_markup") else text
    return fields, file


@contextlib.asynccontextmanager
async def sink(found: Sink | None = None) -> AsyncIterator[Sink]:
    found = found or Sink()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.port = runner.addresses[0][1]
    try:
        yield found
    finally:
        await runner.cleanup()
