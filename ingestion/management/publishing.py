"""Base classes of the commands that publish test anomalies: connecting, pacing, progress and errors."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser
from nats.js.errors import APIError
from rich.console import Console

from ingestion.management.base import ToolCommand, not_negative
from ingestion.stream.nats import NatsUnavailable, Publisher, connection, server_url, shown, subject
from market.clock import now_ms
from market.terminal import line
from market.wire.messages import Anomaly

# Messages that are due together are published together, up to this many: it makes an interval of 0 fast.
_BATCH: Final = 100
# Below this interval a line per message is unreadable; print a count once a second instead.
_QUIET_BELOW_MS: Final = 50


class PublishingCommand(ToolCommand):
    """A command that publishes the anomalies of `messages` at a steady pace and prints each as a line."""

    # Whether short intervals print a count instead of a line per message.
    many = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--url",
            metavar="nats://HOST:PORT",
            help="NATS server to publish to (default: NATS_URL, else the server that `manage.py up` started)",
        )

    def messages(self, options: dict[str, Any], started_at: int) -> Iterable[Anomaly]:
        """The anomalies to publish; `started_at` (epoch ms) dates the first."""
        raise NotImplementedError

    def handle(self, *args: Any, **options: Any) -> None:
        console = self.console(options)
        interval_ms: int = options["interval_ms"]
        report = _Report(console, quiet=self.many and interval_ms < _QUIET_BELOW_MS)
        messages = iter(self.messages(options, now_ms()))
        url = options["url"] or server_url()
        try:
            asyncio.run(_publish(url, messages, interval_ms, report))
        except KeyboardInterrupt:
            console.print("\nStopped.")
        except NatsUnavailable as error:
            raise CommandError(str(error)) from error
        except APIError as error:
            raise CommandError(f"NATS at {shown(url)} rejected the message: {error.description}") from error
        console.print(f"Published {report.sent} message(s) to {shown(url)}.")


class _Report:
    """Counts published messages and prints each as a line, or the count once a second if `quiet`."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self.sent = 0
        self._console = console
        self._quiet = quiet
        self._last_s = time.monotonic()

    def __call__(self, batch: list[Anomaly]) -> None:
        for anomaly in batch:
            self.sent += 1
            if not self._quiet:
                self._console.print(f"[dim]{self.sent:>4}  {subject(anomaly):<28}[/dim]", line(anomaly))
        if self._quiet and time.monotonic() - self._last_s >= 1:
            self._last_s = time.monotonic()
            self._console.print(f"{self.sent} published")


async def _publish(url: str, messages: Iterator[Anomaly], interval_ms: int, report: _Report) -> None:
    """Publish message n at `n · interval_ms` after the first; publish late ones at once."""
    async with connection(url, name="test data") as client:
        publisher = await Publisher.open(client)
        now_s = asyncio.get_running_loop().time
        started_s = now_s()
        while batch := list(islice(messages, _due(now_s() - started_s, interval_ms, report.sent))):
            await publisher.publish(*batch)
            report(batch)
            await asyncio.sleep(started_s + report.sent * interval_ms / 1000 - now_s())


def _due(elapsed_s: float, interval_ms: int, sent: int) -> int:
    """How many messages to publish now: those that are due, at least one, at most a batch.

    >>> _due(0.0, 100, 0), _due(0.55, 100, 1), _due(0.0, 0, 0)
    (1, 5, 100)
    """
    if interval_ms == 0:
        return _BATCH
    return max(1, min(_BATCH, int(elapsed_s * 1000 / interval_ms) + 1 - sent))


class RandomPublishingCommand(PublishingCommand):
    """Publishes COUNT random anomalies, one every INTERVAL_MS; the same --seed makes the same ones."""

    many = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "count",
            metavar="COUNT",
            nargs="?",
            type=not_negative,
            default=10,
            help="how many to publish; 0: until Ctrl-C (default: %(default)s)",
        )
        parser.add_argument(
            "interval_ms",
            metavar="INTERVAL_MS",
            nargs="?",
            type=not_negative,
            default=1000,
            help="milliseconds between two messages; 0: as fast as possible (default: %(default)s)",
        )
        parser.add_argument(
            "--seed", type=int, help="make the same anomalies as an earlier run with this seed (ids and times differ)"
        )
        super().add_arguments(parser)

    def anomalies(self, seed: int | None, started_at: int, interval_ms: int) -> Iterator[Anomaly]:
        """An endless sequence of anomalies, dated from `started_at` (epoch ms) on."""
        raise NotImplementedError

    def messages(self, options: dict[str, Any], started_at: int) -> Iterable[Anomaly]:
        endless = self.anomalies(options["seed"], started_at, options["interval_ms"])
        return islice(endless, options["count"] or None)
