"""What every service is to the queue: it takes a parcel and says what became of it."""

import re
from collections.abc import Mapping
from typing import Any, Final, Protocol

import aiohttp
import msgspec
from msgspec import Struct

from ingestion.delivery.http import LONGEST_WAIT_S, Answer, Refused

_LONGEST: Final = 300
PICTURE: Final = "chart.png"


class Parcel(Struct, frozen=True, kw_only=True):
    """One message for one channel. `handle`: the service's name of the message to change; empty: a new one.

    `rings`: people should notice it. A change that rings, because the anomaly escalated, needs a message besides it
    where services announce no changes.

    `content`: the planned message as stored (`alerts.delivery.planning.Message`). `url`: its page, empty without
    `PUBLIC_URL`. `at`: when it is sent (epoch ms). `acknowledge`: path of the page that acknowledges it, and
    `acknowledge_url` with the host, empty without `PUBLIC_URL`. `button`: data of a button that does (64 bytes); all
    three are empty if it cannot be acknowledged, or was. `picture`: PNG of the chart; empty without one, and for a
    change that leaves the one that is shown.
    """

    id: str
    title: str
    body: str
    url: str
    handle: str
    rings: bool
    at: int
    content: dict[str, Any]
    acknowledge: str = ""
    acknowledge_url: str = ""
    button: str = ""
    picture: bytes = b""


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of a parcel. `retry`: trying again may help, after `wait_s` seconds if the service says that.

    `gone`: the channel will not take anything again. `lost`: the message to change is not there any more.
    """

    sent: bool
    status: int | None = None
    error: str = ""
    retry: bool = True
    wait_s: float | None = None
    gone: bool = False
    lost: bool = False
    handle: str = ""


class Service(Protocol):
    async def send(self, parcel: Parcel) -> Outcome:
        """Errors of the connection may be raised: see `failure`."""


async def multipart(fields: Mapping[str, str], name: str, picture: bytes) -> tuple[bytes, dict[str, str]]:
    """A form with a picture as the file `name`: its body and headers."""
    form = aiohttp.FormData()
    for field, text in fields.items():
        form.add_field(field, text)
    form.add_field(name, picture, filename=PICTURE, content_type="image/png")
    payload = form()
    return await payload.as_bytes(), {"Content-Type": payload.headers["Content-Type"]}


def failure(error: BaseException, *secrets: str) -> Outcome:
    """The outcome of a request without an answer. Its text names no secret and no address of a request."""
    if isinstance(error, Refused):
        return Outcome(sent=False, error=str(error), retry=False)
    if isinstance(error, aiohttp.InvalidURL):
        return Outcome(sent=False, error="The address is not one.", retry=False)
    if isinstance(error, TimeoutError):
        return Outcome(sent=False, error="no answer in time")
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error is not None:
        return Outcome(
            sent=False, error=masked(f"no connection: {error.os_error.strerror or error.os_error}", *secrets)
        )
    return Outcome(sent=False, error=masked(f"{type(error).__name__}: {error}", *secrets))


def answered(answer: Answer, *secrets: str) -> Outcome:
    """The outcome that follows from the status alone."""
    status = answer.status
    if 200 <= status < 300:
        return Outcome(sent=True, status=status)
    if 300 <= status < 400:
        error = "it redirects, which is not followed: enter the address that it leads to"
        return Outcome(sent=False, status=status, error=error, retry=False)
    retry = status in (408, 425, 429) or status >= 500
    said = masked(answer.body[:200].decode(errors="replace"), *secrets)
    return Outcome(
        sent=False,
        status=status,
        error=f"answered {status}{': ' if said else ''}{said}"[:_LONGEST],
        retry=retry,
        wait_s=answer.retry_after_s if retry else None,
    )


def masked(text: str, *secrets: str) -> str:
    """One line of text without secrets, nor anything in an address after its host."""
    for secret in filter(None, secrets):
        text = text.replace(secret, "••••")
    text = re.sub(r"(https?://[^\s/'\"]+)/[^\s'\"]*", r"\1/…", text)
    return " ".join(text.split())[:_LONGEST]


def json_of(answer: Answer) -> dict[str, Any]:
    """The object that a service answered; empty if it is none."""
    try:
        found = msgspec.json.decode(answer.body)
    except (msgspec.MsgspecError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def seconds(value: object) -> float | None:
    """A number of seconds to wait, as JSON has it; at most a day."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return min(float(value), LONGEST_WAIT_S)
    return None
