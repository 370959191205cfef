from collections.abc import Iterable
from typing import Any

from django.core.management.base import CommandParser

from ingestion.management.base import not_negative
from ingestion.management.publishing import PublishingCommand
from ingestion.management.testdata import curated_market
from market.wire.messages import Anomaly


class Command(PublishingCommand):
    help = """\
Publish one market anomaly of every kind to NATS, to test the way to the clients: every type, both directions, every
stress metric and severity, and one episode that opens, escalates and closes.

  manage.py send_test_market_data                                  two a second
  manage.py send_test_market_data --interval-ms 3000               one every three seconds
  manage.py send_test_market_data --url nats://127.0.0.1:4222      to another NATS server
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--interval-ms",
            metavar="MS",
            type=not_negative,
            default=500,
            help="milliseconds between two messages (default: %(default)s)",
        )
        super().add_arguments(parser)

    def messages(self, options: dict[str, Any], started_at: int) -> Iterable[Anomaly]:
        return curated_market(started_at, options["interval_ms"])
