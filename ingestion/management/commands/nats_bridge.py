from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from ingestion.bridge import run_bridge
from ingestion.daemon import FATAL, add_role_options, run_in_loop, run_role
from ingestion.management.base import ExamplesCommand


class Command(ExamplesCommand):
    help = """\
Store anomalies and send them to the web processes. It reads alerts.> and market.> from NATS (of any publisher),
validates each message, stores it in the database and sends it to the channel groups. Invalid messages are published
on rejected.<subject>. A second bridge on the same database is a standby.

  CHANNEL_REDIS_URL=redis://localhost:6379/0 manage.py nats_bridge      until Ctrl-C or SIGTERM
  manage.py up --only nats,bridge,web                                   bridge and web in one process, without Redis
"""

    def add_arguments(self, parser: CommandParser) -> None:
        add_role_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.CHANNEL_REDIS_URL:
            self.stderr.write(
                "CHANNEL_REDIS_URL is not set: the bridge stores anomalies, but cannot send them to web processes, "
                "which find them in the database, with a delay. Set it, or use `manage.py up`, which needs no Redis."
            )
        try:
            run_in_loop(run_role("bridge", run_bridge, options["metrics_port"]))
        except FATAL as error:
            raise CommandError(str(error)) from None
