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
Print the live stream in the terminal: alerts, market anomalies, and changes in the state of the feeds.
Stop it with Ctrl-C. After a lost connection it reconnects and resumes with the message after the last one.

  manage.py watch                                          everything; first the last 10 of each channel
  manage.py watch --min-severity HIGH --why                only HIGH and CRITICAL, with explanations
  manage.py watch --symbols BTCUSDT,ETHUSDT --last 50      two symbols, first their last 50 anomalies
  manage.py watch --channels market --sectors Meme,AI      market anomalies; sector anomalies of two sectors
  manage.py watch --news-only | grep sector                each anomaly once (a pipe gets no colours)
  manage.py watch --url wss://alerts.example.org/ws        another server

A line has time (UTC), severity, direction, subject and figures; after the first revision also the state.
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
                f"--{name}",
                type=comma_separated,
                default=[],
                metavar=example,
                help=f"show only these {name}, separated by commas (default: all)",
            )
        parser.add_argument(
            "--min-severity",
            type=str.upper,
            choices=[str(name) for name in SEVERITIES],
            help="show only this severity and those above it (default: all)",
        )
        parser.add_argument(
            "--last",
            type=not_negative,
            default=10,
            metavar="N",
            help="first show the last N of each channel, at most 500 (default: 10)",
        )
        parser.add_argument(
            "--news-only", action="store_true", help="show only the opening of an anomaly, not its later revisions"
        )
        parser.add_argument("--why", action="store_true", help="add the sentence that explains an alert")
        parser.add_argument(
            "--count", type=not_negative, default=0, metavar="N", help="stop after N anomalies (default: 0, no limit)"
        )
        parser.add_argument("--url", default=DEFAULT_URL, help="address of the stream (default: %(default)s)")

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
