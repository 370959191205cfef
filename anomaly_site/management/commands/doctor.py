import sys
from typing import Any

import msgspec
from django.core.management.base import CommandParser

from anomaly_site.keeping import local, remote
from anomaly_site.keeping.doctor import State, examine
from ingestion.management.base import ToolCommand

CHECKS = (
    ("configuration", local.configuration),
    ("versions", local.versions),
    ("packages", local.packages),
    ("file modes", local.modes),
    ("disk", local.disk),
    ("certificates", local.certificates),
    ("proxy", local.proxies),
    ("database", remote.database),
    ("NATS", remote.nats_and_streams),
    ("Redis", remote.channel_layer),
    ("InfluxDB", remote.influxdb),
    ("venues", remote.venues),
)
MARKS = {State.OK: "ok   ", State.NOTE: "note ", State.WRONG: "WRONG"}


class Command(ToolCommand):
    help = """\
Look for what is wrong with this installation, and say what to do. Exit code 0: nothing is wrong; 1: something is.

  manage.py doctor                      one line for each thing that was checked
  manage.py doctor --json | jq .        the same for programs: subject, state (ok, note, wrong), text, do

It reads only what the settings name: database, NATS, Redis, InfluxDB and, with SOURCE=live, the venues. Run it with the
settings and as the user of the installation.
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object: ok, and findings")

    def handle(self, *args: Any, **options: Any) -> None:
        found = examine(CHECKS)
        is_well = all(finding.state is not State.WRONG for finding in found)
        if options["json"]:
            self.stdout.write(msgspec.json.encode({"ok": is_well, "findings": found}).decode())
        else:
            for finding in found:
                self.stdout.write(f"{MARKS[finding.state]}  {finding.subject}: {finding.text}")
                if finding.do:
                    self.stdout.write(f"       → {finding.do}")
        sys.exit(0 if is_well else 1)
