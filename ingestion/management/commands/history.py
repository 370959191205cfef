from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ingestion.daemon import FATAL, add_role_options, run_in_loop, run_role
from ingestion.timeseries.writer import run_history


class Command(BaseCommand):
    help = (
        "Store candles from NATS (candles.>) for charts: in the candle table, or in InfluxDB when INFLUXDB_URL is set, "
        "together with the anomalies. Run one; restarted, it goes on where it was."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_role_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            run_in_loop(run_role("history", run_history, options["metrics_port"]))
        except FATAL as error:
            raise CommandError(str(error)) from None
