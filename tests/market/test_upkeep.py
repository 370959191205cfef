"""SQLite's planner gets statistics, and then takes the index that is fast."""

import pytest
from django.db import connection

from alerts.models import Alert
from alerts.services import store
from market.services import sequenced
from market.upkeep import analyse
from tests.samples import EPOCH, an_alert

pytestmark = pytest.mark.django_db


def plan() -> str:
    return Alert.objects.filter(review_state="new").order_by("-timestamp", "-id")[:100].explain()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL has statistics of its own")
def test_a_value_that_most_rows_have_is_not_looked_up() -> None:
    store([sequenced(EPOCH, offset, an_alert(f"a{offset}")) for offset in range(1, 2_000)])
    assert "review_state" in plan()
    analyse()
    assert "USING INDEX alert_newest" in plan()
    assert "TEMP B-TREE" not in plan()
