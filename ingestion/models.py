"""Candles in the database (read and written by `ingestion.timeseries.table`), and the positions of the writers."""

from typing import Final

from django.db import models

# Bits of a candle's key that hold its close time (epoch ms up to the year 2527); the bits above hold the series.
TIME_BITS: Final = 44
MAX_SERIES: Final = (1 << 63 - TIME_BITS) - 1


class Series(models.Model):
    """The candles of one symbol on one venue at one interval."""

    venue = models.CharField(max_length=40)
    symbol = models.CharField(max_length=40)
    interval = models.CharField(max_length=6)

    class Meta:
        verbose_name_plural = "series"
        constraints = [models.UniqueConstraint(fields=["symbol", "interval", "venue"], name="one_series")]

    def __str__(self) -> str:
        return f"{self.venue} {self.symbol} {self.interval}"


class Candle(models.Model):
    """`id` is `series << TIME_BITS | close_time`.

    The table is thereby its own index, in the order in which charts read it: 80 bytes a candle with SQLite, where
    a surrogate key with a unique index on (series, close_time) takes twice that.
    """

    id = models.BigIntegerField(primary_key=True)
    open = models.FloatField()
    high = models.FloatField()
    low = models.FloatField()
    close = models.FloatField()
    volume = models.FloatField()

    def __str__(self) -> str:
        return f"{self.id >> TIME_BITS} at {self.id & (1 << TIME_BITS) - 1}: {self.close}"


class HistoryPosition(models.Model):
    """Where a writer of history is in its NATS stream: everything up to `offset` of `epoch` is stored.

    After a restart it reads again after `resume`, which may be further back: before the first candle of an incomplete
    minute. `created` and `time_us` are as in `market.models.StreamHead`.
    """

    name = models.CharField(primary_key=True, max_length=40)
    epoch = models.BigIntegerField()
    offset = models.BigIntegerField()
    resume = models.BigIntegerField()
    created = models.BigIntegerField(default=0)
    time_us = models.BigIntegerField(default=0)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.name}: {self.epoch}:{self.offset}"


class StreamFault(models.Model):
    """A stream that went back (`RESET`), or lost messages before a reader had read them (`GAP`); shown in /status."""

    class Kind(models.TextChoices):
        RESET = "reset"
        GAP = "gap"

    stream = models.CharField(max_length=40)
    reader = models.CharField(max_length=40)
    kind = models.CharField(max_length=10, choices=Kind)
    at = models.DateTimeField(db_index=True)
    text = models.CharField(max_length=500)

    class Meta:
        ordering = ("-at",)

    def __str__(self) -> str:
        return f"{self.stream} ({self.reader}): {self.text}"


class StoredSettings(models.Model):
    """Settings that an analysis ran with (`alerts.detectors.settings`): what `settings` of its anomalies stands for.

    `values` are as in a file of settings. They never change, and are kept for as long as the database.
    """

    hash = models.CharField(primary_key=True, max_length=16)
    values = models.JSONField()
    first_used_at = models.DateTimeField()
    last_started_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name_plural = "stored settings"

    def __str__(self) -> str:
        return self.hash
