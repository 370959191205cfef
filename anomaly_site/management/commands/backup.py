from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from anomaly_site.keeping.archive import BackupError
from anomaly_site.keeping.backup import back_up
from ingestion.management.base import ToolCommand


class Command(ToolCommand):
    help = """\
Write everything that must be kept into one file, while the system runs: the database (SQLite or PostgreSQL) as it was
at one moment, the place in the stream that belongs to it, the secret key, the state of the analysis and the settings.

  manage.py backup /backups/                 a new file there, named by date and time
  manage.py backup /backups/before.zip       this file, which must not be there yet
  manage.py restore /backups/before.zip      read it back

The file has secrets (SECRET_KEY, passwords among the settings): only its owner can read it. Keep it like a password.
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("to", metavar="TO", type=Path, help="the file to write, or a folder")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            back_up(options["to"], self._say)
        except BackupError as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(f"The backup could not be written: {error}. Nothing was left in its place.") from None
        except DatabaseError as error:
            raise CommandError(f"The backup was not made, because the database reports: {error}") from None

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
