from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ingestion.daemon import run_in_loop, run_role
from ingestion.history.writer import run_history
from ingestion.nats import NatsUnavailable


class Command(BaseCommand):
    help = (
        "Store candles from NATS (candles.>) for charts: in the candle table, or in InfluxDB when INFLUXDB_URL is set, "
        "together with the anomalies. Run one; restarted, it goes on where it was."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            run_in_loop(run_role("history", run_history))
        except NatsUnavailable as error:
            raise CommandError(str(error)) from None
