"""Webhooks by the Standard Webhooks specification: an id, a time, a signature; the body is what the stream says."""

import base64
import binascii
import secrets
from typing import Any, Final

import msgspec
from standardwebhooks import Webhook as Signer

from alerts.delivery.rules import CHANGES
from ingestion.delivery.http import Http
from ingestion.delivery.services import Outcome, Parcel, answered
from market.wire.times import moment

_PREFIX: Final = "whsec_"
_LEAST_BYTES: Final = 24


EVENTS: Final = ("opened", "escalated", "turned", "closed", "changed", "digest", "unanswered")
# The body as JSON Schema, for /schema.
SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["type", "timestamp", "data"],
    "properties": {
        "type": {"type": "string", "enum": ["test", *(f"anomaly.{event}" for event in EVENTS)]},
        "timestamp": {"type": "string", "format": "date-time", "description": "When it was planned."},
        "data": {
            "type": "object",
            "required": ["id", "group", "changes", "title", "text", "url", "anomalies", "messages", "left_out"],
            "properties": {
                "id": {"type": "string", "description": "As `webhook-id`: a repetition has the same."},
                "group": {"type": "string", "description": "The same for all messages of an anomaly or incident."},
                "changes": {"type": "array", "items": {"type": "string", "enum": list(map(str, CHANGES))}},
                "title": {"type": "string"},
                "text": {"type": "string"},
                "url": {"type": ["string", "null"], "description": "Its page; null without PUBLIC_URL."},
                "acknowledge_url": {
                    "type": ["string", "null"],
                    "description": "A POST to it acknowledges, without a login, for 7 days; null if it cannot be.",
                },
                "anomalies": {"type": "array", "items": {"type": "string"}, "description": "Ids."},
                "messages": {
                    "type": "array",
                    "maxItems": 500,
                    "items": {"type": "object", "additionalProperties": True},
                    "description": "Alerts and market anomalies since the last message, as `data` of /ws.",
                },
                "left_out": {"type": "integer", "minimum": 0, "description": "Messages beyond 500."},
            },
        },
    },
}


def new_secret() -> str:
    """A secret of 32 random bytes, as receivers' libraries take it."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def refused_secret(secret: str) -> str:
    """Why a secret cannot be used; empty if it can."""
    try:
        found = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        found = b""
    if not secret.startswith(_PREFIX) or not _LEAST_BYTES <= len(found) <= 64:
        return f"Expected {_PREFIX} and 24 to 64 bytes in base64. Leave it empty, and one is made."
    return ""


class Webhook:
    """While a secret is replaced, messages have the signatures of both; a receiver accepts either."""

    def __init__(self, http: Http, url: str, secret: str, previous_secret: str = "") -> None:
        self._http = http
        self._url = url
        self._signers = [Signer(each) for each in (secret, previous_secret) if each]

    async def send(self, parcel: Parcel) -> Outcome:
        payload = body(parcel)
        at = moment(parcel.at)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "anomaly-site",
            "webhook-id": parcel.id,
            "webhook-timestamp": str(parcel.at // 1000),
            "webhook-signature": " ".join(signer.sign(parcel.id, at, payload.decode()) for signer in self._signers),
        }
        answer = await self._http.send("POST", self._url, payload, headers)
        outcome = answered(answer)
        return msgspec.structs.replace(outcome, gone=answer.status == 410)


def body(parcel: Parcel) -> bytes:
    """`type`, `timestamp` and `data`: the group with its text, and the messages of the stream since the last one."""
    content = parcel.content
    kind = "test" if content.get("kind") == "test" else f"anomaly.{_event(content)}"
    data: dict[str, Any] = {
        "id": parcel.id,
        "group": content.get("subject", parcel.id),
        "changes": content.get("changes", []),
        "title": parcel.title,
        "text": parcel.body,
        "url": parcel.url or None,
        "acknowledge_url": parcel.acknowledge_url or None,
        "anomalies": content.get("anomalies", []),
        "messages": content.get("carried", []),
        "left_out": content.get("not_carried", 0),
    }
    return msgspec.json.encode(
        {"type": kind, "timestamp": moment(content.get("at", parcel.at)).isoformat(), "data": data}
    )


def _event(content: dict[str, Any]) -> str:
    """`opened`, `escalated`, `turned` or `closed` by the gravest change; `digest`, or `unanswered`."""
    if content.get("kind") != "group":
        return {"digest": "digest", "escalation": "unanswered"}.get(str(content.get("kind")), "changed")
    changes = content.get("changes", [])
    names = {"opens": "opened", "escalates": "escalated", "turns": "turned", "closes": "closed"}
    return next((name for change, name in names.items() if change in changes), "changed")
