from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser

from alerts.detectors.bank import VERSION
from alerts.detectors.explanation import checks, price_text, window_text
from alerts.models import Alert
from alerts.services import row
from market.models import MarketAnomaly
from market.printable import printable
from market.services import sequenced
from market.wire.decoding import decode_alert
from market.wire.messages import Alert as Message
from market.wire.messages import InvalidMessage
from market.wire.times import moment

# Columns of the row that lists and filters use; each must equal its field in the stored message.
_COLUMNS: Final = ("severity", "state", "revision", "symbol", "method", "direction", "score", "price", "change_pct")


class Command(BaseCommand):
    help = (
        "Explain why an alert was raised, and recompute its figures from the stored message. Exits with 1 if a figure "
        "differs. Example: `manage.py explain_alert BTCUSDT.1m.1621425600000.binance`."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "id", metavar="ID", help="id of the alert, as in GET /alerts, in the admin or in a message of /ws"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        stored = Alert.objects.filter(id=options["id"]).first()
        if stored is None:
            raise CommandError(_unknown(options["id"]))
        try:
            alert = decode_alert(stored.payload.encode(), received_at=0)
        except InvalidMessage as error:
            raise CommandError(f"The stored message of {stored.id} is not a valid alert: {error}.") from None
        self._tell(alert)
        written = row(sequenced(0, 0, alert))
        if differs := [name for name in _COLUMNS if getattr(stored, name) != getattr(written, name)]:
            raise CommandError(f"The stored message and the columns of its row differ in: {', '.join(differs)}.")
        found = checks(alert)
        if not found:
            self.stdout.write(
                f"Score {alert.score:.6g}: cannot be checked; the explanation is not that of a built-in detector."
            )
            return
        for check in found:
            self.stdout.write(f"  {check.name:<9} {check.text}{'' if check.holds else '   ← DIFFERS'}")
        if wrong := [check.name for check in found if not check.holds]:
            raise CommandError(
                f"These figures do not follow from the stored message: {', '.join(wrong)} (score {alert.score:.6g})."
            )
        self.stdout.write(f"All figures follow from the stored message; score {alert.score:.6g}.")

    def _tell(self, alert: Message) -> None:
        explanation = alert.explanation
        sentence = explanation.sentence or alert.symbol
        self.stdout.write(printable(f"{alert.severity} {alert.method} {alert.direction}: {sentence}"))
        what = [f"{moment(alert.timestamp):%Y-%m-%d %H:%M:%S} UTC", f"revision {alert.revision}, {alert.state.lower()}"]
        if explanation.version is not None:
            other = "" if explanation.version == VERSION else f" (installed: version {VERSION})"
            what.append(f"detectors version {explanation.version}{other}")
        if alert.incident:
            what.append(f"part of {alert.incident}")
        self.stdout.write(printable("  " + ", ".join(what)))
        for one in explanation.escalations:
            self.stdout.write(f"  {one.severity:<9} since {moment(one.timestamp):%H:%M:%S}")
        for item in explanation.methods:
            self.stdout.write(f"  {item.method:<10} {item.score:+.2f}")
        if None not in (alert.price, alert.expected, alert.lower, alert.upper):
            price, expected, lower, upper = (
                price_text(value or 0.0) for value in (alert.price, alert.expected, alert.lower, alert.upper)
            )
            self.stdout.write(f"  price {price}, expected {expected}, usually between {lower} and {upper}")
        window, size = explanation.parameters.get("window_ms"), explanation.baseline_size
        if type(window) is int and window > 0 and window % 1_000 == 0 and size is not None:
            self.stdout.write(f"  over {window_text(window)}, compared with {size} earlier values")


def _unknown(id: str) -> str:
    incident = MarketAnomaly.objects.filter(id=id).first()
    if incident is None:
        return f"There is no alert {id}. GET /alerts and the admin list the stored ids."
    parts = Alert.objects.filter(incident=id).values_list("id", flat=True)
    some = f"explain one of its alerts: {', '.join(parts[:5])}" if parts else "no stored alert belongs to it"
    return f"{id} is a market anomaly ({incident.type}), not an alert; {some}."
