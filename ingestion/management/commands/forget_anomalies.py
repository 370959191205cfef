from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from alerts.selectors import alerts
from ingestion.management.base import ExamplesCommand, not_negative
from market.selectors import market_anomalies
from market.services import forget


class Command(ExamplesCommand):
    help = """\
Delete alerts and market anomalies detected more than DAYS days ago, and print how many of each. Safe to run from cron
while the system is in use. A client that resumes from before a deleted anomaly receives `recovered: false`.

  manage.py forget_anomalies 90              keep 90 days
  manage.py forget_anomalies 90 --dry-run    only count
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("days", metavar="DAYS", type=not_negative, help="keep anomalies of the last DAYS days")
        parser.add_argument("--dry-run", action="store_true", help="print the numbers, delete nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        until = timezone.now() - timedelta(days=options["days"])
        for found in (alerts(), market_anomalies()):
            old = found.filter(detected_at__lt=until)
            count = old.count() if options["dry_run"] else forget(old)
            self.stdout.write(f"{found.model._meta.verbose_name_plural}: {count:,}")
