from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ingestion.analysis import run_analyze
from ingestion.daemon import run_in_loop, run_role
from ingestion.nats import NatsUnavailable


class Command(BaseCommand):
    help = (
        "Read candles from NATS, find anomalies, publish them on alerts.<SYMBOL> and market.<TYPE>. Run one; "
        "restarted, it goes on from what it saved, or warms up on the candles the stream still has."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            run_in_loop(run_role("analyze", run_analyze))
        except NatsUnavailable as error:
            raise CommandError(str(error)) from None
