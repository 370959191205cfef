from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

import alerts.services
import market.services
from alerts.models import Alert
from market.models import MarketAnomaly
from market.selectors import reaches
from market.services import sequenced
from market.wire.times import epoch_ms
from tests.samples import EPOCH, a_movement, an_alert

pytestmark = pytest.mark.django_db


def forget(*arguments: str) -> str:
    call_command("forget_anomalies", *arguments, stdout=(said := StringIO()))
    return said.getvalue()


def test_only_what_was_detected_before_that_goes() -> None:
    now = epoch_ms(timezone.now())
    detected = {1: now - 3 * 86_400_000, 2: now - 60_000, 3: now - 3 * 86_400_000}
    # Of candles that are old: a recording of 2021 is news on the day it is played.
    stored = [sequenced(EPOCH, at, an_alert(f"a{at}", detected_at=detected[at])) for at in (1, 2)]
    alerts.services.store(stored)
    market.services.store([sequenced(EPOCH, 3, a_movement("m3", detected_at=detected[3]))])
    market.services.advance(EPOCH, 0, 3)
    assert forget("2", "--dry-run") == "alerts: 1\nmarket anomalies: 1\n"
    assert reaches(EPOCH, 0)
    assert forget("2") == "alerts: 1\nmarket anomalies: 1\n"
    assert list(Alert.objects.values_list("id", flat=True)) == ["a2"]
    assert not MarketAnomaly.objects.exists()
    assert not reaches(EPOCH, 2)
