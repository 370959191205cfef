import argparse
import asyncio
import sys
from datetime import time
from typing import Any, Final

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from alerts.delivery.wording import clock
from ingestion.delivery import acknowledge, setup, store
from ingestion.delivery.http import Refused
from ingestion.delivery.preview import FAULTS, preview_of, sample
from ingestion.management.base import ExamplesCommand
from ingestion.models import Channel, Route
from ingestion.stream.nats import NatsUnavailable
from market.clock import now_ms
from market.wire.messages import SEVERITIES, Rank, Severity
from market.writes import named, wrote

_SHOWN: Final = 30
_BY: Final = "command line"
_LISTS: Final = ("symbols", "venues", "methods", "types", "sectors", "channels")
_NONE: Final = "none"
_UNKNOWN: Final = "There is no route {}; `manage.py route list` has all."


class Command(ExamplesCommand):
    help = """\
Set up who receives which anomalies, and when. A channel is where messages go; a route says what goes there.

  manage.py route channel phone telegram --address -1001234567890 --secret - --owner ann
                                          a channel; the bot's token is read from the terminal
  manage.py route channel ops webhook --address https://hooks.example.org/anomalies
                                          a webhook; its secret is made and printed once
  manage.py route test phone              send a test message to the channel phone
  manage.py route add night phone --owner ann --severity HIGH --quiet 23:00-07:00 --zone Europe/Berlin --breaks CRITICAL
                                          print what it would have sent in the last 7 days, then create the route;
                                          ann is who acknowledges by the link or button in its messages
  manage.py route add night phone --severity HIGH --preview-only
                                          only print it
  manage.py route set night --escalate-after 10 --escalate-to boss
                                          if no message of night is acknowledged in 10 minutes, the route boss gets it
  manage.py route set night --quiet none --per-minute 5 --symbols BTCUSDT,ETHUSDT
                                          change what is named and keep the rest; none, 0 or "" removes it
  manage.py route set night --off         stop it; --on starts it again, with what arrives from then on
  manage.py route set-channel phone --secret - --on
                                          another token, and send again after the service refused the old one
  manage.py route set-channel ops --rotate
                                          replace the secret of a webhook; messages have the signatures of both
  manage.py route preview night           what it would have sent, and a message of it
  manage.py route list                    channels and routes, without secrets
  manage.py route remove night

The role `deliver` sends; `manage.py up` includes it. docs/delivery.md describes every service.
"""

    def add_arguments(self, parser: CommandParser) -> None:
        every = "channel|set-channel|add|set|list|test|preview|remove"
        commands = parser.add_subparsers(dest="action", required=True, metavar=every)
        channel = commands.add_parser("channel", help="create a channel")
        channel.add_argument("name")
        channel.add_argument("kind", choices=[str(kind) for kind in Channel.Kind])
        _add_channel_options(channel)
        change = commands.add_parser("set-channel", help="change a channel: only what is named")
        change.add_argument("name")
        _add_channel_options(change)
        change.add_argument("--rotate", action="store_true", help="replace the secret of a webhook")
        change.set_defaults(address=None)
        add = commands.add_parser("add", help="create a route")
        add.add_argument("name")
        add.add_argument("channel")
        _add_rules(add)
        add.add_argument("--preview-only", action="store_true", help="create nothing")
        settings = commands.add_parser("set", help="change a route: only what is named")
        settings.add_argument("name")
        settings.add_argument("--channel", metavar="CHANNEL", help="send to another channel")
        _add_rules(settings)
        settings.set_defaults(**dict.fromkeys((*_LISTS, "changes", "sources", "zone", "per_minute")))
        commands.add_parser("list", help="list channels and routes")
        for name, what in (
            ("test", "send a test message to a channel"),
            ("preview", "print what a route would have sent in the last 7 days"),
            ("remove", "delete a route"),
        ):
            commands.add_parser(name, help=what).add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['action'].replace('-', '_')}")(options)
        except (Refused, NatsUnavailable) as error:
            raise CommandError(str(error)) from None
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None

    def _channel(self, options: dict[str, Any]) -> None:
        channel = Channel(name=options["name"], kind=options["kind"])
        made = self._prepared(channel, options)
        self._stored(channel, "add")
        self.stdout.write(f"Channel {channel.name} is created. Try it: manage.py route test {channel.name}")
        if made:
            self.stdout.write(f"Its secret, which is not shown again: {made}")

    def _set_channel(self, options: dict[str, Any]) -> None:
        channel = _channel_named(options["name"])
        made = self._prepared(channel, options)
        self._stored(channel, "change")
        if options["rotate"]:
            made = setup.rotate(channel)
        self.stdout.write(f"Channel {channel.name} is changed. Try it: manage.py route test {channel.name}")
        if made:
            self.stdout.write(f"Its secret, which is not shown again: {made}")

    def _prepared(self, channel: Channel, options: dict[str, Any]) -> str:
        if options["secret"] not in ("", "-"):
            raise CommandError(
                "A secret in the command line is seen by others: use --secret - and enter it when asked."
            )
        secret = sys.stdin.readline().strip() if options["secret"] else ""
        for field in ("address", "enabled"):
            if options[field] is not None:
                setattr(channel, field, options[field])
        if options["owner"] is not None:
            channel.owner = _user(options["owner"])
        return setup.prepare(channel, secret)

    def _stored(self, row: Channel | Route, action: str, **options: Any) -> None:
        row.full_clean(exclude=["owner"])
        with transaction.atomic():
            row.save(**options)
            wrote(None, action, [named(row)], by=_BY)

    def _add(self, options: dict[str, Any]) -> None:
        route = Route(name=options["name"], channel=_channel_named(options["channel"]))
        _apply(route, options)
        route.full_clean(exclude=["owner"])
        self._show(route)
        if not options["preview_only"]:
            self._stored(route, "add")
            self.stdout.write(f"Route {route.name} is created; it delivers what arrives from now on.")
            self._lacks(route)

    def _set(self, options: dict[str, Any]) -> None:
        route = _route_named(options["name"])
        before = {field.attname: getattr(route, field.attname) for field in route._meta.concrete_fields}
        if options["channel"] is not None:
            route.channel = _channel_named(options["channel"])
        _apply(route, options)
        # What the deliverer remembers of a route is its own: it writes that meanwhile.
        changed = [name for name, value in before.items() if getattr(route, name) != value]
        if not changed:
            raise CommandError("Nothing was changed. `manage.py route set --help` lists what can be.")
        route.full_clean(exclude=["owner"])
        store.enabled_again(route, changed)
        self._stored(route, "change", update_fields=changed)
        self.stdout.write(f"Route {route.name} is changed; the deliver role follows within seconds.")
        self._lacks(route)

    def _lacks(self, route: Route) -> None:
        for notice in acknowledge.notices(route):
            self.stdout.write(notice)
        if route.owner is None:
            self.stdout.write(f"  manage.py route set {route.name} --owner USER")

    def _preview(self, options: dict[str, Any]) -> None:
        route = _route_named(options["name"])
        self._show(route)
        if message := sample(route):
            self.stdout.write(f"A message of it:\n  {message.title}")
            for line in message.body.split("\n"):
                self.stdout.write(f"  {line}")
        self._lacks(route)

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
        for channel in Channel.objects.prefetch_related("routes__owner", "routes__escalate_to"):
            state = "" if channel.enabled else f", switched off: {channel.disabled_reason or 'by hand'}"
            self.stdout.write(f"{channel.name}: {channel.kind} {channel.shown_address} {channel.masked()}{state}")
            for route in channel.routes.all():
                self.stdout.write(f"  {route.name}: {', '.join(_described(route))}")
                for notice in acknowledge.notices(route):
                    self.stdout.write(f"    {notice}")
        if not Channel.objects.exists():
            self.stdout.write("There is no channel yet: manage.py route channel --help")

    def _test(self, options: dict[str, Any]) -> None:
        channel = _channel_named(options["name"])
        store.send_test(channel)
        self.stdout.write("A test message is stored; the deliver role sends it within seconds (admin: Deliveries).")

    def _remove(self, options: dict[str, Any]) -> None:
        route = _route_named(options["name"])
        with transaction.atomic():
            wrote(None, "delete", [named(route)], by=_BY)
            route.delete()
        self.stdout.write(f"Route {options['name']} is deleted.")


def _add_channel_options(parser: CommandParser) -> None:
    parser.add_argument("--address", default="", help="chat of Telegram, or address of a webhook")
    parser.add_argument("--secret", default="", metavar="-", help="-: read it from the terminal or standard input")
    parser.add_argument("--owner", metavar="USER", help="whose it is over REST")
    _add_switch(parser)


def _add_switch(parser: CommandParser) -> None:
    switch = parser.add_mutually_exclusive_group()
    switch.add_argument("--on", dest="enabled", action="store_true", default=None, help="switch it on")
    switch.add_argument("--off", dest="enabled", action="store_false", help="switch it off")


def _add_rules(parser: CommandParser) -> None:
    lists = "separated by commas"
    parser.add_argument("--severity", type=_severity, metavar="LOWEST", help="this severity and above")
    for name in _LISTS:
        parser.add_argument(f"--{name}", default="", help=f"{lists}; as on /ws (default: all)")
    parser.add_argument("--changes", default="", help=f"some of opens,escalates,turns,closes, {lists} (default: all)")
    parser.add_argument("--sources", default="", help=f"some of live,replay,simulated, {lists} (default: live)")
    parser.add_argument("--zone", default="UTC", help="time zone of all times of day (default: UTC)")
    parser.add_argument("--quiet", type=_hours, metavar="FROM-UNTIL", help="quiet hours, as in 23:00-07:00; or none")
    parser.add_argument(
        "--breaks", type=_or_none(_severity), metavar="SEVERITY", help="this and above break the quiet hours; or none"
    )
    parser.add_argument(
        "--daily", type=_or_none(_time), metavar="HH:MM", help="one digest a day at this time, not messages; or none"
    )
    parser.add_argument(
        "--per-minute", type=int, default=0, metavar="N", help="at most N messages; the rest in a digest (0: no limit)"
    )
    parser.add_argument(
        "--escalate-after",
        type=int,
        metavar="MINUTES",
        help="minutes without an acknowledgement until another route gets it as well; 0: never",
    )
    parser.add_argument("--escalate-to", metavar="ROUTE", help="that other route")
    parser.add_argument("--owner", metavar="USER", help="in whose name its messages are acknowledged")
    _add_switch(parser)


def _apply(route: Route, options: dict[str, Any]) -> None:
    """Set what the options name; those that are None stay."""
    route.filters = _filters(route.filters, options)
    if options["quiet"] is not None:
        route.quiet_from, route.quiet_until = (None, None) if options["quiet"] == _NONE else options["quiet"]
    if options["breaks"] is not None:
        route.breaks_quiet = None if options["breaks"] == _NONE else int(options["breaks"].rank)
    if options["daily"] is not None:
        route.daily_at = None if options["daily"] == _NONE else options["daily"]
    for field, option in (("time_zone", "zone"), ("per_minute", "per_minute"), ("enabled", "enabled")):
        if options[option] is not None:
            setattr(route, field, options[option])
    for field in ("changes", "sources"):
        if options[field] is not None:
            setattr(route, field, _list_of(options[field]) or getattr(Route(), field))
    if options["escalate_after"] is not None:
        route.escalate_after_min = options["escalate_after"] or None
        route.escalate_to = route.escalate_to if options["escalate_after"] else None
    if options["escalate_to"] is not None:
        route.escalate_to = _route_named(options["escalate_to"])
    if options["owner"] is not None:
        route.owner = _user(options["owner"])


def _filters(known: dict[str, list[str]], options: dict[str, Any]) -> dict[str, list[str]]:
    given = {name: _list_of(options[name]) for name in _LISTS if options[name] is not None}
    if options["severity"] is not None:
        given["severities"] = [str(each) for each in SEVERITIES if each.rank >= options["severity"].rank]
    return {name: values for name, values in (known | given).items() if values}


def _list_of(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")] if text else []


def _described(route: Route) -> list[str]:
    """A route in words, for the list."""
    found = [str(route.filters or "everything"), f"{', '.join(route.sources)} prices"]
    if not route.enabled:
        found.append("switched off")
    if len(route.changes) < 4:
        found.append(f"when it {', '.join(route.changes)}")
    if route.quiet_from is not None and route.quiet_until is not None:
        breaks = "" if route.breaks_quiet is None else f" but for {Rank(route.breaks_quiet).name} and above"
        found.append(f"quiet {route.quiet_from:%H:%M} to {route.quiet_until:%H:%M} {route.time_zone}{breaks}")
    if route.daily_at is not None:
        found.append(f"one digest a day at {route.daily_at:%H:%M} {route.time_zone}")
    if route.per_minute:
        found.append(f"at most {route.per_minute} a minute")
    if route.escalate_to is not None:
        found.append(f"to {route.escalate_to} if not acknowledged in {route.escalate_after_min} min")
    if route.owner is not None:
        found.append(f"of {route.owner.get_username()}")
    return found


def _channel_named(name: str) -> Channel:
    channel = Channel.objects.filter(name=name).first()
    if channel is None:
        raise CommandError(f"There is no channel {name}; create it first: manage.py route channel --help")
    return channel


def _route_named(name: str) -> Route:
    route = Route.objects.filter(name=name).select_related("channel", "owner", "escalate_to__owner").first()
    if route is None:
        raise CommandError(_UNKNOWN.format(name))
    return route


def _user(name: str) -> User:
    user = User.objects.filter(username=name, is_active=True).first()
    if user is None:
        raise CommandError(
            f"There is no user {name}, or the account is closed: manage.py createsuperuser, or the admin."
        )
    return user


def _or_none(read: Any) -> Any:
    def value(text: str) -> Any:
        return _NONE if text.lower() == _NONE else read(text)

    return value


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


def _hours(text: str) -> Any:
    if text.lower() == _NONE:
        return _NONE
    start, _, end = text.partition("-")
    return _time(start), _time(end)
