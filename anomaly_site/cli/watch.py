"""The live stream as lines in a terminal, until interrupted.

A probe stops at the first failure; `Watch` reconnects and resumes after the last message it received, with the cursor
that every client has (docs/protocol.md).
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from anomaly_site.cli.probe import (
    DEFAULT_URL,
    ChannelName,
    JsonFrame,
    ProbeFailed,
    anomaly_of,
    decode_frame,
    filters_text,
    open_socket,
    short,
)
from market.terminal import line
from market.wire.messages import Alert, Anomaly, InvalidMessage

# A heartbeat is due every 15 s. Four missing in a row mean that the connection is dead.
SILENCE_S: Final = 60.0
CHANNELS: Final[Mapping[str, ChannelName]] = {"alert": "alerts", "market": "market"}


@dataclass
class Watch:
    """Parameters of one `watch`, and its position in the stream.

    `filters` are those of `subscribe`. `last` is how many past anomalies of each channel to show first. `delays` makes
    the pauses (seconds) between attempts to reconnect. `news_only` shows only the first revision of an anomaly. `why`
    adds the sentence that explains an alert. `count` is how many anomalies to show, 0: no limit.
    """

    delays: Callable[[], Iterator[float]]
    filters: Mapping[str, list[str]] = field(default_factory=dict)
    url: str = DEFAULT_URL
    last: int = 0
    news_only: bool = False
    why: bool = False
    count: int = 0
    shown: int = field(default=0, init=False)
    _cursor: dict[str, int] | None = field(default=None, init=False)
    _said: dict[str, str] = field(default_factory=dict, init=False)

    async def run(self, console: Console) -> None:
        """Print until cancelled or `count` anomalies were shown. Raises `ProbeFailed` if the first connection fails."""
        waits = self.delays()
        while not self._enough():
            try:
                await self._follow(console)
            except ProbeFailed as error:
                if self._cursor is None:
                    raise
                wait_s = next(waits)
                console.print(f"{error} Reconnecting in {wait_s:.0f} s.", style="yellow", markup=False)
                await asyncio.sleep(wait_s)
            else:
                waits = self.delays()

    async def _follow(self, console: Console) -> None:
        async with open_socket(self.url, None) as socket:
            request = {"type": "subscribe", "filters": self.filters, "snapshot": self.last}
            await socket.send(json.dumps(request | ({"since": self._cursor} if self._cursor else {})))
            while not self._enough():
                try:
                    async with asyncio.timeout(SILENCE_S):
                        frame = decode_frame(await socket.recv())
                except TimeoutError:
                    raise ProbeFailed(f"The server sent nothing for {SILENCE_S:.0f} s, not even a heartbeat.") from None
                self._take(frame, console)

    def _enough(self) -> bool:
        return 0 < self.count <= self.shown

    def _take(self, frame: JsonFrame, console: Console) -> None:
        data = frame.get("data")
        match frame.get("type"):
            case "alert" | "market":
                self._show(frame, console)
            case "subscribed":
                self._subscribed(frame, console)
            case "heartbeat":
                self._cursor = frame.get("cursor") or self._cursor
            case "error":
                raise ProbeFailed(
                    f"The server rejected the request with error {frame.get('code')}: {frame.get('message')}"
                )
            case "feed" if isinstance(data, dict):
                self._say(console, f"feed {data.get('venue')}", f"{data.get('state')} ({data.get('source')})")
            case "stress" if isinstance(data, dict) and isinstance(data.get("stress_index"), int | float):
                subject = f"market {data.get('venue', '')}".strip()
                self._say(console, subject, f"{zone(data['stress_index'])} (stress index {data['stress_index']:.0f})")

    def _subscribed(self, frame: JsonFrame, console: Console) -> None:
        if self._cursor is None:
            console.print(Text.assemble((self.url, "bold"), " ", filters_text(frame.get("filters"))))
        elif frame.get("recovered"):
            console.print("Reconnected; no message was missed.", style="green")
        else:
            console.print(
                "Reconnected; messages sent in the meantime are missing: the server can no longer replay them.",
                style="yellow",
            )
        for warning in frame.get("warnings") or ():
            console.print(f"Warning: {warning}", style="yellow", markup=False)
        if self._cursor is None or not frame.get("recovered"):
            self._cursor = frame.get("cursor")

    def _show(self, frame: JsonFrame, console: Console) -> None:
        offset = frame.get("offset")
        if not (frame.get("snapshot") or frame.get("more")) and isinstance(offset, int) and self._cursor:
            self._cursor = self._cursor | {"offset": offset}
        try:
            anomaly = anomaly_of(CHANNELS[str(frame["type"])], frame)
        except InvalidMessage as error:
            console.print(f"invalid message ({error}): {short(frame)}", style="yellow", markup=False)
            return
        if self.news_only and anomaly.revision > 1:
            return
        self.shown += 1
        console.print(self._text(anomaly))

    def _text(self, anomaly: Anomaly) -> Text:
        text = line(anomaly)
        if self.why and isinstance(anomaly, Alert) and anomaly.explanation.sentence:
            text.append(f"\n         {anomaly.explanation.sentence}", style="dim")
        return text

    def _say(self, console: Console, subject: str, what: str) -> None:
        """Print `what` if its state changed. The state is the part before the figures in brackets."""
        state = what.partition(" (")[0]
        if self._said.get(subject) != state:
            self._said[subject] = state
            console.print(f"{time.strftime('%H:%M:%S', time.gmtime())} {subject}: {what}", style="dim", markup=False)


def zone(stress_index: float) -> str:
    """The name of the zone a stress index (0 to 100) is in.

    >>> [zone(index) for index in (39.9, 40, 60, 80)]
    ['calm', 'elevated', 'high', 'extreme']
    """
    names: tuple[tuple[float, str], ...] = ((80, "extreme"), (60, "high"), (40, "elevated"))
    return next((name for bound, name in names if stress_index >= bound), "calm")


def subscription(options: Mapping[str, Any], severities: tuple[str, ...]) -> dict[str, list[str]]:
    """The `filters` of a subscription, from the command's options.

    `min_severity` becomes the list of that severity and those above it; `severities` is in ascending order.
    """
    names = ("channels", "symbols", "methods", "types", "sectors", "severities")
    filters = {name: list(options[name]) for name in names if options[name]}
    filters.setdefault("channels", list(CHANNELS.values()))
    if lowest := options["min_severity"]:
        filters["severities"] = list(severities[severities.index(lowest) :])
    return filters
