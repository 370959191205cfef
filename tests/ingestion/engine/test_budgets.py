"""`ALERTS_PER_DAY`: as many alerts as asked for, from the first candle on, whoever comes and goes."""

import msgspec
import numpy as np
import pytest

from alerts.detectors.explanation import checks
from ingestion.engine.engine import Engine
from market.detectors.snapshot import pack, unpack
from market.wire.messages import Alert, Severity
from tests.ingestion.engine.events import without
from tests.market.recordings import START_MS, Returns, names, recording


def test_what_is_told_of_a_batch_is_by_the_limits_it_was_judged_by() -> None:
    engine, moved = Engine("test", "5m", {}), 0
    first, *batches = recording(20, 30, "5m")
    engine.update(first, first.close_time)
    for batch in batches:
        before = engine.bank.calibration.limits.copy()
        engine.update(batch, batch.close_time)
        np.testing.assert_array_equal(engine.bank.limits, before)
        moved += bool((engine.bank.calibration.limits != before).any())
    assert moved > 2


def test_the_first_half_hour_keeps_to_the_budget() -> None:
    def opened(alerts_per_day: dict[str, float]) -> int:
        engine = Engine("test", "1m", {}, alerts_per_day=alerts_per_day)
        some = [a for batch in recording(60, 40, inject=early) for a in engine.update(batch, batch.close_time)]
        return len({a.id for a in some if isinstance(a, Alert) and a.severity is Severity.LOW})

    def early(returns: Returns, volumes: Returns) -> None:
        returns[20:30] += np.diag(np.full(60, 0.006))[:10]

    assert opened({}) >= 5
    assert opened({"LOW": 0.5}) == opened({"LOW": 0.0}) == 0


@pytest.mark.parametrize("first", [60, 10, 0])
def test_the_first_limits_are_those_of_all_that_trade(first: int) -> None:
    """However few of them trade in the first candle."""
    engine = Engine("test", "1m", {}, alerts_per_day={"LOW": 6.0})
    for number, batch in enumerate(recording(60, 4)):
        engine.update(batch if number else without(batch, set(names(60)[first:])), batch.close_time)
    low, medium = engine.bank.limits
    # One alert of ten symbols a day: by the prior, rates fall with the cube of the strength.
    assert low.tolist() == pytest.approx([0.8 * 10 ** (1 / 3)] * len(low), rel=0.01)
    assert medium.tolist() == pytest.approx([1.1 * limit for limit in low], rel=0.01)


@pytest.mark.parametrize("first", [20, 5, 0])
@pytest.mark.parametrize("now", [{}, {"LOW": 10.0}])
def test_a_silence_of_a_day_leaves_the_universe_as_it_was(first: int, now: dict[str, float]) -> None:
    batches = list(recording(20, 600, "5m"))
    engine = Engine("test", "5m", {})
    for batch in batches:
        engine.update(batch, batch.close_time)
    other = Engine("test", "5m", {}, alerts_per_day=now)
    other.restore(unpack(pack(engine.snapshot())))
    back = without(batches[-1], set(names(20)[first:]))
    other.update(msgspec.structs.replace(back, close_time=back.close_time + 25 * 3_600_000), 0)
    assert other.bank.calibration.listed == 20
    assert (other.bank.limits[0] == engine.bank.calibration.limits[0]).all() == (not now)


@pytest.mark.parametrize("now", [{}, {"HIGH": 50.0}])
def test_a_budget_that_is_not_asked_for_any_more_ends_with_the_next_start(now: dict[str, float]) -> None:
    batches = list(recording(20, 600, "5m"))
    engine = Engine("test", "5m", {}, alerts_per_day={"LOW": 300.0, "HIGH": 0.01, "CRITICAL": 0.001})
    for batch in batches[:-1]:
        engine.update(batch, batch.close_time)
    other = Engine("test", "5m", {}, alerts_per_day=now)
    other.restore(unpack(pack(engine.snapshot())))
    other.update(batches[-1], batches[-1].close_time)
    limits, sizes = other.bank.limits, other.bank.sizes
    assert (limits[0] > engine.bank.limits[0]).all()
    assert sizes.tolist() == ([1.0, 1.7] if not now else [0.8, 1.7])


def test_who_was_delisted_has_no_part_in_the_budget() -> None:
    """As many alerts a day of twelve symbols, whether or not there were sixty of them once."""

    def a_day(days_of_sixty: int) -> float:
        few = set(names(60)[12:])
        found = []
        engine = Engine("test", "5m", {})
        for number, batch in enumerate(recording(60, (days_of_sixty + 5) * 288, "5m", seed=3)):
            batch = batch if number < days_of_sixty * 288 else without(batch, few)
            found += engine.update(batch, batch.close_time)
        since = START_MS + (days_of_sixty + 2) * 86_400_000
        return sum(isinstance(a, Alert) and a.revision == 1 and a.timestamp > since for a in found) / 3

    assert a_day(3) < 2 * a_day(0)


@pytest.mark.parametrize("asked", [3, 12, 60])
def test_as_many_alerts_a_day_as_asked_for(asked: int) -> None:
    """A week of 5-min candles that the engine never saw; the first day it still finds out."""
    engine = Engine("test", "5m", {}, alerts_per_day={Severity.LOW: asked})
    opened = [
        a
        for batch in recording(30, 7 * 288, "5m", seed=3)
        for a in engine.update(batch, batch.close_time)
        if isinstance(a, Alert) and a.revision == 1 and a.incident is None
    ]
    assert all(checks(a) for a in opened)
    assert [(a.id, check) for a in opened for check in checks(a) if not check.holds] == []
    after_a_day = [a for a in opened if a.timestamp > START_MS + 86_400_000]
    assert 0.7 * asked <= len(after_a_day) / 6 <= 1.3 * asked
