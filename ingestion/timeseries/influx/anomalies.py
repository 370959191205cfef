"""Store alerts and market anomalies as points in InfluxDB, and read them back.

Measurements `alerts` (tags symbol, venue) and `market` (tags type, sector). The field `payload` is the wire message;
the other fields are for charts. Every revision is a point of its own, at the time of its candle. The latest
revision has `current` true; writing the next one sets it to false, so that one condition finds the latest revisions.
"""

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from ingestion.timeseries.core.lines import Value, line
from ingestion.timeseries.core.queries import Question
from ingestion.timeseries.influx.client import InfluxServer, Row
from market.services import Sequenced
from market.wire.decoding import decode_alert, decode_market
from market.wire.identity import Identity, Known, accepted, identity
from market.wire.messages import Alert, Anomaly, InvalidMessage, MarketStress, SectorAnomaly, frame_data

ALERTS: Final = "alerts"
MARKET: Final = "market"

# How far from a revision to search for the one before it, if another process wrote that one.
_LOOK_AROUND_MS: Final = 86_400_000
# Latest revisions kept in memory; older ones are searched for in InfluxDB.
_MAX_KNOWN: Final = 50_000
CHUNK: Final = 1_000
_COLUMNS: Final = ("id", "revision", "epoch", "offset", "payload")

_Key = tuple[str, tuple[tuple[str, str], ...], int]  # measurement, tags, time in ns
_Fields = dict[str, Value]


class _Known(NamedTuple):
    """The latest revision of an anomaly and its point."""

    # Whether it is signed, revision, epoch, offset: the greatest is the latest, as in the database.
    age: tuple[bool, int, int, int]
    key: _Key
    identity: Identity


class InfluxAnomalies:
    """Writes anomalies in the order of the stream, and reads their latest revisions."""

    name = "influxdb"

    def __init__(self, server: InfluxServer) -> None:
        self._server = server
        self._known: dict[str, _Known] = {}

    def write(self, items: Sequence[Sequenced[Anomaly]]) -> None:
        """Write revisions; writing the same again changes nothing. Raises `StoreUnavailable` or `StoreRefused`."""
        points: dict[_Key, _Fields] = {}
        learnt: dict[str, _Known] = {}
        for item in items:
            message = item.message
            age = _age(item)
            before = learnt.get(message.id) or self._known.get(message.id) or self._look_for(message)
            if before is not None:
                if before.age > age:
                    continue
                try:
                    latest = Known(before.age[1], before.age[0], before.identity)
                    message = accepted(latest, message, signed=age[0]) or message
                except InvalidMessage:
                    continue  # the bridge rejects it
                if message is not item.message:
                    item = item._replace(message=message, payload=frame_data(message))
            key = _key(message)
            if before is not None and before.key != key:
                points.setdefault(before.key, {})["current"] = False
            points.setdefault(key, {}).update(_fields(item))
            learnt[message.id] = _Known(age, key, identity(message))
        lines = [line(measurement, tags, fields, time) for (measurement, tags, time), fields in points.items()]
        self._server.write(lines)
        for id, known in learnt.items():
            self._known.pop(id, None)
            self._known[id] = known
        while len(self._known) > _MAX_KNOWN:
            del self._known[next(iter(self._known))]

    def read(
        self, measurement: str, *, tags: Mapping[str, str], start_ms: int, end_ms: int, newest: bool
    ) -> Iterator[Sequenced[Anomaly]]:
        """Yield the latest revisions in [`start_ms`, `end_ms`) by (timestamp, id), ascending; with `newest` descending.

        Reads in chunks, only as far as the caller iterates. Raises `StoreUnavailable`.
        """
        limit = CHUNK
        while start_ms < end_ms:
            rows = self._ask(measurement, tags, {"current": True}, start_ms, end_ms, limit, newest=newest)
            if len(rows) == limit:
                # The chunk may end among anomalies of one millisecond: the next chunk has all of them.
                edge = rows[0]["time"] if newest else rows[-1]["time"]
                rows = [row for row in rows if row["time"] != edge]
                if not rows:
                    limit *= 2
                    continue
                start_ms, end_ms = (start_ms, edge + 1) if newest else (edge, end_ms)
            else:
                start_ms = end_ms
            # A read during a write may find a point without some of its fields (1.6 does that).
            rows = [row for row in rows if all(row[name] is not None for name in _COLUMNS)]
            rows.sort(key=lambda row: (row["time"], row["id"]), reverse=newest)
            yield from (_item(measurement, row) for row in rows)

    def _look_for(self, message: Anomaly) -> _Known | None:
        """Return the stored latest revision of an anomaly; None if it is new or not found."""
        if message.revision == 1:
            return None
        measurement, tags, _ = _key(message)
        around = message.timestamp - _LOOK_AROUND_MS, message.timestamp + _LOOK_AROUND_MS
        rows = self._ask(measurement, dict(tags), {"id": message.id, "current": True}, *around, 1, newest=True)
        if not rows or any(rows[0][name] is None for name in _COLUMNS):
            return None
        item = _item(measurement, rows[0])
        key = (measurement, tags, _time_ns(rows[0]["time"], message.id, item.message.revision))
        return _Known(_age(item), key, identity(item.message))

    def _ask(
        self,
        measurement: str,
        tags: Mapping[str, str],
        fields: Mapping[str, str | bool],
        start_ms: int,
        end_ms: int,
        limit: int,
        *,
        newest: bool,
    ) -> list[Row]:
        return self._server.ask(
            Question(
                measurement=measurement,
                columns=_COLUMNS,
                tags=tags,
                fields=fields,
                start_ms=start_ms,
                end_ms=end_ms,
                limit=limit,
                newest=newest,
                then_by="id",
            )
        )


def _item(measurement: str, row: Row) -> Sequenced[Anomaly]:
    decode = decode_alert if measurement == ALERTS else decode_market
    message: Anomaly = decode(row["payload"].encode(), received_at=0)
    return Sequenced(int(row["epoch"]), int(row["offset"]), message, row["payload"].encode())


def _age(item: Sequenced[Anomaly]) -> tuple[bool, int, int, int]:
    # A point has no column of its own for it: what is not signed has no source.
    return item.message.source is not None, item.message.revision, item.epoch, item.offset


def _key(message: Anomaly) -> _Key:
    """The point of a revision. Its tags never change during an anomaly."""
    time = _time_ns(message.timestamp, message.id, message.revision)
    if isinstance(message, Alert):
        return ALERTS, (("symbol", message.symbol), ("venue", message.venue)), time
    sector = message.sector if isinstance(message, SectorAnomaly) else "-"
    # The tag is for grouping; the exact name of the sector is in the payload.
    return MARKET, (("sector", re.sub(r"[^\w.&\-]", "_", sector)), ("type", str(message.__struct_config__.tag))), time


def _time_ns(timestamp: int, id: str, revision: int) -> int:
    """The time of the candle in ns, plus a part of a millisecond made from id and revision: it keeps points apart."""
    return timestamp * 1_000_000 + zlib.crc32(f"{id}:{revision}".encode()) % 1_000_000


def _fields(item: Sequenced[Anomaly]) -> _Fields:
    message = item.message
    fields: _Fields = {
        "id": message.id,
        "revision": message.revision,
        "epoch": item.epoch,
        "offset": item.offset,
        "current": True,
        "severity": message.severity.rank,
        "state": message.state.value,
        "payload": item.payload.decode(),
    }
    numbers: dict[str, float | None] = {}
    if isinstance(message, Alert):
        fields["method"] = str(message.method)
        numbers = {"score": message.score, "price": message.price, "change_pct": message.change_pct}
    elif isinstance(message, MarketStress):
        numbers = {"stress_index": message.stress_index}
    elif isinstance(message, SectorAnomaly):
        numbers = {"performance_pct": message.performance_pct, "deviation": message.deviation}
    else:
        numbers = {"synchronization_ratio": message.synchronization_ratio, "change_pct": message.average_change_pct}
    return fields | {name: float(value) for name, value in numbers.items() if value is not None}
