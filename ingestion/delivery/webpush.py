"""Web Push: notifications of a browser, which arrive with the page closed. One channel is one browser.

What is sent is encrypted for the browser (RFC 8291); its push service sees sizes and times. A later message of an
anomaly replaces the notification that is shown (its `tag`).
"""

import base64
import binascii
import hashlib
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

from ingestion.delivery import vapid
from ingestion.delivery.http import Http, Refused, check_address
from ingestion.delivery.services import Outcome, Parcel, answered

# A browser that was offline for longer is told by the page itself.
TTL_S: Final = 4 * 3_600
MOST_BYTES: Final = 3_000
_LONGEST_ENDPOINT: Final = 1_000
ENDED: Final = "The browser ended its subscription. Subscribe again in that browser, on /notifications."


class Subscription(NamedTuple):
    """What a browser hands out: its address at a push service, and the keys for what is sent there (base64url)."""

    endpoint: str
    p256dh: str
    auth: str

    @property
    def secret(self) -> str:
        """As a channel stores it; the address last, so that the mask shows its end."""
        return f"{self.p256dh} {self.auth} {self.endpoint}"

    @property
    def host(self) -> str:
        return urlsplit(self.endpoint).hostname or ""


def parse(secret: str) -> Subscription:
    """Read a stored subscription. Raises `Refused` if it is none, or its address is not sent to."""
    parts = secret.split(" ")
    if len(parts) != 3:
        raise Refused("No browser is subscribed. Subscribe in that browser, on /notifications.")
    found = Subscription(parts[2], parts[0], parts[1])
    check(found)
    return found


def check(subscription: Subscription) -> None:
    """Raises `Refused`, saying what is wrong."""
    if len(subscription.endpoint) > _LONGEST_ENDPOINT or not subscription.endpoint.isprintable():
        raise Refused(f"The endpoint must have at most {_LONGEST_ENDPOINT:,} printable characters.")
    if " " in subscription.endpoint:
        raise Refused("The endpoint must not contain spaces.")
    check_address(subscription.endpoint)
    try:
        EllipticCurvePublicKey.from_encoded_point(SECP256R1(), _bytes(subscription.p256dh, 65))
    except ValueError:
        raise Refused("p256dh is not a point of P-256: expected 65 bytes in base64url.") from None
    try:
        _bytes(subscription.auth, 16)
    except ValueError:
        raise Refused("auth is not 16 bytes in base64url.") from None


def _bytes(text: str, length: int) -> bytes:
    """Raises `ValueError`."""
    if len(text) > 2 * length or not text.isascii():
        raise ValueError(text)
    try:
        found = base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(text) from error
    if len(found) != length:
        raise ValueError(text)
    return found


class WebPush:
    """`secret`: a stored subscription. Raises `Refused`."""

    def __init__(self, http: Http, secret: str) -> None:
        self._http = http
        self._to = parse(secret)

    async def send(self, parcel: Parcel) -> Outcome:
        parts = urlsplit(self._to.endpoint)
        headers = {
            "Authorization": vapid.authorization(f"{parts.scheme}://{parts.netloc}", parcel.at // 1_000),
            "Content-Type": "application/octet-stream",
            "Content-Encoding": "aes128gcm",
            "TTL": str(TTL_S),
            "Urgency": "high" if parcel.rings else "normal",
        }
        if parcel.handle:
            # Of changes that wait for a browser the last one is kept, and never instead of the message that rings.
            headers["Topic"] = base64.urlsafe_b64encode(hashlib.sha256(_tag(parcel).encode()).digest()[:24]).decode()
        answer = await self._http.send("POST", self._to.endpoint, self._encrypted(payload(parcel)), headers)
        outcome = answered(answer, self._to.endpoint)
        if answer.status in (404, 410):
            return Outcome(sent=False, status=answer.status, error=ENDED, retry=False, gone=True)
        return msgspec.structs.replace(outcome, handle="shown") if outcome.sent else outcome

    def _encrypted(self, data: bytes) -> bytes:
        from pywebpush import WebPusher

        keys = {"p256dh": self._to.p256dh, "auth": self._to.auth}
        body: bytes = WebPusher({"endpoint": self._to.endpoint, "keys": keys}).encode(data)["body"]
        return body


def payload(parcel: Parcel) -> bytes:
    """What the service worker reads (`service-worker.js`): JSON of at most `MOST_BYTES`; the text is cut to that.

    `path` and `picture` are on this site; `acknowledge` is the path that a POST acknowledges. Each may be empty.
    """
    text = parcel.content.get("text", {})
    path = text.get("path", "")
    fields: dict[str, Any] = {
        "title": parcel.title,
        "body": parcel.body,
        "tag": _tag(parcel),
        "rings": parcel.rings,
        "at": parcel.content.get("at", parcel.at),
        "path": path,
        "picture": f"{path}/picture.png" if path else "",
        "acknowledge": parcel.acknowledge,
    }
    data, cut = msgspec.json.encode(fields), parcel.body.encode()
    while (spare := len(data) - MOST_BYTES) > 0 and cut:
        cut = cut[: -max(8, spare // 2)]  # JSON writes most letters as one or two bytes each
        data = msgspec.json.encode(fields | {"body": f"{cut.decode(errors='ignore')}…"})
    return data


def _tag(parcel: Parcel) -> str:
    return str(parcel.content.get("subject", parcel.id))
