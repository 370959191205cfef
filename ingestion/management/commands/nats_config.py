import os
import secrets
from pathlib import Path
from typing import Any

import nkeys
from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from ingestion.management.base import ToolCommand
from ingestion.stream.login import NatsRefused, public_key
from ingestion.stream.permissions import USERS, User, configuration
from market import files

_CONFIG = "nats-users.conf"


class Command(ToolCommand):
    help = """\
Write users for a NATS server of your own, each with the permissions of one role. Run it again after an update: keys and
passwords that are there stay. To replace one, delete its file first.

  manage.py nats_config /etc/nats/anomalies          users with nkeys: the server has public keys only
  manage.py nats_config --passwords                  users with passwords, in DATA_DIR/nats-users
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "folder", metavar="FOLDER", nargs="?", help="where to write (default: nats-users in DATA_DIR)"
        )
        parser.add_argument("--passwords", action="store_true", help="users with passwords instead of nkeys")

    def handle(self, *args: Any, **options: Any) -> None:
        folder = Path(options["folder"] or settings.DATA_DIR / "nats-users").absolute()
        make = _with_password if options["passwords"] else _with_nkey
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            users = [make(folder, role) for role in USERS]
            with files.replacing(folder / _CONFIG, files.PRIVATE) as file:
                file.write(f"# Written by `manage.py nats_config`.\n{configuration(users)}".encode())
        except OSError as error:
            raise CommandError(f"Cannot write to {folder}: {error.strerror}. Name another folder.") from error
        except NatsRefused as error:
            raise CommandError(f"{error} Delete that file to make another.") from error
        console = self.console(options)
        console.print(f"{folder / _CONFIG}: {len(users)} users. In the configuration of nats-server:", soft_wrap=True)
        console.print(f'  include "{folder / _CONFIG}"', highlight=False, soft_wrap=True)
        console.print("Settings of each role, with its secret:")
        for role in USERS:
            console.print(f"  {folder / role}.env", highlight=False, soft_wrap=True)


def _with_nkey(folder: Path, role: str) -> User:
    seed = folder / f"{role}.nk"
    files.put_new(seed, nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER))
    _write_settings(folder, role, f"NATS_NKEY={seed}\n")
    return User(role, public_key("The file", str(seed)))


def _with_password(folder: Path, role: str) -> User:
    path = folder / f"{role}.env"
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("NATS_PASSWORD="):
            return User(role, role, line.removeprefix("NATS_PASSWORD="))
    password = secrets.token_urlsafe(32)
    _write_settings(folder, role, f"NATS_USER={role}\nNATS_PASSWORD={password}\n")
    return User(role, role, password)


def _write_settings(folder: Path, role: str, text: str) -> None:
    with files.replacing(folder / f"{role}.env", files.PRIVATE) as file:
        file.write(text.encode())
