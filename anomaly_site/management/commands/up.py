import argparse
import logging
from collections.abc import Callable, Sequence
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from django.db import OperationalError, connection

from anomaly_site.access.choice import exposures, refusal
from anomaly_site.people.first import new_secret
from anomaly_site.supervisor import FATAL, Plan, Role, run
from anomaly_site.web import PortUnavailable
from ingestion.daemon import MetricsUnavailable, run_in_loop
from ingestion.management.base import ExamplesCommand
from ingestion.management.source_options import add_source_options, sources_from_options
from ingestion.stream.health import text_of

logger = logging.getLogger(__name__)


class Command(ExamplesCommand):
    help = """\
Run the whole system in one terminal: NATS (unless NATS_URL answers), ingestion, analysis, the bridge, the chart
history, the sector refresh and the web server. Open http://localhost:3001. Stop it with Ctrl-C.

  manage.py up                                               live prices; simulated ones if no exchange answers
  manage.py up --source simulated --seed 7                   the simulated market, the same one each time
  manage.py up --source replay --file candles.parquet --speed 60
                                                             a recording at 60 times its speed
  manage.py up --only nats,web                               only these roles
  manage.py up --web 4                                       four web processes on one port (needs CHANNEL_REDIS_URL)
"""

    def add_arguments(self, parser: CommandParser) -> None:
        add_source_options(parser)
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
        parser.add_argument(
            "--port",
            type=int,
            default=3001,
            help="port to listen on; 0: any free port (default: %(default)s; no variable of the environment sets it)",
        )
        parser.add_argument(
            "--web",
            type=_count,
            default=1,
            metavar="N",
            help="number of web processes on the port; more than one needs CHANNEL_REDIS_URL (default: %(default)s)",
        )
        parser.add_argument(
            "--only",
            type=_roles,
            default=list(Role),
            metavar="ROLES",
            help=f"comma-separated roles to run (default: all of {','.join(Role)})",
        )
        parser.add_argument(
            "--metrics-port",
            type=int,
            default=settings.METRICS_PORT,
            metavar="N",
            help="serve the counters of this process for Prometheus on http://127.0.0.1:N/metrics, those of the web "
            "processes of --web on the ports after N (default: METRICS_PORT; without it, as part of the web server's "
            "/metrics)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        roles: list[Role] = options["only"]
        if Role.WEB in roles and options["web"] > 1 and not settings.CHANNEL_REDIS_URL:
            raise CommandError(
                f"--web {options['web']} needs Redis or Valkey between the bridge and the web processes: set "
                "CHANNEL_REDIS_URL (redis://localhost:6379/0), or leave out --web."
            )
        if Role.WEB in roles and (found := exposures(options["host"])):
            raise CommandError(refusal(found))
        _check_migrations(has_status=Role.WEB in roles)
        try:
            sources = sources_from_options(options, self._say) if Role.INGEST in roles else ()
            host, web = options["host"], options["web"]
            plan = Plan(
                roles, host, options["port"], sources, web, self._say, self._first_admin(), options["metrics_port"]
            )
            run_in_loop(run(plan))
        except (*FATAL, PortUnavailable, MetricsUnavailable) as error:
            raise CommandError(str(error)) from None

    def _first_admin(self) -> Callable[[str], Sequence[str]] | None:
        """How to make the first administrator, for the terminal that this runs in. None: not asked for, or no terminal.

        A log would keep the link for everybody who reads it.
        """
        if not self.stdout.isatty() or not (secret := new_secret()):
            return None
        return lambda base: (
            f"   {'First admin':<10} {base}/accounts/first/{secret}/",
            "   (this link makes an administrator: once, within an hour, from this machine)",
        )

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _check_migrations(*, has_status: bool) -> None:
    """Raises `CommandError` if migrations are missing.

    A database server that does not answer yet is no reason to end if there will be a status: that names it, and checks
    the migrations again.
    """
    try:
        call_command("migrate", check_unapplied=True, verbosity=0)
    except SystemExit:
        raise CommandError(
            "The database lacks migrations: run `manage.py migrate`, or start with `make run`, which does it."
        ) from None
    except OperationalError as error:
        if not has_status or connection.vendor == "sqlite":
            raise
        logger.warning("The database does not answer (%s); starting without it", text_of(error))


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of processes; expected 1 or more")
    return int(text)


def _roles(text: str) -> list[Role]:
    try:
        return [Role(name.strip()) for name in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; expected some of {','.join(Role)}") from error
