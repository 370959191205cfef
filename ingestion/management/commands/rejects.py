import argparse
import asyncio
from contextlib import suppress
from typing import Any

import nats.errors
import nats.js.errors
from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.text import Text

from ingestion.management.base import ToolCommand, not_negative
from ingestion.stream.nats import TRANSIENT, NatsUnavailable, connection, has_jetstream, server_url
from ingestion.stream.rejected import Rejection, kept, passing, pattern
from ingestion.stream.rejected import follow as following
from market.wire.times import moment

NOT_KEPT = (
    "NATS at {url} has no JetStream, so it keeps no rejected messages. Run `manage.py rejects --follow` to see them as "
    "they come, or start the NATS server with `--jetstream`."
)


class Command(ToolCommand):
    help = """\
List the messages that were refused, newest last: when, on which subject, why, and what they said.

  manage.py rejects                                the last 20
  manage.py rejects --subject alerts.BTCUSDT       only those published on this subject
  manage.py rejects --subject market --limit 5     only market anomalies
  manage.py rejects --follow                       the last 20, then each that comes; stop with Ctrl-C
  manage.py rejects --json | jq -r .reason         one JSON object a line

The reason states the value that was found and what was expected: mend it in the publisher and publish again under the
same id. "Item 3" is the third item of a message that holds several. Characters that are not printable are escaped, and
long messages are cut; `nats stream get REJECTED` has them whole. NATS keeps the last 10,000 rejected messages.
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--limit", type=not_negative, default=20, metavar="N", help="how many of the last ones (default: 20)"
        )
        parser.add_argument(
            "--subject",
            type=_pattern,
            default=pattern(""),
            metavar="SUBJECT",
            help="only those published on this subject: alerts, alerts.BTCUSDT, market.* (default: all)",
        )
        parser.add_argument("--json", action="store_true", help="one JSON object a line; `time` is epoch milliseconds")
        parser.add_argument("--follow", action="store_true", help="go on with those that come, until Ctrl-C")
        parser.add_argument("--url", help="address of the NATS server (default: NATS_URL, or the server of `up`)")

    def handle(self, *args: Any, **options: Any) -> None:
        console = self.console(options)
        with suppress(KeyboardInterrupt):
            asyncio.run(
                _run(console, **{name: options[name] for name in ("limit", "subject", "json", "follow", "url")})
            )


def _pattern(text: str) -> str:
    try:
        return pattern(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


async def _run(console: Console, *, limit: int, subject: str, json: bool, follow: bool, url: str | None) -> None:
    try:
        async with connection(url, name="rejects") as client:
            if await has_jetstream(client):
                found, start = await kept(client, subject, limit)
                coming = following(client, subject, start)
            elif follow:
                found, coming = [], passing(client, subject)
            else:
                raise CommandError(NOT_KEPT.format(url=url or server_url()))
            for rejection in found:
                _print(console, rejection, json=json)
            if not (found or follow or json) and limit:
                console.print(f"NATS keeps no message on {subject}: none was refused, or the oldest were removed.")
            if follow:
                async for rejection in coming:
                    _print(console, rejection, json=json)
    except NatsUnavailable as error:
        raise CommandError(str(error)) from None
    except (*TRANSIENT, nats.errors.Error, nats.js.errors.Error) as error:
        raise CommandError(f"The rejected messages could not be read: {str(error) or type(error).__name__}") from None


def _print(console: Console, rejection: Rejection, *, json: bool) -> None:
    if json:
        console.out(rejection.as_json(), highlight=False)
    else:
        console.print(_text(rejection))


def _text(rejection: Rejection) -> Text:
    text = Text()
    text.append(f"{moment(rejection.time):%Y-%m-%d %H:%M:%S} ", style="dim")
    text.append(rejection.subject, style="bold")
    text.append(f"  {rejection.reason}\n", style="yellow")
    text.append(f"    {rejection.payload or '(empty)'}", style="dim")
    if rejection.payload.endswith("…"):
        text.append(f" ({rejection.size:,} bytes)", style="dim")
    return text
