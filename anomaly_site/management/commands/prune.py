from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from anomaly_site.keeping.prune import growing
from ingestion.management.base import ExamplesCommand
from ingestion.timeseries.store import StoreRefused, StoreUnavailable


class Command(ExamplesCommand):
    help = """\
Delete what is older than the settings say, of everything that grows, and print how much of each. Safe to run from cron
while the system is in use: rows go a thousand at a time. Anomalies with a review or a note stay.

  manage.py prune --dry-run     print what would be deleted, and which setting decides
  manage.py prune               delete it
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="print the numbers, delete nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        now, done = timezone.now(), "would be deleted" if options["dry_run"] else "deleted"
        for each in growing():
            if each.keeps is None:
                self.stdout.write(f"{each.name}: kept for ever ({each.setting})")
                continue
            try:
                count = (each.count if options["dry_run"] else each.delete)(now - each.keeps)
            except (StoreRefused, StoreUnavailable) as error:
                raise CommandError(str(error)) from None
            self.stdout.write(f"{each.name}: {count:,} {done} ({each.setting})")
            self.stdout.flush()
