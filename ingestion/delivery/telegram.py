"""Telegram: a bot writes into a chat, and changes what it wrote. By the public documentation of the Bot API."""

import html
from typing import Any, Final

import msgspec

from ingestion.delivery.http import Http
from ingestion.delivery.services import Outcome, Parcel, answered, json_of, multipart, seconds

_JSON: Final[dict[str, str]] = {"Content-Type": "application/json"}
_LONGEST: Final = 4_000
_LONGEST_CAPTION: Final = 1_000
# At the end of the handle of a message with a picture.
_WITH_PICTURE: Final = "p"


def handles(message_id: str) -> tuple[str, str]:
    """How a message of this id is stored."""
    return message_id, f"{message_id}{_WITH_PICTURE}"


def _field(value: Any) -> str:
    """A value of a call as a field of a form."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


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
        body: dict[str, Any] = {"chat_id": self._chat}
        if buttons := self._buttons(parcel):
            body["reply_markup"] = {"inline_keyboard": [buttons]}
        if parcel.handle:
            return await self._change(body, parcel)
        if self._topic:
            body["message_thread_id"] = int(self._topic)
        body["disable_notification"] = not parcel.rings
        if parcel.picture:
            caption = {"caption": self._text(parcel, _LONGEST_CAPTION), "parse_mode": "HTML"}
            sent = await self._call("sendPhoto", body | caption, "", "photo", parcel.picture)
            if sent.sent or sent.status not in (400, 413):
                return sent  # a chat may refuse pictures: then it gets the text
        return await self._call("sendMessage", body | self._message(parcel), "")

    async def _change(self, body: dict[str, Any], parcel: Parcel) -> Outcome:
        """Change the message; Telegram announces no changes, so a reply rings if it is to."""
        shown = parcel.handle.removesuffix(_WITH_PICTURE)
        outcome = await self._edit(body | {"message_id": int(shown)}, parcel, shown != parcel.handle)
        if not outcome.sent or not parcel.rings:
            return outcome
        reply: dict[str, Any] = {
            "chat_id": self._chat,
            "text": f"<b>{html.escape(parcel.title, quote=False)}</b>",
            "parse_mode": "HTML",
            "reply_parameters": {"message_id": int(shown), "allow_sending_without_reply": True},
        }
        if self._topic:
            reply["message_thread_id"] = int(self._topic)
        rung = await self._call("sendMessage", reply, parcel.handle)
        return msgspec.structs.replace(rung, handle=outcome.handle or parcel.handle)

    async def _edit(self, body: dict[str, Any], parcel: Parcel, pictured: bool) -> Outcome:
        """A message with a picture has a caption, and no text."""
        if not pictured:
            return await self._call("editMessageText", body | self._message(parcel), parcel.handle)
        caption = {"caption": self._text(parcel, _LONGEST_CAPTION), "parse_mode": "HTML"}
        if not parcel.picture:
            return await self._call("editMessageCaption", body | caption, parcel.handle)
        media = {"type": "photo", "media": "attach://picture", **caption}
        return await self._call("editMessageMedia", body | {"media": media}, parcel.handle, "picture", parcel.picture)

    def _message(self, parcel: Parcel) -> dict[str, Any]:
        return {"text": self._text(parcel), "parse_mode": "HTML", "link_preview_options": {"is_disabled": True}}

    @staticmethod
    def _buttons(parcel: Parcel) -> list[dict[str, str]]:
        found = [{"text": "Acknowledge", "callback_data": parcel.button}] if parcel.button else []
        return [*found, {"text": "Open", "url": parcel.url}] if parcel.url else found

    @staticmethod
    def _text(parcel: Parcel, longest: int = _LONGEST) -> str:
        title = html.escape(parcel.title, quote=False)
        body, most = parcel.body, longest - len(parcel.title) - 1
        if len(body) > most:
            body = f"{body[: most - 1]}…"
        return f"<b>{title}</b>\n{html.escape(body, quote=False)}"

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

    async def _call(
        self, method: str, body: dict[str, Any], handle: str, file: str = "", picture: bytes = b""
    ) -> Outcome:
        """`file`: the field that the picture is in."""
        url = f"{self.BASE}/bot{self._token}/{method}"
        data, headers = msgspec.json.encode(body), _JSON
        if picture:
            data, headers = await multipart({name: _field(value) for name, value in body.items()}, file, picture)
        answer = await self._http.send("POST", url, data, headers)
        found = json_of(answer)
        if found.get("ok") is True:
            result = found.get("result")
            sent = str(result.get("message_id", "")) if isinstance(result, dict) else ""
            if sent:
                sent += _WITH_PICTURE if picture or handle.endswith(_WITH_PICTURE) else ""
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
        return msgspec.structs.replace(outcome, gone=answer.status in (401, 403, 404) or "chat not found" in said)
