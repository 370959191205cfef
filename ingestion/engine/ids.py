"""Ids of anomalies: made of what they are about, so that the same recording gives the same ids."""

import hashlib
import re
from typing import Final

from market.wire.messages import Alert, Anomaly, MarketStress, MarketType, SectorAnomaly, SynchronizedMovement

# A symbol may have an alert of its own, one as a part of a market incident and one as a part of a sector's.
MARKET_PART: Final = ".MARKET"
SECTOR_PART: Final = ".SECTOR"
_LONGEST: Final = 80


def anomaly_id(subject: str, interval: str, opened_at: int, venue: str) -> str:
    """A unique and readable id, the same for the same recording: `BTCUSDT.1m.1621425600000.binance`.

    `subject` is one of `subjects`; `opened_at` (epoch ms) is the timestamp of the first revision. An id that would be
    longer than 80 characters, or need other letters, is a hash instead.
    """
    text = re.sub(r"[^A-Za-z0-9_.:\-]", "-", f"{subject}.{interval}.{opened_at}.{venue}")
    if len(text) <= _LONGEST and text.startswith(subject) and text[0].isalnum():
        return text
    return hashlib.blake2b(f"{subject}\0{text}".encode(), digest_size=16).hexdigest()


def subjects(anomaly: Anomaly) -> tuple[str, ...]:
    """What the id of such an anomaly may begin with."""
    match anomaly:
        case Alert():
            return anomaly.symbol, anomaly.symbol + MARKET_PART, anomaly.symbol + SECTOR_PART
        case SectorAnomaly():
            return (sector_subject(anomaly.sector),)
        case SynchronizedMovement():
            return (MarketType.SYNCHRONIZED_MOVEMENT,)
        case MarketStress():
            return (MarketType.MARKET_STRESS,)


def sector_subject(sector: str) -> str:
    return f"{MarketType.SECTOR_ANOMALY}.{sector}"
