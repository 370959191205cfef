import math
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from alerts.detectors.explanation import recompute
from alerts.models import Alert
from market.decoding import decode_alert
from market.messages import Method


class Command(BaseCommand):
    help = (
        "Say why an alert was raised and compute its score again from what is stored of it. "
        "Example: `manage.py explain_alert BTCUSDT.1m.1621425600000.binance`."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", metavar="ID")

    def handle(self, *args: Any, **options: Any) -> None:
        stored = Alert.objects.filter(id=options["id"]).first()
        if stored is None:
            raise CommandError(f"There is no alert {options['id']}.")
        alert = decode_alert(stored.payload.encode(), received_at=0)
        explanation = alert.explanation
        self.stdout.write(f"{alert.severity} {alert.method} {alert.symbol}: {explanation.sentence}")
        for item in explanation.methods:
            self.stdout.write(f"  {item.method:<10} {item.score:+.2f}")
        again = recompute(alert.method, explanation)
        if again is None:
            self.stdout.write(f"score {alert.score:.6g}: of another detector, which does not say how it came about.")
            return
        window = f"window {explanation.window}, baseline {explanation.baseline_size} values"
        self.stdout.write(f"observed {explanation.observed:.6g}, usual {explanation.usual:.6g} ({window})")
        given = explanation.parameters
        if alert.method is Method.CUSUM:
            steps = " ".join(f"{given['side'] * z:+.2f}" for z in given["steps"])
            self.stdout.write(f"from {given['start']:.6g}, each step less {given['slack']:g}: {steps}")
        if "size" in given:
            size = (
                f"size {given['size']:.3g} times what is worth a trade, on {given['surge']:.3g} times the usual volume"
            )
            self.stdout.write(f"{alert.severity} by {size}")
        self.stdout.write(f"score {again:.6g} against a threshold of {alert.threshold:.6g}")
        if not math.isclose(again, alert.score, rel_tol=1e-9):
            raise CommandError(f"The stored score is another one: {alert.score:.6g}.")
        self.stdout.write("equal to the stored score")
