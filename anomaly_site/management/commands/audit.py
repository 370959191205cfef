import json
from typing import Any

from django.core.management.base import CommandParser

from anomaly_site.models import AuditEntry
from ingestion.management.base import ExamplesCommand, not_negative
from market.printable import printable


class Command(ExamplesCommand):
    help = """\
List who changed what, when and from where, the oldest first.

  manage.py audit                 the last 50 changes
  manage.py audit --limit 0       all that are kept (AUDIT_RETENTION)
  manage.py audit --json          one JSON object a line, for other programs
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--limit", type=not_negative, default=50, metavar="N", help="at most N changes; 0: all")
        parser.add_argument("--json", action="store_true", help="JSON lines; times are ISO 8601, UTC")

    def handle(self, *args: Any, **options: Any) -> None:
        newest = AuditEntry.objects.all()
        entries = newest.reverse().iterator(500) if not options["limit"] else reversed(newest[: options["limit"]])
        for entry in entries:
            self.stdout.write(_as_json(entry) if options["json"] else _as_line(entry))


def _as_json(entry: AuditEntry) -> str:
    fields = {name: getattr(entry, name) for name in ("actor", "action", "subject", "detail", "address")}
    return json.dumps({"at": entry.at.isoformat(timespec="milliseconds"), **fields})


def _as_line(entry: AuditEntry) -> str:
    where = f" from {entry.address}" if entry.address else ""
    detail = f" {json.dumps(entry.detail)}" if entry.detail else ""
    return printable(f"{entry.at:%Y-%m-%d %H:%M:%S} UTC  {entry.actor}{where}: {entry.action} {entry.subject}{detail}")
