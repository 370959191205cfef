"""How many requests a token may send: a bucket for each, in every process."""

import time
from collections.abc import Callable
from typing import Any, Final

from rest_framework.throttling import AnonRateThrottle

from anomaly_site.access.tokens import Grant

_MOST: Final = 10_000


class Rates:
    """Buckets of tokens: a rate per second, twice that at once. `clock`: monotonic seconds.

    Two requests in the same instant, in two threads, may count as one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[int, tuple[float, float]] = {}

    def wait_s(self, grant: Grant) -> float:
        """Take one request; 0 if it is within the rate, else the seconds to wait."""
        rate = default_rate() if grant.rate is None else grant.rate
        now = self._clock()
        left, at = self._buckets.get(grant.id, (max(1.0, 2 * rate), now))
        left = min(max(1.0, 2 * rate), left + (now - at) * rate)
        if len(self._buckets) >= _MOST:
            self._buckets.clear()
        self._buckets[grant.id] = (left - 1 if left >= 1 else left), now
        return 0.0 if left >= 1 else (1 - left) / rate if rate else 60.0


def default_rate() -> float:
    """API_RATE, in requests per second."""
    of_address: Any = AnonRateThrottle()
    return float(of_address.num_requests / of_address.duration)


RATES: Final = Rates()
