import asyncio
from functools import partial
from typing import Any

from django.core.management.base import CommandError, CommandParser

from anomaly_site.cli.probe import DEFAULT_URL, ProbeFailed, comma_separated
from anomaly_site.cli.watch import Watch, subscription
from ingestion.management.base import ToolCommand, not_negative
from ingestion.stream.backoff import backoff
from market.wire.messages import SEVERITIES


class Command(ToolCommand):
    help = """\
Follow the live stream in the terminal: alerts, market anomalies, feeds that go and come. Ctrl-C ends it.
A lost connection is taken up where it broke off.

  manage.py watch                                          everything, after the last 10 of each channel
  manage.py watch --min-severity HIGH --why                what matters, and why
  manage.py watch --symbols BTCUSDT,ETHUSDT --last 50      two symbols, and their recent past
  manage.py watch --channels market --sectors Meme,AI      the market; of sectors only these two
  manage.py watch --news-only | grep sector                each anomaly once, without colours in a pipe
  manage.py watch --url wss://alerts.example.org/ws        another server

Time (UTC), severity, direction, subject, figures; then the state of what is not new.
"""

    def add_arguments(self, parser: CommandParser) -> None:
        for name, example in (
            ("channels", "alerts,market"),
            ("symbols", "BTCUSDT,ETHUSDT"),
            ("severities", "HIGH,CRITICAL"),
            ("methods", "Z_SCORE,VOLUME"),
            ("types", "MARKET_STRESS,…"),
            ("sectors", "Meme,AI"),
        ):
            parser.add_argument(
                f"--{name}", type=comma_separated, default=[], metavar=example, help=f"only these {name}"
            )
        parser.add_argument("--min-severity", type=str.upper, choices=[str(name) for name in SEVERITIES])
        parser.add_argument(
            "--last", type=not_negative, default=10, metavar="N", help="begin with the last N of each channel (10)"
        )
        parser.add_argument("--news-only", action="store_true", help="no updates of what was shown, no closings")
        parser.add_argument("--why", action="store_true", help="with the sentence that explains an alert")
        parser.add_argument("--count", type=not_negative, default=0, metavar="N", help="stop after N anomalies")
        parser.add_argument("--url", default=DEFAULT_URL, help=f"default {DEFAULT_URL}")

    def handle(self, *args: Any, **options: Any) -> None:
        console = self.console(options)
        watch = Watch(
            delays=partial(backoff, first_s=1.0, cap_s=30.0),
            filters=subscription(options, tuple(map(str, SEVERITIES))),
            url=options["url"],
            last=min(options["last"], 500),
            news_only=options["news_only"],
            why=options["why"],
            count=options["count"],
        )
        try:
            asyncio.run(watch.run(console))
        except KeyboardInterrupt:
            console.print()
        except ProbeFailed as error:
            raise CommandError(str(error)) from None
