import argparse
import asyncio
import sys
from datetime import time
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from alerts.delivery.wording import clock
from ingestion.delivery import setup, store
from ingestion.delivery.http import Refused
from ingestion.delivery.preview import FAULTS, preview_of
from ingestion.management.base import ExamplesCommand
from ingestion.models import Channel, Route
from ingestion.stream.nats import NatsUnavailable
from market.clock import now_ms
from market.wire.messages import SEVERITIES, Severity

_SHOWN: Final = 30


class Command(ExamplesCommand):
    help = """\
Set up who receives which anomalies, and when. A channel is where messages go; a route says what goes there.

  manage.py route channel phone telegram --address -1001234567890 --secret -
                                          a channel; the bot's token is read from the terminal
  manage.py route channel ops webhook --address https://hooks.example.org/anomalies
                                          a webhook; its secret is made and printed once
  manage.py route test phone              send a test message to the channel phone
  manage.py route add night phone --severity HIGH --quiet 23:00-07:00 --zone Europe/Berlin --breaks CRITICAL
                                          print what it would have sent in the last 7 days, then create the route
  manage.py route add night phone --severity HIGH --preview-only
                                          only print it
  manage.py route preview night           the same for a route that exists
  manage.py route list                    channels and routes, without secrets
  manage.py route remove night

The role `deliver` sends; `manage.py up` includes it. docs/delivery.md describes every service.
"""

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(dest="action", required=True, metavar="channel|add|list|test|preview|remove")
        channel = commands.add_parser("channel", help="create a channel")
        channel.add_argument("name")
        channel.add_argument("kind", choices=[str(kind) for kind in Channel.Kind])
        channel.add_argument("--address", default="", help="chat of Telegram, or address of a webhook")
        channel.add_argument("--secret", default="", metavar="-", help="-: read it from the terminal or standard input")
        add = commands.add_parser("add", help="create a route")
        add.add_argument("name")
        add.add_argument("channel")
        _add_rules(add)
        commands.add_parser("list", help="list channels and routes")
        for name, what in (
            ("test", "send a test message to a channel"),
            ("preview", "print what a route would have sent in the last 7 days"),
            ("remove", "delete a route"),
        ):
            commands.add_parser(name, help=what).add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['action']}")(options)
        except (Refused, NatsUnavailable) as error:
            raise CommandError(str(error)) from None
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None

    def _channel(self, options: dict[str, Any]) -> None:
        kind, address, given = options["kind"], options["address"], options["secret"]
        if given not in ("", "-"):
            raise CommandError(
                "A secret in the command line is seen by others: use --secret - and enter it when asked."
            )
        secret = sys.stdin.readline().strip() if given else ""
        channel = Channel(name=options["name"], kind=kind, address=address)
        made = setup.prepare(channel, secret)
        channel.full_clean()
        channel.save()
        self.stdout.write(f"Channel {channel.name} is created. Try it: manage.py route test {channel.name}")
        if made:
            self.stdout.write(f"Its secret, which is not shown again: {made}")

    def _add(self, options: dict[str, Any]) -> None:
        channel = _channel_named(options["channel"])
        route = Route(name=options["name"], channel=channel, time_zone=options["zone"], filters=_filters(options))
        route.quiet_from, route.quiet_until = options["quiet"] or (None, None)
        route.breaks_quiet = None if options["breaks"] is None else int(options["breaks"].rank)
        route.daily_at, route.per_minute = options["daily"], options["per_minute"]
        for field in ("changes", "sources"):
            if options[field]:
                setattr(route, field, options[field].split(","))
        route.full_clean(exclude=["owner"])
        self._show(route)
        if not options["preview_only"]:
            route.save()
            self.stdout.write(f"Route {route.name} is created; it delivers what arrives from now on.")

    def _preview(self, options: dict[str, Any]) -> None:
        route = Route.objects.filter(name=options["name"]).select_related("channel").first()
        if route is None:
            raise CommandError(f"There is no route {options['name']}; `manage.py route list` has all.")
        self._show(route)

    def _show(self, route: Route) -> None:
        try:
            found = asyncio.run(preview_of(route))
        except FAULTS as error:
            self.stderr.write(f"No preview: {str(error) or type(error).__name__}")
            return
        self.stdout.write(found.summary())
        for message in found.ringing[-_SHOWN:]:
            self.stdout.write(f"  {clock(message.at, now_ms()):<21} {message.text.title}")
        if len(found.ringing) > _SHOWN:
            self.stdout.write(f"  These are the last {_SHOWN}.")

    def _list(self, options: dict[str, Any]) -> None:
        for channel in Channel.objects.prefetch_related("routes"):
            state = "" if channel.enabled else f", switched off: {channel.disabled_reason or 'by hand'}"
            self.stdout.write(f"{channel.name}: {channel.kind} {channel.shown_address} {channel.masked()}{state}")
            for route in channel.routes.all():
                self.stdout.write(f"  {route.name}: {route.filters or 'everything'}, {', '.join(route.sources)} prices")
        if not Channel.objects.exists():
            self.stdout.write("There is no channel yet: manage.py route channel --help")

    def _test(self, options: dict[str, Any]) -> None:
        channel = _channel_named(options["name"])
        store.send_test(channel)
        self.stdout.write("A test message is stored; the deliver role sends it within seconds (admin: Deliveries).")

    def _remove(self, options: dict[str, Any]) -> None:
        if not Route.objects.filter(name=options["name"]).delete()[0]:
            raise CommandError(f"There is no route {options['name']}; `manage.py route list` has all.")
        self.stdout.write(f"Route {options['name']} is deleted.")


def _add_rules(parser: CommandParser) -> None:
    lists = "separated by commas"
    parser.add_argument("--severity", type=_severity, metavar="LOWEST", help="this severity and above")
    for name in ("symbols", "venues", "methods", "types", "sectors", "channels"):
        parser.add_argument(f"--{name}", default="", help=f"{lists}; as on /ws (default: all)")
    parser.add_argument("--changes", default="", help=f"some of opens,escalates,turns,closes, {lists} (default: all)")
    parser.add_argument("--sources", default="", help=f"some of live,replay,simulated, {lists} (default: live)")
    parser.add_argument("--zone", default="UTC", help="time zone of all times of day (default: %(default)s)")
    parser.add_argument("--quiet", type=_hours, metavar="FROM-UNTIL", help="quiet hours, as in 23:00-07:00")
    parser.add_argument("--breaks", type=_severity, metavar="SEVERITY", help="this and above break the quiet hours")
    parser.add_argument("--daily", type=_time, metavar="HH:MM", help="one digest a day at this time")
    parser.add_argument(
        "--per-minute", type=int, default=0, metavar="N", help="at most N messages; the rest in a digest"
    )
    parser.add_argument("--preview-only", action="store_true", help="create nothing")


def _channel_named(name: str) -> Channel:
    channel = Channel.objects.filter(name=name).first()
    if channel is None:
        raise CommandError(f"There is no channel {name}; create it first: manage.py route channel --help")
    return channel


def _filters(options: dict[str, Any]) -> dict[str, list[str]]:
    found = {
        name: options[name].split(",")
        for name in ("symbols", "venues", "methods", "types", "sectors", "channels")
        if options[name]
    }
    if options["severity"] is not None:
        found["severities"] = [str(each) for each in SEVERITIES if each.rank >= options["severity"].rank]
    return found


def _severity(text: str) -> Severity:
    try:
        return Severity(text.upper())
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is unknown; expected LOW, MEDIUM, HIGH or CRITICAL") from None


def _time(text: str) -> time:
    try:
        return time.fromisoformat(text).replace(second=0, microsecond=0, tzinfo=None)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time of day; expected HH:MM") from None


def _hours(text: str) -> tuple[time, time]:
    start, _, end = text.partition("-")
    return _time(start), _time(end)
