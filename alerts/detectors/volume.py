"""VOLUME: how many times the usual volume is being traded.

Volume is counted in the base asset (quote volume over the last price): a price that halves does not halve the trading.
The surge is the largest rate of the last 5 min, the last 15, and the last minute, which counts half (a minute varies
more than five), over the median of the 5-min volumes of the last 12 h, and over what the price's own range in that
window explains: volume goes with moves, so 10 times the volume in 3 times the usual range is no news beside the move,
which other methods tell; in the usual range it is. A range x times the usual one (the median 15-min range of 12 h, by
√time) explains x^1.5. In messages both volumes are quote volumes at the last price, of 5 min, and the score is how many
times the usual it was. It is unusual from 3.5 robust standard deviations of the log volume on, each taken for 0.7 at
least; when the whole market trades more, that is no news about one symbol. As the `gate` of big moves the last minute
counts in full, and no range explains anything.

A pair's own time of day raises or lowers what is usual: for every hour (UTC), the mean of how far the log volume was
from its median, over the days (half-life 3), starting from nothing: a day counts a fifth of what it shows, a week four
fifths. What is more than 2 from the median teaches as much as 2, so that no single day's surge becomes a habit.
Parameters: 12 h, deviations, 1.5, 3 days. Warm-up: 2 buckets. Sources: volume event studies (Ajinkya & Jain, 1989: log
volume is close to normal), with median and MAD (Iglewicz & Hoaglin, 1993) so that a surge does not widen its own
baseline; intraday seasonality as a factor of its own: Andersen & Bollerslev (1997).
"""

from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from alerts.detectors.base import Scores, due
from alerts.detectors.surge import surge_scores
from alerts.detectors.volatility import Volatility
from market.detectors.panel import Floats, Panel, widened
from market.detectors.snapshot import Stateful
from market.detectors.statistics import Samples, bounded, decay, largest, median
from market.detectors.synchronized import MarketView
from market.wire.messages import Method
from market.wire.quotes import worth

BUCKET_MS: Final = 5 * 60_000
BUCKETS: Final = 144
NEEDED: Final = 2
DEVIATIONS: Final = 3.5
SMALLEST_SPREAD: Final = 0.7
# A range x times the usual one explains a volume of x to this power.
EXPLAINED: Final = 1.5
# In US dollars, about. A turnover below this per bucket is no market; it keeps ratios of dead pairs finite and dull.
SMALLEST_TURNOVER: Final = 50.0
FURTHEST_LOG_PRICE: Final = 300.0
# A symbol is young for its first 3 h (buckets). What the middle one of at least 8 others usually trades weighs as much
# as 3 h of its own.
GROWN: Final = 36
BORROWED: Final = 36.0
LEAST_PEERS: Final = 8
# Nobody can say of what has no usual volume that it trades so much more out of nowhere.
MOST_BORROWED: Final = 100.0
HOUR_MS: Final = 3_600_000
HOURS: Final = 24
HABIT_HALF_LIFE_DAYS: Final = 3
HABIT_BOUND: Final = 2.0


class Volume(Stateful):
    method: ClassVar[Method] = Method.VOLUME
    KEPT = ("samples", "habit", "next_sample")

    def __init__(
        self, panel: Panel, volatility: Volatility, deviations: float = DEVIATIONS, samples: int = BUCKETS
    ) -> None:
        self.volatility = volatility
        self.deviations = deviations
        self.samples = Samples(samples)
        # Per horizon: what turns its turnover into one per bucket.
        self.rate = (BUCKET_MS / panel.horizon_ms)[:, None]
        self.share = np.where(panel.horizon_ms < BUCKET_MS, 0.5, 1.0)[:, None]
        used = [int(np.argmin(np.abs(panel.horizon_ms - ms))) for ms in (60_000, BUCKET_MS, 3 * BUCKET_MS)]
        self.used = np.array(sorted(set(used)))
        self.bucket = int(np.argmin(np.abs(panel.horizon_ms - BUCKET_MS)))
        self.period = max(BUCKET_MS, panel.bar_ms)
        self.next_sample = 0
        # Of the listed pairs.
        self.smallest: Floats = np.zeros(0)
        # By hour of the day (24, n): what it adds to the log volume.
        self.habit: NDArray[np.float32] = np.zeros((HOURS, 0), dtype=np.float32)
        self.keep = decay(HABIT_HALF_LIFE_DAYS * HOUR_MS, self.period)
        # Of the last batch: the largest rate over the usual one, every window in full (n,).
        self.gate: Floats = np.zeros(0)
        # Of the last batch: columns whose gate is against what others usually trade.
        self.lent: NDArray[np.intp] = np.zeros(0, dtype=np.intp)
        # Largest rate over 5 and 15 min in US dollars per bucket, and the same of the usual one (NaN: unknown).
        self.traded: Floats = np.zeros(0)
        self.usually: Floats = np.zeros(0)

    def widen(self, columns: int) -> None:
        self.samples.widen(columns)
        self.habit = widened(self.habit, columns)

    def score(self, panel: Panel, market: MarketView | None) -> Scores:
        rates = panel.turnover[self.used] * self.rate[self.used]
        ready = panel.current & (self.samples.count >= NEEDED)
        log_price = self._log_price(panel)
        usual = np.exp(np.where(ready, self.samples.median + log_price, 0.0))
        self.gate = np.where(ready & panel.fresh, rates.max(axis=0) / usual, 0.0)
        dollars = SMALLEST_TURNOVER / self._smallest(panel)
        self.usually = np.where(ready, usual * dollars, np.nan)
        self._borrow(panel, rates.max(axis=0) * dollars)
        self.traded = np.where(self.share[self.used] < 1.0, 0.0, rates).max(axis=0) * dollars
        self.volatility.observe(panel)
        beyond = self.volatility.beyond_usual(panel, panel.horizon_ms[self.used])
        weight = self.share[self.used] * np.exp(-EXPLAINED * beyond)
        best = largest(rates * weight)
        value = rates[best, np.arange(len(best))]
        offset = self.habit[self._hour(panel)] + log_price
        chosen = weight[best, np.arange(len(best))]
        return surge_scores(
            panel, value, self.used[best], self.samples, ready, self.deviations, offset, chosen, SMALLEST_SPREAD
        )

    def _borrow(self, panel: Panel, rates: Floats) -> None:
        """The gate of young symbols: against what the middle one of the others usually trades, too.

        rates (n,): the largest, in US dollars per bucket.
        """
        self.lent = np.zeros(0, dtype=np.intp)
        count = self.samples.count
        young = np.flatnonzero(panel.fresh & (count < GROWN))
        known = self.usually[(count >= GROWN) & ~np.isnan(self.usually)] if len(young) else self.usually[:0]
        if len(known) < LEAST_PEERS:
            return
        middle, own, weight = float(np.log(median(known))), np.log(self.usually[young]), count[young]
        blended = np.where(np.isnan(own), middle, (weight * own + BORROWED * middle) / (weight + BORROWED))
        borrowed = np.minimum(rates[young] / np.exp(np.fmin(own, blended)), MOST_BORROWED)
        more = borrowed > self.gate[young]
        self.lent = young[more]
        self.gate[self.lent] = borrowed[more]

    def learn(self, panel: Panel, market: MarketView | None) -> None:
        now, self.next_sample = due(panel, self.next_sample, self.period)
        if now:
            turnover = np.maximum(panel.turnover[self.bucket] * self.rate[self.bucket], self._smallest(panel))
            logs = np.log(turnover) - self._log_price(panel)
            grown = panel.current & (panel.age >= panel.horizon_bars[self.bucket])
            habit = self.habit[self._hour(panel)]
            off = bounded(logs - self.samples.median, -HABIT_BOUND, HABIT_BOUND)
            known = grown & (self.samples.count >= NEEDED)
            habit[known] = self.keep * habit[known] + (1 - self.keep) * off[known]
            self.samples.add(logs, grown)

    def _smallest(self, panel: Panel) -> Floats:
        """(n,): `SMALLEST_TURNOVER` in what each pair is quoted in."""
        known = len(self.smallest)
        if known < len(panel.symbols):
            new = [SMALLEST_TURNOVER / worth(symbol) for symbol in panel.symbols[known:]]
            self.smallest = np.concatenate([self.smallest, new])
        return widened(self.smallest, panel.capacity, SMALLEST_TURNOVER)

    @staticmethod
    def _log_price(panel: Panel) -> Floats:
        # What a bad tick of 1e300 would otherwise make infinite.
        log_price: Floats = bounded(panel.log_close[panel.slot], -FURTHEST_LOG_PRICE, FURTHEST_LOG_PRICE)
        return log_price

    @staticmethod
    def _hour(panel: Panel) -> int:
        return (panel.close_time - 1) // HOUR_MS % HOURS
