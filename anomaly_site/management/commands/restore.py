import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from anomaly_site.keeping.archive import BackupError
from anomaly_site.keeping.restore import restore
from ingestion.management.base import ToolCommand

QUESTION = """\
Does this installation take the place of the one in the backup, or is it a copy beside it?
  1  It takes its place. The other one is gone, or never starts again.
  2  It is a copy: it gets an identity of its own and sends no messages to people.
1 or 2: """


class Command(ToolCommand):
    help = """\
Read back what `manage.py backup` wrote. Stop all processes first. The backup is checked whole before anything is
changed; one that is damaged, or made by a later version, is refused.

  manage.py restore anomalies-20260102-030405.zip                  asks what it is to become
  manage.py restore anomalies-20260102-030405.zip --as-original    it takes the place of the one in the backup
  manage.py restore anomalies-20260102-030405.zip --as-copy        a copy beside it, with an identity of its own
  DATA_DIR=/srv/new manage.py restore …                            into a new folder

The database has to be empty. With SQLite, --overwrite keeps the one that is there beside it.
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", metavar="FROM", type=Path, help="a file of `manage.py backup`")
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--as-original", action="store_true", help="take the place of the one in the backup")
        which.add_argument("--as-copy", action="store_true", help="a copy beside it: new identity, no deliveries")
        parser.add_argument("--overwrite", action="store_true", help="SQLite: replace a database that is not empty")

    def handle(self, *args: Any, **options: Any) -> None:
        as_copy = options["as_copy"]
        if not as_copy and not options["as_original"] and not sys.stdin.isatty():
            raise CommandError(
                "Say what the restored installation is: --as-original (it takes the place of the one in the backup) or "
                "--as-copy (a copy beside it, with an identity of its own)."
            )
        try:
            restore(
                options["source"],
                overwrite=options["overwrite"],
                choose=lambda: as_copy or (not options["as_original"] and _asked()),
                say=self._say,
            )
        except BackupError as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(f"The backup could not be restored: {error}.") from None
        except DatabaseError as error:
            raise CommandError(f"The backup could not be restored, because the database reports: {error}") from None

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _asked() -> bool:
    while (answer := input(QUESTION).strip()) not in {"1", "2"}:
        pass
    return answer == "2"
