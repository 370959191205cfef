from typing import Any

from django.core.management.base import CommandError, CommandParser

from ingestion.daemon import FATAL, add_role_options, run_in_loop, run_role
from ingestion.delivery.role import run_deliver
from ingestion.management.base import ExamplesCommand


class Command(ExamplesCommand):
    help = """\
Send anomalies to people: to the chats, webhooks and services that the routes name (`manage.py route`, or the admin).
It reads alerts.> and market.> from NATS with a position of its own. Without a route it reads nothing. A second one on
the same database is a standby.

  manage.py deliver                         until Ctrl-C or SIGTERM; `manage.py up` includes it
  manage.py up --only nats,ingest,analyze,bridge,web
                                            everything else
"""

    def add_arguments(self, parser: CommandParser) -> None:
        add_role_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            run_in_loop(run_role("deliver", run_deliver, options["metrics_port"]))
        except FATAL as error:
            raise CommandError(str(error)) from None
