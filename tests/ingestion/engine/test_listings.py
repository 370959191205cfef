"""New symbols are judged by what their peers know, from the second candle on; halts and delistings are no moves."""

from collections.abc import Iterator

import pytest

from ingestion.engine.engine import Engine
from market.wire.messages import Alert, CandleBatch, Direction, Severity
from tests.ingestion.engine.events import without
from tests.market.recordings import Returns, names, recording

SYMBOLS, BEFORE = 20, 220
NEW = names(SYMBOLS)[3]


def market(size: float, at: int, surge: float = 20.0) -> Iterator[CandleBatch]:
    """1-min candles; one symbol moves by `size` (log price) within the candle `at`, on `surge` times its volume."""

    def inject(returns: Returns, volumes: Returns) -> None:
        returns[at, 3] += size
        volumes[at, 3] *= surge

    return iter(recording(SYMBOLS, BEFORE + 60, inject=inject))


def alerts(batches: Iterator[CandleBatch], absent: range) -> list[Alert]:
    """Of HIGH and above, of the symbol that has no candle in the `absent` ones."""
    engine = Engine("test", "1m", {})
    return [
        message
        for number, batch in enumerate(batches)
        for message in engine.update(without(batch, {NEW} if number in absent else set()), batch.close_time)
        if isinstance(message, Alert) and message.symbol == NEW and message.severity.rank >= Severity.HIGH.rank
    ]


@pytest.mark.parametrize("after", [1, 5, 40])
@pytest.mark.parametrize("size", [0.15, -0.15])
def test_a_new_listing_that_moves_is_told_with_its_candle(after: int, size: float) -> None:
    first, *_ = alerts(market(size, BEFORE + after), range(BEFORE))
    assert first.severity is Severity.HIGH, "nobody can say that it comes out of nowhere"
    assert first.direction is (Direction.UP if size > 0 else Direction.DOWN)
    if after < 10:
        assert first.explanation.parameters["surge_of"] == "peers"
        assert "new here" in first.explanation.sentence


def test_the_first_price_is_no_move() -> None:
    assert alerts(market(0.3, BEFORE), range(BEFORE)) == []


def test_a_new_listing_that_is_hardly_traded_is_nothing() -> None:
    assert alerts(market(0.15, BEFORE + 5, surge=0.01), range(BEFORE)) == []


def test_what_happens_in_a_halt_or_after_a_delisting_is_no_move() -> None:
    assert alerts(market(-0.4, BEFORE - 1), range(BEFORE - 20, BEFORE)) == []
    assert alerts(market(0.0, 0), range(BEFORE, BEFORE + 60)) == []
