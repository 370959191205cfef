"""A test client for `/ws`: connect, subscribe to one channel, print the frames received, report what fails.

`test_channel_websocket` and `test_market_websocket` run it with one channel each. It uses only what docs/protocol.md
describes, and decodes messages with the decoders of the bridge.
"""

import argparse
import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast
from urllib.parse import urlsplit

from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.text import Text
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI, ProtocolError
from websockets.typing import Origin

from ingestion.management.base import ToolCommand, not_negative
from market.clock import now_ms
from market.terminal import line
from market.wire.decoding import decode_alert, decode_market
from market.wire.messages import Anomaly, InvalidMessage

DEFAULT_URL: Final = "ws://localhost:3001/ws"
ANSWER_WITHIN_S: Final = 5.0

ChannelName = Literal["alerts", "market"]
JsonFrame = dict[str, Any]
_MESSAGE_TYPES: Final[Mapping[ChannelName, str]] = {"alerts": "alert", "market": "market"}
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class ProbeFailed(Exception):
    """The probe failed; the text says why and what to do, in one or two sentences."""


@dataclass
class Probe:
    """One test run: the subscription, when to stop, and what was received so far.

    It stops after `seconds` (0: never) or `count` messages (0: no limit). Without `wait` it stops as soon as the
    subscription is acknowledged.
    """

    channel: ChannelName
    filters: Mapping[str, list[str]] = field(default_factory=dict)
    url: str = DEFAULT_URL
    origin: str | None = None
    seconds: float = 30.0
    count: int = 0
    wait: bool = True
    acknowledged: bool = field(default=False, init=False)
    received: int = field(default=0, init=False)
    _offset: int = field(default=0, init=False)
    _more: bool = field(default=False, init=False)
    _notes: dict[str, str] = field(default_factory=dict, init=False)

    async def run(self, console: Console) -> None:
        """Print frames until `count` messages were received or the time is over. Raises `ProbeFailed`."""
        async with open_socket(self.url, self.origin) as connection:
            console.print(f"[green]Connected[/green] to {self.url}")
            filters = {**self.filters, "channels": [self.channel]}
            await connection.send(json.dumps({"type": "subscribe", "id": "probe", "filters": filters}))
            await self._until(lambda: self.acknowledged, ANSWER_WITHIN_S, connection, console)
            if self.acknowledged and self.wait:
                await self._until(lambda: 0 < self.count <= self.received, self.seconds, connection, console)

    def check(self) -> None:
        """Raises `ProbeFailed` unless the subscription was acknowledged and enough messages were received."""
        if not self.acknowledged:
            raise ProbeFailed(
                f"The server did not acknowledge the subscription within {ANSWER_WITHIN_S:g} s. See its log."
            )
        if self.wait and self.received < max(self.count, 1):
            received = f"{self.received} of {self.count} messages" if self.received else "no message"
            time_limit = f"within {self.seconds:g} s" if self.seconds else "until interrupted"
            raise ProbeFailed(
                f"Subscribed, but received {received} on channel {self.channel} {time_limit}. "
                "Publish test messages from another terminal: manage.py "
                + ("generate_test_alerts" if self.channel == "alerts" else "send_test_market_data")
            )

    async def _until(
        self, enough: Callable[[], bool], seconds: float, connection: ClientConnection, console: Console
    ) -> None:
        try:
            async with asyncio.timeout(seconds or None):
                while not enough():
                    self._take(decode_frame(await connection.recv()), console)
        except TimeoutError:
            return

    def _take(self, frame: JsonFrame, console: Console) -> None:
        match frame.get("type"):
            case "error":
                raise ProbeFailed(
                    f"The server rejected the request with error {frame.get('code')}: {frame.get('message')}"
                )
            case "subscribed":
                self.acknowledged = True
                console.print("[green]Subscribed[/green] to", filters_text(frame.get("filters")))
                for warning in frame.get("warnings") or ():
                    console.print(f"Warning: {warning}", style="yellow", markup=False)
            case kind if kind == _MESSAGE_TYPES[self.channel]:
                self.received += 1
                console.print(f"[dim]{frame.get('offset', '–'):>8}[/dim]  ", self._message(frame), sep="")
            case "heartbeat" | "pong":
                pass
            case _:
                subject, note = note_of(frame)
                if self._notes.get(subject) != note:
                    self._notes[subject] = note
                    console.print(f"{subject}: {note}", style="dim", markup=False)

    def _message(self, frame: JsonFrame) -> Text:
        """The anomaly as one line; the raw frame in yellow if it is not a valid anomaly."""
        try:
            text = line(anomaly_of(self.channel, frame))
        except InvalidMessage as error:
            return Text(f"invalid message ({error}): {short(frame)}", style="yellow")
        offset = frame.get("offset")
        if isinstance(offset, int):
            # Items of one message share its offset; `more` announces the next of them.
            if offset <= self._offset and not (self._more and offset == self._offset):
                text.append(f"  out of order: offset {offset} after {self._offset}", style="yellow")
            self._offset, self._more = offset, bool(frame.get("more"))
        return text


def anomaly_of(channel: ChannelName, frame: JsonFrame) -> Anomaly:
    """The message in an `alert` or `market` frame. Raises `InvalidMessage`."""
    data = json.dumps(frame.get("data")).encode()
    now = now_ms()
    return decode_alert(data, received_at=now) if channel == "alerts" else decode_market(data, received_at=now)


def filters_text(filters: object) -> Text:
    """The filters in force, without those that match everything."""
    if not isinstance(filters, dict):
        return Text("everything")
    set_ones = {name: values for name, values in filters.items() if values}
    return Text("; ".join(f"{name} {', '.join(map(str, values))}" for name, values in set_ones.items()))


def note_of(frame: JsonFrame) -> tuple[str, str]:
    """(subject, text) to print for a frame that is not an anomaly.

    Feed and stress frames arrive every second; the caller prints a subject again only when its text changes.
    """
    kind, data = str(frame.get("type")), frame.get("data")
    if kind == "feed" and isinstance(data, dict):
        return f"feed {data.get('venue')}", f"{data.get('state')} ({data.get('source')})"
    if kind == "stress":
        return "stress", "receiving the live index (values not shown)"
    return kind, short(frame)


def short(frame: JsonFrame) -> str:
    """The frame as JSON, cut off after 300 characters."""
    text = json.dumps(frame)
    return text if len(text) <= 300 else f"{text[:299]}…"


def decode_frame(text: str | bytes) -> JsonFrame:
    """The JSON object in a received frame. Raises `ProbeFailed` if it is anything else."""
    try:
        frame = json.loads(text)
    except ValueError:
        frame = None
    if not isinstance(frame, dict):
        raise ProbeFailed(f"The server sent a frame that is not a JSON object: {text[:100]!r}")
    return cast(JsonFrame, frame)


@asynccontextmanager
async def open_socket(url: str, origin: str | None) -> AsyncIterator[ClientConnection]:
    """A connected WebSocket, closed at the end of the block. Raises `ProbeFailed` if it cannot connect or is lost."""
    try:
        async with connect(
            url,
            origin=Origin(origin) if origin else None,
            open_timeout=ANSWER_WITHIN_S,
            close_timeout=1,
            # HTTPS_PROXY and its like do not apply to this host.
            proxy=None if urlsplit(url).hostname in _LOOPBACK else True,
        ) as connection:
            yield connection
    except InvalidURI as error:
        raise ProbeFailed(f"{url} is not a WebSocket address; expected one like {DEFAULT_URL}.") from error
    except InvalidStatus as error:
        raise ProbeFailed(_refusal(url, error.response.status_code)) from error
    except (InvalidHandshake, ProtocolError, EOFError) as error:
        raise ProbeFailed(f"The server at {url} does not speak WebSocket ({error}). Check the port.") from error
    except ConnectionClosed as error:
        if error.rcvd is None:
            raise ProbeFailed("The connection was lost: the server or the network failed.") from error
        reason = f"{error.rcvd.code} {error.rcvd.reason}".strip()
        raise ProbeFailed(
            f"The server closed the connection with {reason} (docs/protocol.md explains the codes)."
        ) from error
    except TimeoutError as error:
        raise ProbeFailed(f"{url} did not answer within {ANSWER_WITHIN_S:g} s. Is the server up (make run)?") from error
    except ssl.SSLError as error:
        raise ProbeFailed(f"TLS failed with {url} ({error.reason}). If the server has no TLS, use ws://.") from error
    except OSError as error:
        raise ProbeFailed(
            f"Cannot connect to {url} ({error.strerror or error}). "
            "Is the server up (make run), and on this port? If not, add --url."
        ) from error


def _refusal(url: str, status: int) -> str:
    hints = {
        403: "add the origin to ALLOWED_ORIGINS or the host to ALLOWED_HOSTS, or correct the path (it is /ws)",
        404: "this path does not exist; the WebSocket is at /ws",
        429: "too many connections from this address (WS_MAX_CONNECTIONS_PER_ADDRESS)",
    }
    return f"{url} refused the WebSocket with HTTP {status}: {hints.get(status, 'see the server log')}."


class ProbeCommand(ToolCommand):
    """A command that tests `channel`, with one option for each of `filter_names`."""

    channel: ChannelName
    filter_names: tuple[str, ...]

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--url", default=DEFAULT_URL, help="address of the stream (default: %(default)s)")
        for name in self.filter_names:
            parser.add_argument(
                f"--{name}",
                type=comma_separated,
                default=[],
                metavar="A,B,…",
                help=f"receive only these {name}, separated by commas (default: all)",
            )
        parser.add_argument(
            "--seconds",
            type=_seconds,
            default=30.0,
            metavar="S",
            help="how many seconds to wait; 0: until Ctrl-C (default: 30)",
        )
        parser.add_argument(
            "--count",
            type=not_negative,
            default=0,
            metavar="N",
            help="stop after N messages; fail if fewer arrive in time (default: wait the whole time, one is enough)",
        )
        parser.add_argument(
            "--no-wait",
            action="store_true",
            help="stop when the subscription is acknowledged; do not wait for a message",
        )
        parser.add_argument("--origin", help="send this Origin header, as a page would, e.g. https://app.tealstreet.io")

    def handle(self, *args: Any, **options: Any) -> None:
        console = self.console(options)
        probe = Probe(
            channel=self.channel,
            filters={name: options[name] for name in self.filter_names if options[name]},
            url=options["url"],
            origin=options["origin"],
            seconds=options["seconds"],
            count=options["count"],
            wait=not options["no_wait"],
        )
        try:
            try:
                asyncio.run(probe.run(console))
            except KeyboardInterrupt:
                console.print()
            probe.check()
        except ProbeFailed as error:
            raise CommandError(str(error)) from error
        console.print(f"[green]Works:[/green] received {probe.received} message(s) on channel {self.channel}.")


def comma_separated(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is negative; expected 0 or more seconds")
    return seconds
