"""A burst of market buying is CRITICAL within seconds; what is not one changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import pytest

from alerts.detectors.explanation import checks
from ingestion.engine.engine import Engine
from market.detectors.snapshot import pack, unpack
from market.wire.messages import Alert, Anomaly, CandleBatch, Direction, Method, Severity, encode

T0 = 1_760_000_000_000
START_S = 1_500


@dataclass(frozen=True)
class Second:
    """What a second's trades of the pair are; `dollars` traded, of which takers bought `bought`."""

    price: float
    trades: int
    dollars: float
    bought: float


def calm(second: int) -> Second | None:
    """A trade of 40 dollars every 20 s."""
    return Second(1.0 + 0.001 * (second // 20 % 2), 1, 40.0, 0.5) if second % 20 == 0 else None


def pump(step: int, trades: int = 30, dollars: float = 6_000.0, bought: float = 0.9, rise: float = 0.03) -> Second:
    return Second(1.0 + rise * (step + 1), trades, dollars, bought)


def batches(seconds: Sequence[Second | None], start_s: int = 0) -> list[CandleBatch]:
    found = []
    for number, second in enumerate(seconds):
        if second is None:
            continue
        amount = second.dollars / second.price
        before = seconds[number - 1] if number else None
        open_ = before.price if before is not None else min(second.price, 1.001)
        found.append(
            CandleBatch(
                venue="v", interval="1s", close_time=T0 + (start_s + number + 1) * 1_000, symbols=["DEADUSDT"],
                open=[open_], high=[max(open_, second.price)], low=[min(open_, second.price)], close=[second.price],
                volume=[amount], trades=[second.trades], taker_buy=[amount * second.bought],
            )
        )  # fmt: skip
    return found


def run(engine: Engine, played: Sequence[CandleBatch]) -> list[Anomaly]:
    return [message for batch in played for message in engine.update(batch, batch.close_time)]


def critical(messages: Sequence[Anomaly]) -> list[Alert]:
    return [one for one in messages if isinstance(one, Alert) and one.severity is Severity.CRITICAL]


CALM = [calm(second) for second in range(START_S)]


def test_a_burst_in_a_pair_that_hardly_trades_is_critical_within_seconds() -> None:
    found = critical(run(Engine("v", "1s", {}), batches([*CALM, *map(pump, range(5))])))
    first = found[0]
    assert first.timestamp <= T0 + (START_S + 2) * 1_000
    assert (first.method, first.direction) == (Method.RESIDUAL, Direction.UP)
    assert "60 trades in 20\xa0s, takers bought 90\xa0% of $12" in first.explanation.sentence
    assert [check for check in checks(first) if not check.holds] == []
    assert {"move", "trades", "turnover", "taker buy"} <= {check.name for check in checks(first)}
    burst = first.explanation.parameters["burst"]
    wrong = {**first.explanation.parameters, "burst": {**burst, "trades_threshold": 5.0}}
    forged = msgspec.structs.replace(first, explanation=msgspec.structs.replace(first.explanation, parameters=wrong))
    assert [check.name for check in checks(forged) if not check.holds] == ["trades"]
    assert len({one.id for one in found}) == 1


def test_a_pair_that_was_silent_for_long_starts_from_its_first_trade() -> None:
    silent: list[Second | None] = [None] * 1_200
    before = Engine("v", "1s", {})
    run(before, batches(CALM))
    # The feed goes on with another pair.
    for second in range(0, 1_200, 60):
        other = batches([Second(5.0, 1, 10.0, 0.5)], START_S + second)[0]
        before.update(msgspec.structs.replace(other, symbols=["OTHERUSDT"]), other.close_time)
    found = critical(run(before, batches([pump(0), pump(1)], START_S + len(silent))))
    assert found[0].timestamp <= T0 + (START_S + len(silent) + 2) * 1_000


@pytest.mark.parametrize(
    "change",
    [{"trades": 2}, {"dollars": 300.0}, {"bought": 0.4}, {"rise": 0.004}],
    ids=["few trades", "little money", "sold as much", "a small rise"],
)
def test_every_part_of_a_burst_is_needed(change: dict[str, float]) -> None:
    played = batches([*CALM, *(pump(step, **change) for step in range(5))])  # type: ignore[arg-type]
    assert not [one for one in critical(run(Engine("v", "1s", {}), played)) if "burst" in one.explanation.parameters]


def test_what_is_usual_for_a_busy_pair_is_no_burst() -> None:
    busy = [Second(1.0 + 0.001 * (second % 2), 30, 6_000.0, 0.9) for second in range(700)]
    found = critical(run(Engine("v", "1s", {}), batches([*busy, *map(pump, range(5))])))
    assert not [one for one in found if "burst" in one.explanation.parameters]


def test_a_pair_is_not_judged_by_its_first_ten_minutes() -> None:
    found = critical(run(Engine("v", "1s", {}), batches([*CALM[:580], *map(pump, range(5))])))
    assert not [one for one in found if "burst" in one.explanation.parameters]


def test_ordinary_trades_change_nothing_and_keep_nothing_where_there_are_none() -> None:
    played = batches([*CALM, *(pump(step, trades=1, rise=0.0006) for step in range(60))])
    plain = [msgspec.structs.replace(batch, trades=[], taker_buy=[]) for batch in played]
    knowing, ignorant = Engine("v", "1s", {}), Engine("v", "1s", {})
    messages = [list(map(encode, run(engine, played))) for engine, played in ((knowing, played), (ignorant, plain))]
    assert messages[0] == messages[1]
    assert messages[0]
    assert "flow" not in ignorant.snapshot()["bank"]


@pytest.mark.parametrize("at", [700, START_S + 1])
def test_a_restart_changes_nothing(at: int) -> None:
    played = batches([*CALM, *map(pump, range(5))])
    cut = sum(batch.close_time <= T0 + at * 1_000 for batch in played)
    engine, restored = Engine("v", "1s", {}), Engine("v", "1s", {})
    run(engine, played[:cut])
    restored.restore(unpack(pack(engine.snapshot())))
    after = [list(map(encode, run(one, played[cut:]))) for one in (engine, restored)]
    assert after[0] == after[1]
    assert pack(engine.snapshot()) == pack(restored.snapshot())


def test_trades_that_come_later_and_new_symbols_are_taken_in() -> None:
    engine = Engine("v", "1s", {})
    played = batches([*CALM, *map(pump, range(5))])
    for number, batch in enumerate(played):
        one = batch if number > 5 else msgspec.structs.replace(batch, trades=[], taker_buy=[])
        if number == 20:
            names = [f"N{name}USDT" for name in range(40)]
            columns = {name: getattr(batch, name) * 41 for name in ("open", "high", "low", "close", "volume")}
            one = msgspec.structs.replace(
                one,
                symbols=[*batch.symbols, *names],
                trades=[1] + [None] * 40,
                taker_buy=[1.0] + [None] * 40,
                **columns,
            )
        engine.update(one, one.close_time)
    assert engine.bank.flow.burst[0]
    assert not engine.bank.flow.burst[1:].any()
