"""An ordinary market, second by second: what the simulated source plays when nothing unusual happens.

Log returns follow a factor model, r_i = β_i·m + Σ_s λ_is·f_s + e_i, with one market factor, one factor per sector and
one per symbol. Every factor has Student-t innovations and a GARCH(1,1) variance (Bollerslev 1986), so that calm and
busy minutes come in clusters. A faint pull towards the starting price, far below what a second's noise shows, keeps
prices believable for weeks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Standard deviations of one second; 1e-4 is about 55 % a year.
MARKET_SIGMA: Final = 1.0e-4
SECTOR_SIGMA: Final = 0.5e-4
SYMBOL_SIGMA: Final = (1.0e-4, 2.5e-4)  # the largest coin … the smallest

_DEGREES_OF_FREEDOM: Final = 7.0
_LARGEST_INNOVATION: Final = 12.0
_ARCH: Final = 0.06
_GARCH: Final = 0.92
_PULL_S: Final = 2 * 3600.0

# Dollars a day of the largest coin; the others follow by Zipf's law.
_LARGEST_TURNOVER: Final = 3.0e10
_TURNOVER_EXPONENT: Final = 1.15
_VOLUME_SIGMA: Final = 0.55
_BUSIEST_HOUR_UTC: Final = 15.0

# Another venue of the same market: its prices are apart by a few hundredths of a percent, which come and go within
# minutes, and jitter by less.
_BASIS_SIGMA: Final = 3.0e-4
_BASIS_S: Final = 120.0
_JITTER_SIGMA: Final = 2.0e-5
_VENUE_VOLUME: Final = (0.2, 0.9)  # its share of the first venue's, by symbol
_VENUE_VOLUME_SIGMA: Final = 0.4
_DAILY_SWING: Final = 0.4

# Dollars of a usual trade, and how far a second's return (in its own σ) moves the takers' share of buying from a half.
_TRADE_WORTH: Final = 400.0
_TAKER_SWING: Final = 0.2
_TAKER_NOISE: Final = 0.08
_TAKER_MOST: Final = 0.97


@dataclass(frozen=True)
class Influence:
    """What events add to the ordinary course of `n` seconds.

    drift: log return added, shape (n, symbols). noise: factor on the symbols' own volatility, and volume: factor on
    the volume, same shape. market_noise: factor on the market factor's volatility, shape (n, 1).
    """

    drift: Floats
    noise: Floats
    volume: Floats
    market_noise: Floats

    @classmethod
    def none(cls, seconds: int, symbols: int) -> "Influence":
        shape = (seconds, symbols)
        return cls(np.zeros(shape), np.ones(shape), np.ones(shape), np.ones((seconds, 1)))


@dataclass(frozen=True)
class ModelCandles:
    """One-second candles, every column of shape (seconds, symbols); volume in base units.

    trades: how many there were; taker_buy: what takers bought, base units.
    """

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    trades: NDArray[np.int64]
    taker_buy: Floats


class MarketModel:
    """Holds the state of the market; `advance` moves it on. Equal arguments and calls give equal bits."""

    def __init__(
        self,
        prices: Floats,
        membership: NDArray[np.bool_],
        rng: np.random.Generator,
        flow_rng: np.random.Generator | None = None,
    ) -> None:
        """prices: starting prices, largest coin first, shape (symbols,). membership: shape (symbols, sectors).

        `flow_rng` draws the trades, so that prices and volumes do not depend on them.
        """
        count = len(prices)
        self._rng = rng
        self._flow = Flow(flow_rng or np.random.default_rng(0))
        self._anchor = np.log(prices)
        self._level = self._anchor.copy()
        self._sectors = membership.shape[1]
        self._loading = membership / np.sqrt(np.maximum(membership.sum(axis=1, keepdims=True), 1))
        self.beta: Floats = np.clip(rng.normal(1.05, 0.15, count), 0.6, 1.5)
        size = np.arange(count) / max(count - 1, 1)  # 0 the largest … 1 the smallest
        self._own_sigma = SYMBOL_SIGMA[0] + (SYMBOL_SIGMA[1] - SYMBOL_SIGMA[0]) * size * rng.uniform(0.6, 1.4, count)
        # What a symbol does beyond the market in a minute, as a standard deviation.
        in_sectors = SECTOR_SIGMA * np.linalg.norm(self._loading, axis=1)
        self.sigma: Floats = np.sqrt(60) * np.hypot(self._own_sigma, in_sectors)
        self._variance = np.ones(1 + self._sectors + count)  # of each factor, relative to its usual one
        turnover = _LARGEST_TURNOVER / (np.arange(count) + 1.0) ** _TURNOVER_EXPONENT / 86_400
        self._usual_volume = turnover * rng.lognormal(0, 0.3, count) / prices
        # Powers of ten that a price and a volume are whole multiples of: six significant digits, as venues quote.
        self._price_scale = _scale(prices, digits=6)
        self._volume_scale = _scale(self._usual_volume, digits=4)

    def advance(self, influence: Influence, hour_utc: Floats) -> ModelCandles:
        """The next seconds, as many as `influence` covers. hour_utc: hour of the day, 0–24, shape (seconds,)."""
        shocks, deviation = self._shocks(len(hour_utc))
        market, sector, symbol = np.split(shocks, [1, 1 + self._sectors], axis=1)
        own_noise = self._own_sigma * influence.noise
        market_noise = MARKET_SIGMA * influence.market_noise * self.beta
        returns = (
            market * market_noise
            + sector * SECTOR_SIGMA @ self._loading.T
            + symbol * own_noise
            + influence.drift
            + (self._anchor - self._level) / _PULL_S
        )
        path = self._level + np.cumsum(returns, axis=0)
        before = np.vstack([self._level, path[:-1]])
        self._level = path[-1]

        sigma = np.hypot(
            own_noise * deviation[:, 1 + self._sectors :],
            market_noise * deviation[:, :1],
        )
        above, below = self._extremes(returns, sigma)
        open_, high, low, close = (
            self.quoted(np.exp(level)) for level in (before, before + above, before + below, path)
        )
        volume = self._volumes(symbol, deviation, influence, hour_utc)
        trades, taker_buy = self._flow.of(volume, close, returns / sigma)
        return ModelCandles(open_, high, low, close, volume, trades, taker_buy)

    def quoted(self, prices: Floats) -> Floats:
        """Prices as a venue quotes them: six significant digits of the starting price."""
        rounded: Floats = np.maximum(np.round(prices * self._price_scale), 1.0) / self._price_scale
        return rounded

    def quoted_volume(self, volume: Floats) -> Floats:
        rounded: Floats = np.maximum(np.round(volume * self._volume_scale), 1.0) / self._volume_scale
        return rounded

    def _shocks(self, seconds: int) -> tuple[Floats, Floats]:
        """Every factor's return and standard deviation, both relative to its usual standard deviation.

        Shapes (seconds, 1 + sectors + symbols).
        """
        spread = np.sqrt(_DEGREES_OF_FREEDOM / (_DEGREES_OF_FREEDOM - 2))
        shocks = self._rng.standard_t(_DEGREES_OF_FREEDOM, size=(seconds, len(self._variance))) / spread
        np.clip(shocks, -_LARGEST_INNOVATION, _LARGEST_INNOVATION, out=shocks)
        deviation = np.empty_like(shocks)
        variance = self._variance
        for second in range(seconds):
            deviation[second] = np.sqrt(variance)
            shocks[second] *= deviation[second]
            variance = (1 - _ARCH - _GARCH) + _ARCH * shocks[second] ** 2 + _GARCH * variance
        self._variance = variance
        return shocks, deviation

    def _extremes(self, returns: Floats, sigma: Floats) -> tuple[Floats, Floats]:
        """How far a Brownian path from 0 to `returns` within the second goes above (≥ 0) and below (≤ 0) its start.

        Exact for each of the two (the maximum of a Brownian bridge has a closed inverse), independent of each other.
        """
        uniform = 1.0 - self._rng.random((2, *returns.shape))  # in (0, 1]: the logarithm stays finite
        reach = np.sqrt(returns**2 - 2 * sigma**2 * np.log(uniform))
        return (returns + reach[0]) / 2, (returns - reach[1]) / 2

    def _volumes(self, symbol: Floats, deviation: Floats, influence: Influence, hour_utc: Floats) -> Floats:
        """Log-normal, busier in the afternoon (UTC), in busy minutes, and in seconds that move the price."""
        hours = 1 + _DAILY_SWING * np.cos(2 * np.pi * (hour_utc - _BUSIEST_HOUR_UTC) / 24)
        busy = np.sqrt(deviation[:, :1] * deviation[:, 1 + self._sectors :])
        moved = 0.6 + 0.5 * np.abs(symbol)
        chance = np.exp(self._rng.normal(-(_VOLUME_SIGMA**2) / 2, _VOLUME_SIGMA, symbol.shape))
        volume = self._usual_volume * hours[:, None] * busy * moved * chance * influence.volume
        return self.quoted_volume(volume)


class Flow:
    """Trades of a second: more of them where more is traded, and rises are bought, falls sold."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def of(self, volume: Floats, price: Floats, moved: Floats) -> tuple[NDArray[np.int64], Floats]:
        """The number of trades (at least one), and what takers bought of `volume` (base units).

        moved: the second's return in its own standard deviation.
        """
        trades = 1 + self._rng.poisson(np.minimum(volume * price / _TRADE_WORTH, 1e6))
        swing = _TAKER_SWING * moved + self._rng.normal(0, _TAKER_NOISE, volume.shape)
        share = np.clip(0.5 + swing, 1 - _TAKER_MOST, _TAKER_MOST)
        return trades, np.round(volume * share, 12)


class OtherVenue:
    """The same market on another venue: its own volumes, and prices that follow with a basis of some basis points.

    The basis of each symbol reverts to zero (Ornstein-Uhlenbeck, exact for steps of a second).
    """

    def __init__(
        self, model: MarketModel, symbols: int, rng: np.random.Generator, flow_rng: np.random.Generator | None = None
    ) -> None:
        self._model = model
        self._flow = Flow(flow_rng or np.random.default_rng(0))
        self._rng = rng
        self._basis: Floats = rng.normal(0, _BASIS_SIGMA, symbols)
        self._level = self._basis.copy()  # with jitter
        self._share = rng.uniform(*_VENUE_VOLUME, symbols)

    def follow(self, candles: ModelCandles) -> ModelCandles:
        """What the next candles of the first venue are here."""
        shape = candles.close.shape
        keep = np.exp(-1 / _BASIS_S)
        steps = self._rng.normal(0, _BASIS_SIGMA * np.sqrt(1 - keep**2), shape)
        jitter = self._rng.normal(0, _JITTER_SIGMA, shape)
        after = np.empty(shape)
        for second, step in enumerate(steps):
            self._basis = keep * self._basis + step
            after[second] = self._basis + jitter[second]
        before = np.vstack([self._level, after[:-1]])
        self._level = after[-1]
        share = self._share * self._rng.lognormal(-(_VENUE_VOLUME_SIGMA**2) / 2, _VENUE_VOLUME_SIGMA, shape)
        open_, high, low, close = (
            self._model.quoted(price * np.exp(basis))
            for price, basis in (
                (candles.open, before),
                (candles.high, np.maximum(before, after)),
                (candles.low, np.minimum(before, after)),
                (candles.close, after),
            )
        )
        volume = self._model.quoted_volume(candles.volume * share)
        moved = np.log(close / open_) / np.maximum(np.log(candles.high / candles.low), _JITTER_SIGMA)
        trades, taker_buy = self._flow.of(volume, close, moved)
        return ModelCandles(open_, high, low, close, volume, trades, taker_buy)


def _scale(usual: Floats, *, digits: int) -> Floats:
    decimals: Sequence[float] = np.maximum(digits - 1 - np.floor(np.log10(usual)), 0).tolist()
    # float("1e5") is exact; numpy's power may be off by a bit and then 0.1 comes out as 0.10000000000000002.
    return np.array([float(f"1e{decimal:.0f}") for decimal in decimals])
