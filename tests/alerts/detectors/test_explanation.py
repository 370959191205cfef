"""What an alert says in words: who did what, how much, against what."""

import math
from typing import Any

import pytest

from alerts.detectors.bank import Finding
from alerts.detectors.explanation import NO_BREAK, price_text, sentence
from market.wire.messages import Method


def said(method: Method, change: float, **given: Any) -> str:
    move = math.log1p(change)
    finding = Finding(
        method=method, score=given.get("score", 9.0), threshold=5.0, observed=given.get("observed", move), usual=0.001,
        expected=given.get("expected", 0.0), horizon=0, window_ms=given.get("window_ms", 60_000), baseline=240,
        methods=[], move=move, sigma=0.0015, against_market=given.get("against_market", True), evidence={},
        rarity_days=None, rarity={},
    )  # fmt: skip
    market = math.log1p(given["market"]) if "market" in given else None
    return sentence("BTCUSDT", finding, 43_251.26, 21_300_000.0, 0.003, market).replace(NO_BREAK, " ")


@pytest.mark.parametrize("method", [Method.Z_SCORE, Method.MAD, Method.EWMA])
def test_a_move_is_told_against_the_usual_range(method: Method) -> None:
    assert said(method, -0.0214) == "BTCUSDT fell 2.14 % in 1 min, to 43,251.3. Usual 1 min range: ±0.30 %."


@pytest.mark.parametrize(
    ("change", "market", "clause"),
    [
        (0.04, 0.002, ", 3.8 pp more than the market"),
        (-0.227, -0.278, ", 5.1 pp less than the market"),
        (-0.02, -0.0199999, ", as the market did"),
        (0.04, -0.03, ", while the market fell 3.00 %"),
        (-0.04, 0.03, ", while the market rose 3.00 %"),
        (0.04, 0.00001, ""),
    ],
)
def test_a_move_is_set_beside_the_markets(change: float, market: float, clause: str) -> None:
    text = said(Method.RESIDUAL, change, market=market)
    move = f"{'rose' if change > 0 else 'fell'} {abs(change):.2%}".replace("%", " %")
    assert text == f"BTCUSDT {move} in 1 min, to 43,251.3{clause}. Usual 1 min range: ±0.30 %."


def test_a_price_that_stood_still_is_set_beside_the_markets_move() -> None:
    text = said(Method.VOLUME, 0.0, score=12.0, market=-0.03)
    assert text.endswith("; the price stood still, to 43,251.3, while the market fell 3.00 %.")


def test_a_surge_is_told_as_a_multiple_with_what_the_price_did() -> None:
    assert said(Method.VOLUME, 0.004, score=12.04) == (
        "BTCUSDT traded 12.0× its usual volume in 1 min ($21.3M); the price rose 0.40 %, to 43,251.3."
    )
    assert said(Method.VOLATILITY, 0.0, score=8.0, observed=math.log(1.05), window_ms=900_000) == (
        "BTCUSDT swung by 5.00 % within 15 min, 8.0× its usual range; the price stood still, to 43,251.3."
    )


def test_a_price_is_never_told_as_nothing() -> None:
    assert [price_text(price) for price in (1e-25, 1.2345e-14, 0.5)] == ["1e-25", "0.000000000000012345", "0.5"]


def test_a_drift_is_told_beside_what_the_price_did() -> None:
    end = ", to 43,251.3. Usual 40 min range: ±0.30 %."
    assert said(Method.CUSUM, -0.01, observed=math.log(1.03), score=25.0, window_ms=2_400_000) == (
        f"BTCUSDT drifted up 3.00 % over 40 min against the market; the price fell 1.00 %{end}"
    )
    assert said(Method.CUSUM, -0.03, score=-25.0, window_ms=2_400_000, against_market=False) == (
        f"BTCUSDT drifted down 3.00 % over 40 min{end}"
    )
