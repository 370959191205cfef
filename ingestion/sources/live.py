"""A live venue: the connection is kept alive, ticks become candles, gaps are marked."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ingestion.candles.building import MAX_AHEAD_MS, MAX_SKEW_MS, CandleBuilder, Resampler, VenueClock
from ingestion.sources.base import Clock, SourceError, Traffic, WallClock
from ingestion.sources.clock_offset import ClockOffset
from ingestion.sources.link import Link, Rows, load_ccxt
from ingestion.sources.venues import Market, Venue, chosen, tradable
from ingestion.stream.background import unless_stopped
from ingestion.stream.backoff import backoff
from market.wire.messages import CandleBatch, SourceKind, interval_ms

logger = logging.getLogger(__name__)

INTERVALS: Final = ("1s", "1m", "5m")
# A venue with whole-market tickers is asked for single trades up to so many named symbols: they tell more.
TRADES_UP_TO: Final = 100
# Candles of the past to begin with, per interval of theirs.
HISTORY: Final = {"1s": 900, "1m": 240, "5m": 240}
# After a longer silence the venue's history fills the gap.
REWARM_AFTER_MS: Final = 90_000
# So many symbols together always trade within seconds. Fewer may be quiet, and then any frame is a sign of life.
BUSY_FROM: Final = 20
_POLL_S: Final = 0.05


@dataclass(frozen=True)
class Timing:
    """Seconds. An interval is closed `grace` after its end, for ticks that travel longer than the fastest; a link
    without a tick for `stalled` is made anew (of a few quiet symbols: without any frame for `silent`; ccxt's own pings
    find a dead line sooner); one older than `rollover` is replaced before the venue ends it."""

    grace: float = 0.25
    stalled: float = 20.0
    silent: float = 300.0
    rollover: float = 23 * 3600.0
    listings: float = 600.0
    history: float = 12.0
    retry_first: float = 1.0
    retry_cap: float = 60.0


class LiveSource:
    """The candles of one venue: history first, then each batch as soon as it is closed, without an end.

    Ticks go straight into the candles, so the backlog is at most symbols × `ingestion.candles.building.MAX_OPEN`
    intervals.
    """

    kind = SourceKind.LIVE
    progress = None
    reason = ""

    def __init__(
        self,
        venue: Venue,
        *,
        symbols: Sequence[str] = (),
        quote: str = "",
        top: int | None = None,
        interval: str = "1s",
        url: str = "",
        timing: Timing = Timing(),
        clock: Clock | None = None,
        raw: Callable[[str], None] | None = None,
    ) -> None:
        """`symbols`: only these, in our spelling. `top`: the largest so many by turnover. `url`: another server that
        speaks the venue's protocol. `raw` gets every frame. Raises `SourceError`."""
        if interval not in INTERVALS:
            raise SourceError(f"interval {interval!r}: one of {', '.join(INTERVALS)}")
        if top is not None and top < 1:
            raise SourceError(f"top {top}: must be at least 1")
        self.venue = venue.name
        self.interval = interval
        self.warming = True
        self.traffic = Traffic()
        self.trouble = ""  # why there is no connection; empty while there is one
        self._venue = venue
        self._only = tuple(symbols)
        self._quote = quote or venue.quote
        self._top = top
        self._url = url
        self._timing = timing
        self._clock = clock or WallClock()
        self._raw = raw
        self._whole = venue.whole_market and not 0 < len(self._only) <= TRADES_UP_TO and (top or 10_000) > TRADES_UP_TO
        self._markets: Mapping[str, Market] | None = None
        self._turnover: dict[str, float] = {}
        self._watched: dict[str, str] = {}  # ccxt's symbol → ours
        self._doubtful = True  # whether what is watched must be chosen from fresh markets
        self._candles = CandleBuilder(self.venue)
        self._unreadable = 0
        self._venue_clock = VenueClock()
        self._offset = ClockOffset()
        self._resampler: Resampler | None = None
        self._history: Iterator[CandleBatch] | None = None
        self._holding = True  # live candles wait for the history before them
        self._last_close = 0
        self._last_tick_ms = 0
        self._link: Link | None = None
        self._ending: set[asyncio.Task[None]] = set()  # links that were replaced

    @property
    def symbols(self) -> Sequence[str]:
        return sorted(self._watched.values())

    def describe(self) -> str:
        which = f"{len(self._only)} symbols" if self._only else f"all {self._quote} pairs"
        if self._top is not None or not (self._only or self._whole):
            which = f"the {self._top or self._venue.top} largest {self._quote} pairs"
        how = "tickers of the whole market" if self._whole else "trades"
        return f"live from {self.venue}: {which}, {self.interval} candles from {how}"

    async def probe(self, within_s: float) -> None:
        """Check that the venue can be reached, and keep its markets. Raises `SourceError` with the reason."""
        link = Link(self._venue, self, url=self._url)
        try:
            if self._venue.host and not self._url:
                # Without a network this says so at once, and ccxt need not be loaded.
                _, writer = await asyncio.wait_for(asyncio.open_connection(self._venue.host, 443), within_s)
                writer.close()
            await asyncio.to_thread(load_ccxt)
            self._markets = await asyncio.wait_for(link.open(), within_s)
        except (OSError, TimeoutError) as error:
            why = str(error) or f"no answer in {within_s:g} s"
            raise SourceError(f"{self.venue} cannot be reached", why) from error
        finally:
            await link.close()

    async def batches(self) -> AsyncIterator[CandleBatch]:
        """Raises `SourceError` when the venue has none of the symbols that were asked for."""
        keeper = asyncio.create_task(self._stay_connected(), name=f"{self.venue} link")
        try:
            while True:
                if keeper.done():
                    keeper.result()
                if self._history is not None:
                    history, self._history = self._history, None
                    newest = self._last_close  # the history may be empty
                    for batch in history:
                        self.warming = True
                        newest = batch.close_time
                        yield batch
                        await asyncio.sleep(0)  # a large market's batches take a while to make
                    self._last_close = newest
                    self._holding = self._history is not None
                if not self._holding:
                    until = self._venue_clock.now_ms(self._clock.now_ms()) - round(self._timing.grace * 1_000)
                    for fine in self._candles.close_until(until):
                        for batch in self._coarse(fine):
                            self.warming = False
                            self._last_close = batch.close_time
                            yield batch
                self._count()
                await self._clock.sleep(_POLL_S)
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            self._count()  # what came since the last round

    def _coarse(self, batch: CandleBatch) -> list[CandleBatch]:
        return [batch] if self._resampler is None else self._resampler.add(batch)

    # --- Ticks: either trades or tickers, or volume would count twice -----------------------------------------------

    def trade(self, symbol: str, time_ms: int, price: float, amount: float, trade_id: str, buy: bool | None) -> None:
        if not self._whole and (ours := self._watched.get(symbol)) and self._in_time(time_ms):
            self._candles.trade(ours, time_ms, price, amount, trade_id, buy=buy)

    def ticker(self, symbol: str, time_ms: int, price: float, rolling_volume: float | None) -> None:
        if self._whole and (ours := self._watched.get(symbol)) and self._in_time(time_ms):
            self._candles.ticker(ours, time_ms, price, rolling_volume)

    def unreadable(self) -> None:
        self._unreadable += 1

    def _count(self) -> None:
        candles = self._candles
        self.traffic.outcomes = {
            "taken": candles.taken,
            "late": candles.late,
            "duplicate": candles.duplicates,
            "unusable": candles.unusable,
            "dropped": candles.dropped,
            "unreadable": self._unreadable,
        }

    def _in_time(self, time_ms: int) -> bool:
        now = self._clock.now_ms()
        self.traffic.ticks += 1
        self._last_tick_ms = now
        if self._offset.observe(time_ms, now):
            self._compare_clocks(now)
        if self._venue_clock.observe(time_ms, now):
            return True
        self._candles.unusable += 1
        return False

    def _compare_clocks(self, now: int) -> None:
        self.traffic.clock_ms = ahead_ms = self._offset.ahead_ms
        known_ms = now - self._venue_clock.now_ms(now)
        if ahead_ms is not None and ahead_ms < known_ms - MAX_AHEAD_MS and abs(ahead_ms) <= MAX_SKEW_MS:
            # Ten seconds of ticks from the future: this clock was set back. Without that, all would be refused.
            logger.warning("%s: this machine's clock was set back; venue times are estimated anew", self.venue)
            self._venue_clock = VenueClock()

    # --- The connection ---------------------------------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        """A link at all times; a new one whenever the old one breaks, after a growing, jittered pause."""
        delays = backoff(first_s=self._timing.retry_first, cap_s=self._timing.retry_cap)
        try:
            while True:
                connected_ms = self._clock.now_ms()
                try:
                    self._link = await self._connect()
                    self.trouble = ""
                    await self._go_live(self._link)
                    reason = await self._hold(self._link)
                except ConnectionError as error:
                    reason = str(error)
                self.trouble = reason
                self._break_off()
                await self._drop_link()
                if self._clock.now_ms() - connected_ms > self._timing.retry_cap * 1_000:
                    delays = backoff(first_s=self._timing.retry_first, cap_s=self._timing.retry_cap)
                delay = next(delays)
                logger.warning("%s: %s; connecting again in %.1f s", self.venue, reason, delay)
                await self._clock.sleep(delay)
                self.traffic.reconnects += 1
        finally:
            await self._drop_link()
            await asyncio.gather(*self._ending, return_exceptions=True)

    async def _drop_link(self) -> None:
        if self._link is not None:
            link, self._link = self._link, None
            await link.close()

    async def _connect(self) -> Link:
        """A link that delivers. Raises `ConnectionError`, or `SourceError` when there is nothing to watch."""
        markets = None if self._doubtful and self._watched else self._markets
        link = Link(self._venue, self, url=self._url, markets=markets, raw=self._raw)
        try:
            self._markets = await link.open()
            if self._doubtful:
                await self._choose(link)
            await link.subscribe(None if self._whole else list(self._watched))
            alive = link.first_tick if self._busy else link.first_frame
            await unless_stopped(link.lost, alive.wait(), within_s=self._timing.stalled)
            if not alive.is_set():
                raise ConnectionError(link.reason or f"no answer within {self._timing.stalled:g} s")
        except BaseException:
            self._doubtful = True  # what was delisted makes a subscription fail
            await link.close()
            raise
        self._doubtful = False
        return link

    async def _choose(self, link: Link) -> None:
        """Choose the symbols to watch. Raises `SourceError` when the venue has none of them and never had."""
        candidates = tradable(self._venue, self._markets or {}, self._quote)
        try:
            self._turnover = await link.turnover()
        except ConnectionError as error:
            logger.warning("%s: turnover could not be read (%s); symbols are not ranked by it", self.venue, error)
        top = self._top if self._top is not None or self._whole or self._only else self._venue.top
        watched = chosen(candidates, self._only, top, self._turnover)
        if missing := set(self._only) - set(watched.values()):
            logger.warning("%s has no %s market of %s", self.venue, self._quote, ", ".join(sorted(missing)))
        if not (watched or self._watched):
            raise SourceError(f"{self.venue} has none of the symbols asked for in {self._quote} (--symbols, --quote)")
        self._watched = watched or self._watched

    async def _hold(self, link: Link) -> str:
        """Keep the link until it breaks or stalls, and say why; replace it before it is too old or listings change."""
        opened = listed = heard = self._clock.now_ms()
        frames = 0
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(link.lost.wait(), min(1.0, self._timing.stalled / 4))
            now = self._clock.now_ms()
            if link.lost.is_set():
                return link.reason
            if link.frames != frames:
                frames, heard = link.frames, now
            if self._busy and now - self._last_tick_ms > self._timing.stalled * 1_000:
                return f"no tick for {self._timing.stalled:g} s"
            if now - heard > self._timing.silent * 1_000:
                return f"no message for {self._timing.silent:g} s"
            changed = False
            if now - listed > self._timing.listings * 1_000:
                listed = now
                changed = await self._listings_changed(link)
            if changed or now - opened > self._timing.rollover * 1_000:
                opened = now
                self._link = link = await self._replacement(link)

    async def _replacement(self, old: Link) -> Link:
        """A new link that delivers already when the old one ends; for a moment both do, and repetitions are dropped."""
        try:
            new = await self._connect()
        except ConnectionError as error:
            logger.warning("%s: the connection could not be renewed (%s); the old one stays in use", self.venue, error)
            return old
        ending = asyncio.create_task(self._end(old))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        logger.info("%s: connection renewed", self.venue)
        return new

    async def _end(self, old: Link) -> None:
        try:
            await old.close()
        except Exception as error:
            logger.warning("%s: the replaced connection did not close (%r)", self.venue, error)

    async def _listings_changed(self, link: Link) -> bool:
        """Look for listings and delistings; True when other subscriptions are needed."""
        before = set(tradable(self._venue, self._markets or {}, self._quote))
        try:
            self._markets = await link.reload()
        except ConnectionError as error:
            logger.warning("%s: listings could not be read (%s); trying again later", self.venue, error)
            return False
        after = set(tradable(self._venue, self._markets, self._quote))
        if before == after:
            return False
        watched = set(self._watched)
        await self._choose(link)
        for what, symbols in (("listed", after - before), ("delisted", before - after)):
            if symbols:
                logger.info("%s: %s %s", self.venue, what, ", ".join(sorted(symbols)[:20]))
        return not self._whole and watched != set(self._watched)

    @property
    def _busy(self) -> bool:
        return self._whole or len(self._watched) >= BUSY_FROM

    def _break_off(self) -> None:
        now = self._venue_clock.now_ms(self._clock.now_ms())
        self._candles.interrupt(now)
        if self._resampler is not None:
            self._resampler.interrupt(now)

    # --- History ----------------------------------------------------------------------------------------------------

    async def _go_live(self, link: Link) -> None:
        """Live candles begin with the next whole interval; after a long silence, history comes before them."""
        now = self._venue_clock.now_ms(self._clock.now_ms())
        start = now - now % 1_000 + 1_000
        self._candles.interrupt(start)
        if self.interval != "1s":
            if self._resampler is None:
                self._resampler = Resampler(self.interval, start)
            self._resampler.interrupt(start)
        if start - self._last_close <= max(REWARM_AFTER_MS, 3 * interval_ms(self.interval)):
            self._holding = False
            return
        self._holding = True
        await self._clock.sleep((start - now) / 1_000 + 0.5)
        self._history = await self._past(link, start)  # `batches` delivers it, and what is live after it

    async def _past(self, link: Link, until_ms: int) -> Iterator[CandleBatch]:
        """The venue's candles before `until_ms`, oldest first."""
        interval = self._venue.history if self.interval == "1s" else self.interval
        step = interval_ms(interval)
        since = until_ms // step * step - HISTORY[interval] * step
        found = await link.history(list(self._watched), interval, since, HISTORY[interval], self._timing.history)
        logger.info("%s: %s history of %d of %d symbols", self.venue, interval, len(found), len(self._watched))
        return _batches(self.venue, self.interval, step, until_ms, {self._watched[s]: r for s, r in found.items()})


def _batches(venue: str, interval: str, step: int, until_ms: int, candles: Mapping[str, Rows]) -> Iterator[CandleBatch]:
    """Candles by symbol → batches by close time, up to `until_ms`; a candle without its five numbers is left out.

    One batch at a time: a quarter of an hour of a large market is millions of numbers.
    """
    if not candles:
        return
    symbols = list(candles)
    rows = np.concatenate(list(candles.values()))
    of_symbol = np.repeat(np.arange(len(symbols)), [len(one) for one in candles.values()])
    close_ms = rows[:, 0] + step
    usable = np.flatnonzero(np.isfinite(rows).all(axis=1) & (close_ms <= until_ms))
    if not usable.size:
        return
    usable = usable[np.argsort(close_ms[usable], kind="stable")]
    times, starts = np.unique(close_ms[usable], return_index=True)
    for time_ms, together in zip(times.tolist(), np.split(usable, starts[1:]), strict=True):
        opened, high, low, close, volume = rows[together, 1:].T.tolist()
        yield CandleBatch(
            venue=venue,
            interval=interval,
            close_time=int(time_ms),
            symbols=[symbols[n] for n in of_symbol[together].tolist()],
            open=opened,
            high=high,
            low=low,
            close=close,
            volume=volume,
            history=True,
        )
