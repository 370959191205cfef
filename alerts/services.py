"""Writes of alerts, and of their charts."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec
from django.db import DEFAULT_DB_ALIAS, connections, transaction

from alerts import models
from alerts.packing import pack
from market.models import Upkeep
from market.services import Sequenced, newest_of_each, shared_columns, upsert
from market.wire.messages import Alert, HistoryPoint

# Of an update: version 0.1 kept the chart in this column, and `move_charts` empties it.
_CHART_OF_BEFORE: Final = {"history"}
_charts: Final = msgspec.json.Decoder(list[HistoryPoint])


def store(messages: Sequence[Sequenced[Alert]], replaced: Collection[str] = ()) -> int:
    """Insert alerts, or update stored ones with newer revisions. Returns the number of rows inserted or changed.

    The chart (`history`) of an alert is stored from the first revision that contains one, and then kept; of signed
    messages, whatever others said. `replaced`: ids whose charts are of others (`market.services.Judged`).
    """
    newest = newest_of_each(messages)
    signed = {item.message.id: item.signed for item in newest}
    charts: dict[str, bytes] = {}
    for item in messages:
        alert = item.message
        if alert.history and alert.id not in charts and item.signed == signed[alert.id]:
            charts[alert.id] = pack(alert.history)
    if replaced:
        models.AlertChart.objects.filter(pk__in=replaced).delete()
    changed = upsert((row(item) for item in newest), fill_once=_CHART_OF_BEFORE)
    if charts:
        _store_charts(newest, charts)
    return changed


def _store_charts(messages: Sequence[Sequenced[Alert]], charts: Mapping[str, bytes]) -> None:
    """Store the charts of the messages that are stored now; an alert keeps the one that it has."""
    database = connections[DEFAULT_DB_ALIAS]
    quote = database.ops.quote_name
    table, alerts = quote(models.AlertChart._meta.db_table), quote(models.Alert._meta.db_table)
    with database.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {table} (alert_id, points) SELECT id, %s FROM {alerts} "  # noqa: S608 (names of ours)
            f"WHERE id = %s AND epoch = %s AND {quote('offset')} = %s AND history = '' ON CONFLICT DO NOTHING",
            [
                (charts[message.id], message.id, epoch, offset)
                for epoch, offset, message, *_ in messages
                if message.id in charts
            ],
        )


def move_charts(count: int) -> bool:
    """Move the charts of the next `count` alerts, by id, from their column to their table. Returns whether all are.

    One transaction. An alert that is stored meanwhile has its chart in the table already.
    """
    with transaction.atomic():
        upkeep, _ = Upkeep.objects.select_for_update().get_or_create(name="charts")
        if upkeep.done:
            return True
        alerts = models.Alert.objects
        ids = list(alerts.filter(pk__gt=upkeep.place).order_by("pk").values_list("pk", flat=True)[:count])
        kept = alerts.select_for_update().filter(pk__in=ids).exclude(history="").values_list("pk", "history")
        moved = [models.AlertChart(pk=id, points=pack(_charts.decode(history))) for id, history in kept]
        # The chart in the column is the first one.
        models.AlertChart.objects.bulk_create(
            moved, update_conflicts=True, unique_fields=["alert"], update_fields=["points"]
        )
        alerts.filter(pk__in=[chart.pk for chart in moved]).update(history="")
        upkeep.done = not ids
        upkeep.place = ids[-1] if ids else upkeep.place
        upkeep.save()
        return upkeep.done


def row(item: Sequenced[Alert]) -> models.Alert:
    """The unsaved row for a message, without a review and a chart."""
    alert = item.message
    return models.Alert(
        **shared_columns(item),
        symbol=alert.symbol,
        venue=alert.venue,
        interval=alert.interval,
        method=alert.method,
        direction=alert.direction,
        score=alert.score,
        change_pct=alert.change_pct,
        price=alert.price,
        incident=alert.incident or "",
    )
