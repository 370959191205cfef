"""SQLite's planner gets statistics, and then takes the index that is fast."""

import pytest
from django.db import connection

from alerts.models import Alert
from alerts.services import store
from market.services import sequenced
from market.upkeep import analyse
from tests.samples import EPOCH, an_alert

pytestmark = pytest.mark.django_db


SYMBOLS = [f"S{number}USDT" for number in range(40)]


def plan() -> str:
    return Alert.objects.filter(symbol__in=SYMBOLS).order_by("-timestamp", "-id")[:100].explain()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL has statistics of its own")
def test_values_that_most_rows_have_are_not_looked_up() -> None:
    alerts = [an_alert(f"a{number}", symbol=SYMBOLS[number % 40]) for number in range(2_000)]
    store([sequenced(EPOCH, offset, alert) for offset, alert in enumerate(alerts, start=1)])
    # Without any, it walks along the index of symbols and sorts; those of an earlier test may be there.
    analyse()
    assert "USING INDEX alert_newest" in plan()
    assert "TEMP B-TREE" not in plan()
