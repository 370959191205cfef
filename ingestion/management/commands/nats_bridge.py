from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ingestion.bridge import run_bridge
from ingestion.daemon import FATAL, add_role_options, run_in_loop, run_role


class Command(BaseCommand):
    help = (
        "Take anomalies from NATS (alerts.> and market.>), whoever published them: validate, store, send to the "
        "channel groups of the web processes. What is invalid goes to rejected.<subject>. A second bridge on the same "
        "database stands by."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_role_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.CHANNEL_REDIS_URL:
            self.stderr.write(
                "CHANNEL_REDIS_URL is not set: this process stores anomalies, but web processes see them only when "
                "they ask the store. `manage.py up` needs no Redis."
            )
        try:
            run_in_loop(run_role("bridge", run_bridge, options["metrics_port"]))
        except FATAL as error:
            raise CommandError(str(error)) from None
