"""Between the wire's integer epoch milliseconds and the database's aware datetimes, exactly."""

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def moment(time_ms: int) -> datetime:
    """
    >>> moment(1_621_425_600_001).isoformat()
    '2021-05-19T12:00:00.001000+00:00'
    """
    return _EPOCH + time_ms * _MILLISECOND


def epoch_us(time: datetime) -> int:
    """
    >>> epoch_us(moment(1_621_425_600_001))
    1621425600001000
    """
    return (time - _EPOCH) // timedelta(microseconds=1)


def epoch_ms(time: datetime) -> int:
    """
    >>> epoch_ms(moment(1_621_425_600_001))
    1621425600001
    """
    return (time - _EPOCH) // _MILLISECOND
