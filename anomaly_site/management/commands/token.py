import argparse
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from anomaly_site import audit
from anomaly_site.access import tokens
from anomaly_site.models import Token
from ingestion.management.base import ExamplesCommand
from market.printable import printable
from market.scopes import MEANINGS, READING, Scope
from market.writes import named

_READ = ",".join(sorted(READING))


class Command(ExamplesCommand):
    help = f"""\
Make, list and revoke the tokens that programs show instead of a password.

  manage.py token create dashboard                     may read everything; prints the token, once
  manage.py token create grafana --scopes status:read --expires 90d
  manage.py token create bot --scopes history:read,review:write --user ann
  manage.py token create feed --scopes publish         publishes with the header Authorization: Bearer
  manage.py token create tradingview --url             a secret for the address of a webhook; does nothing else
  manage.py token list
  manage.py token revoke dashboard                     also ends its open connections, within 5 seconds

What a token may do (--scopes):
{chr(10).join(f"  {scope:<13} {meaning}" for scope, meaning in MEANINGS.items())}

Programs show it as a header (Authorization: Bearer ank_…), on /ws also as the first frame
({{"type": "auth", "token": "ank_…"}}). Only its SHA-256 is stored: a token that was lost is revoked and made again.
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parts = parser.add_subparsers(dest="action", required=True, metavar="create|list|revoke")
        create = parts.add_parser("create", help="make a token and print it, once")
        create.add_argument("name", help="which program it is for")
        create.add_argument("--scopes", type=_scopes, metavar="SCOPES", help=f"separated by commas (default: {_READ})")
        create.add_argument("--user", help="in whose name it reviews; needed for review:write and routes:…")
        create.add_argument("--expires", type=_duration, metavar="TIME", help="valid for 12h, 30d … (default: no end)")
        create.add_argument("--rate", type=float, metavar="N", help="most requests per second (default: API_RATE)")
        create.add_argument("--connections", type=int, metavar="N", help="most connections to /ws per web process")
        create.add_argument("--url", action="store_true", help="a secret for the address of /publish, and nothing else")
        parts.add_parser("list", help="all tokens, without their secrets")
        revoke = parts.add_parser("revoke", help="end a token, and its open connections")
        revoke.add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        {"create": self._create, "list": self._list, "revoke": self._revoke}[options["action"]](options)

    def _create(self, options: dict[str, Any]) -> None:
        user = None
        if options["user"] and (user := User.objects.filter(username=options["user"]).first()) is None:
            raise CommandError(f"There is no user {options['user']}. Make one with `manage.py createsuperuser`.")
        scopes = options["scopes"] or ([Scope.PUBLISH.value] if options["url"] else sorted(READING))
        if any(given is not None and given <= 0 for given in (options["rate"], options["connections"])):
            raise CommandError("--rate and --connections: expected a number above 0.")
        try:
            token, secret = tokens.make(
                name=options["name"],
                scopes=scopes,
                in_url=options["url"],
                user=user,
                rate=options["rate"],
                max_connections=options["connections"],
                expires_at=timezone.now() + options["expires"] if options["expires"] else None,
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        audit.record(audit.COMMAND_LINE, "add", [named(token)], {"scopes": scopes})
        self.stderr.write("This is the only time that the token is shown.")
        if token.in_url:
            self.stderr.write(f"Send to /publish/alerts/{secret} or /publish/market/{secret}. The secret:")
        self.stdout.write(secret)

    def _list(self, options: dict[str, Any]) -> None:
        for token in Token.objects.select_related("user"):
            user = f", in the name of {token.user}" if token.user else ""
            used = f"last used {_time(token.last_used_at)}" if token.last_used_at else "never used"
            ends = f", expires {_time(token.expires_at)}" if token.expires_at and token.state == "valid" else ""
            kind = " (in an address)" if token.in_url else ""
            scopes = ",".join(token.scopes)
            line = f"{token.name}  {token.start}…  {token.state}  {scopes}{kind}{user}; {used}{ends}"
            self.stdout.write(printable(line))

    def _revoke(self, options: dict[str, Any]) -> None:
        token = Token.objects.filter(name=options["name"], revoked_at=None).first()
        if token is None:
            raise CommandError(f"No token that is in use has the name {options['name']}: see `manage.py token list`.")
        tokens.revoke(token)
        audit.record(audit.COMMAND_LINE, "revoke", [named(token)], {})
        self.stdout.write(f"Revoked {token.name}. Its open connections end within 5 seconds.")


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _scopes(text: str) -> list[str]:
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found or set(found) - set(Scope):
        raise argparse.ArgumentTypeError(f"{text!r}; expected some of {', '.join(Scope)}")
    return list(dict.fromkeys(found))


def _duration(text: str) -> timedelta:
    units = {"m": 60, "h": 3_600, "d": 86_400}
    if text[-1:] in units and text[:-1].isdecimal() and 0 < int(text[:-1]) < 100_000:
        return timedelta(seconds=int(text[:-1]) * units[text[-1]])
    raise argparse.ArgumentTypeError(f"{text!r} is not a time; expected a number and a unit, like 12h or 30d")
