"""Telegram: a bot writes into a chat, and changes what it wrote. By the public documentation of the Bot API."""

import html
from typing import Any, Final

import msgspec

from ingestion.delivery.http import Http
from ingestion.delivery.services import Outcome, Parcel, answered, json_of, seconds

_JSON: Final = {"Content-Type": "application/json"}
_LONGEST: Final = 4_000


class Declined(Exception):
    """Telegram answered a call with an error: the HTTP status, and the seconds to wait if it names them."""

    def __init__(self, status: int, wait_s: float | None) -> None:
        super().__init__(f"Telegram answered {status}")
        self.status = status
        self.wait_s = wait_s


class Telegram:
    """`chat`: its id, with `/` and the id of a topic behind it if it has topics."""

    BASE = "https://api.telegram.org"

    def __init__(self, http: Http, token: str, chat: str) -> None:
        self._http = http
        self._token = token
        self._chat, _, self._topic = chat.partition("/")

    async def send(self, parcel: Parcel) -> Outcome:
        body: dict[str, Any] = {
            "chat_id": self._chat,
            "text": self._text(parcel),
            "parse_mode": "HTML",
            "link_preview_options": {"is_disabled": True},
        }
        if buttons := self._buttons(parcel):
            body["reply_markup"] = {"inline_keyboard": [buttons]}
        if parcel.handle:
            edit = body | {"message_id": int(parcel.handle)}
            outcome = await self._call("editMessageText", edit, parcel.handle)
            if not outcome.sent or not parcel.rings:
                return outcome
            # Telegram announces no changes: a reply rings.
            reply = {"message_id": int(parcel.handle), "allow_sending_without_reply": True}
            body = {
                "chat_id": self._chat,
                "text": f"<b>{html.escape(parcel.title, quote=False)}</b>",
                "parse_mode": "HTML",
                "reply_parameters": reply,
            }
        if self._topic:
            body["message_thread_id"] = int(self._topic)
        if parcel.handle:
            rung = await self._call("sendMessage", body, parcel.handle)
            return msgspec.structs.replace(rung, handle=parcel.handle)
        return await self._call("sendMessage", body | {"disable_notification": not parcel.rings}, "")

    @staticmethod
    def _buttons(parcel: Parcel) -> list[dict[str, str]]:
        found = [{"text": "Acknowledge", "callback_data": parcel.button}] if parcel.button else []
        return [*found, {"text": "Open", "url": parcel.url}] if parcel.url else found

    @staticmethod
    def _text(parcel: Parcel) -> str:
        title = html.escape(parcel.title, quote=False)
        body = html.escape(parcel.body[: _LONGEST - len(parcel.title)], quote=False)
        return f"<b>{title}</b>\n{body}"

    async def call(self, method: str, body: dict[str, Any], *, timeout_s: float) -> Any:
        """The result of a call that sends no message. Raises `Declined`, and the errors of the connection."""
        url = f"{self.BASE}/bot{self._token}/{method}"
        answer = await self._http.send("POST", url, msgspec.json.encode(body), _JSON, timeout_s=timeout_s)
        found = json_of(answer)
        if found.get("ok") is True:
            return found.get("result")
        parameters = found.get("parameters")
        wait_s = seconds(parameters.get("retry_after")) if isinstance(parameters, dict) else None
        raise Declined(answer.status, wait_s)

    async def _call(self, method: str, body: dict[str, Any], handle: str) -> Outcome:
        url = f"{self.BASE}/bot{self._token}/{method}"
        answer = await self._http.send("POST", url, msgspec.json.encode(body), _JSON)
        found = json_of(answer)
        if found.get("ok") is True:
            result = found.get("result")
            sent = str(result.get("message_id", "")) if isinstance(result, dict) else ""
            return Outcome(sent=True, status=answer.status, handle=sent or handle)
        outcome = answered(answer, self._token)
        said = str(found.get("description", ""))
        if "message is not modified" in said:
            return Outcome(sent=True, status=answer.status, handle=handle)
        if handle and answer.status == 400 and "message to edit not found" in said:
            return Outcome(sent=False, status=400, error=said, lost=True)
        parameters = found.get("parameters")
        parameters = parameters if isinstance(parameters, dict) else {}
        if "migrate_to_chat_id" in parameters:
            moved = f"The chat is now {parameters['migrate_to_chat_id']}: enter this as the channel's address."
            return Outcome(sent=False, status=answer.status, error=moved, retry=False, gone=True)
        if wait := seconds(parameters.get("retry_after")):
            return msgspec.structs.replace(outcome, wait_s=wait)
        return msgspec.structs.replace(outcome, gone=answer.status in (401, 403, 404))
