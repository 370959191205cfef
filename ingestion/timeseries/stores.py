"""Which store the settings ask for."""

import functools
from typing import TYPE_CHECKING

from django.conf import settings

from ingestion.timeseries.store import CandleStore
from ingestion.timeseries.table import TableStore

if TYPE_CHECKING:
    from ingestion.timeseries.influx.anomalies import InfluxAnomalies
    from ingestion.timeseries.influx.client import InfluxServer


@functools.cache
def candle_store() -> CandleStore:
    """InfluxDB when INFLUXDB_URL is set, else the candle table."""
    if not settings.INFLUXDB_URL:
        return TableStore()
    from ingestion.timeseries.influx.candles import InfluxCandles

    return InfluxCandles(influx_server())


@functools.cache
def anomaly_store() -> "InfluxAnomalies | None":
    """Where anomalies go besides the database: InfluxDB, when INFLUXDB_URL is set."""
    if not settings.INFLUXDB_URL:
        return None
    from ingestion.timeseries.influx.anomalies import InfluxAnomalies

    return InfluxAnomalies(influx_server())


@functools.cache
def influx_server() -> "InfluxServer":
    from ingestion.timeseries.influx.client import InfluxServer  # half a second to import: only for those who use it

    return InfluxServer(
        url=settings.INFLUXDB_URL,
        token=settings.INFLUXDB_TOKEN,
        database=settings.INFLUXDB_DATABASE,
        org=settings.INFLUXDB_ORG,
        api=settings.INFLUXDB_API,
    )
