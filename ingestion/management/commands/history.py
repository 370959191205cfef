from typing import Any

from django.core.management.base import CommandError, CommandParser

from ingestion.daemon import FATAL, add_role_options, run_in_loop, run_role
from ingestion.management.base import ExamplesCommand
from ingestion.timeseries.writer import run_history


class Command(ExamplesCommand):
    help = """\
Store candles from NATS (candles.>) for charts: in the candle table, or in InfluxDB if INFLUXDB_URL is set.
With InfluxDB it also stores the anomalies. Run one process only. After a restart it resumes where it stopped.

  manage.py history                                            to the database of DATABASE_URL
  INFLUXDB_URL=http://localhost:8086 manage.py history         to InfluxDB
"""

    def add_arguments(self, parser: CommandParser) -> None:
        add_role_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            run_in_loop(run_role("history", run_history, options["metrics_port"]))
        except FATAL as error:
            raise CommandError(str(error)) from None
