"""Discord: a webhook posts into a channel, and changes what it posted. By the public documentation of webhooks."""

from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from ingestion.delivery.http import Http, Refused, is_listed
from ingestion.delivery.services import PICTURE, Outcome, Parcel, answered, json_of, multipart, seconds

_JSON: Final[dict[str, str]] = {"Content-Type": "application/json"}
# At the end of the handle of a message that shows a picture.
_WITH_PICTURE: Final = "p"
_HOSTS: Final = ("discord.com", "discordapp.com", "canary.discord.com", "ptb.discord.com")
_COLOURS: Final = (0x8A8F98, 0xD9A520, 0xE0662B, 0xC4264B)
_LONGEST_TITLE: Final = 250
_LONGEST: Final = 4_000  # with the link


class Discord:
    """`url`: the address of the webhook, which is its secret."""

    def __init__(self, http: Http, url: str, thread: str = "") -> None:
        self.check(url)
        self._http = http
        self._url = url.partition("?")[0].rstrip("/")
        self._thread = f"thread_id={thread}" if thread else ""

    @staticmethod
    def check(url: str) -> None:
        """Raises `Refused` for an address that is not one of Discord."""
        parts = urlsplit(url)
        if parts.hostname not in _HOSTS and not is_listed(parts.hostname or "", parts.port):
            raise Refused("The address of a Discord webhook begins with https://discord.com/api/webhooks/.")

    async def send(self, parcel: Parcel) -> Outcome:
        rank = parcel.content.get("rank", 0)
        link = f"\n[Acknowledge]({parcel.acknowledge_url})" if parcel.acknowledge_url else ""
        embed: dict[str, Any] = {
            "title": parcel.title[:_LONGEST_TITLE],
            "description": parcel.body[: _LONGEST - len(link)] + link,
            "color": _COLOURS[rank if 0 <= rank < len(_COLOURS) else 0],
        }
        if parcel.url:
            embed["url"] = parcel.url
        # The content is what a lock screen shows; nobody is mentioned, whatever the text says.
        body: dict[str, Any] = {"content": parcel.title, "embeds": [embed], "allowed_mentions": {"parse": []}}
        shown = parcel.handle.removesuffix(_WITH_PICTURE)
        if parcel.picture or shown != parcel.handle:
            embed["image"] = {"url": f"attachment://{PICTURE}"}
        picture = parcel.picture
        if shown:
            url = f"{self._url}/messages/{shown}{'?' * bool(self._thread)}{self._thread}"
            outcome = await self._call("PATCH", url, body, parcel.handle, picture)
            if not outcome.sent or not parcel.rings:
                return outcome
            # Discord announces no changes: a short message rings.
            body, picture = {"content": parcel.title, "allowed_mentions": {"parse": []}}, b""
        query = "&".join(filter(None, ("wait=true", self._thread)))
        sent = await self._call("POST", f"{self._url}?{query}", body, "", picture)
        return msgspec.structs.replace(sent, handle=parcel.handle or sent.handle)

    async def _call(self, method: str, url: str, body: dict[str, Any], handle: str, picture: bytes) -> Outcome:
        data, headers = msgspec.json.encode(body), _JSON
        if picture:  # in the place of all files that the message has
            named = body | {"attachments": [{"id": 0, "filename": PICTURE}]}
            fields = {"payload_json": msgspec.json.encode(named).decode()}
            data, headers = await multipart(fields, "files[0]", picture)
        answer = await self._http.send(method, url, data, headers)
        found = json_of(answer)
        outcome = answered(answer, self._url)
        if outcome.sent:
            id = str(found.get("id", ""))
            kept = _WITH_PICTURE if picture or handle.endswith(_WITH_PICTURE) else ""
            return msgspec.structs.replace(outcome, handle=f"{id}{kept}" if id else handle)
        if wait := seconds(found.get("retry_after")):
            return msgspec.structs.replace(outcome, wait_s=wait)
        if handle and found.get("code") == 10008:
            return Outcome(sent=False, status=answer.status, error="the message was deleted", lost=True)
        return msgspec.structs.replace(outcome, gone=answer.status in (401, 403, 404))
