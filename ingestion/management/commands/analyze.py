from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ingestion.analysis.role import run_analyze
from ingestion.daemon import FATAL, add_role_options, run_in_loop, run_role


class Command(BaseCommand):
    help = (
        "Read candles from NATS, find anomalies, publish them on alerts.<SYMBOL> and market.<TYPE>. Run one; "
        "restarted, it goes on from what it saved, or warms up on the candles the stream still has."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_role_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            run_in_loop(run_role("analyze", run_analyze, options["metrics_port"]))
        except FATAL as error:
            raise CommandError(str(error)) from None
