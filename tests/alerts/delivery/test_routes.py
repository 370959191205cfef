"""Which routes a message concerns, among many; and the words of a message."""

import pytest

from alerts.delivery.groups import Group, Taken
from alerts.delivery.routes import Routes
from alerts.delivery.wording import sentence_of
from market.wire.messages import Direction, Explanation, Lifecycle, Method, Severity, SourceKind
from tests.alerts.delivery.plans import LIVE, planned, routes, rules
from tests.samples import T0, a_movement, a_sector, an_alert


def test_each_route_gets_what_its_filters_ask_for() -> None:
    through = routes(
        rules(1, {"symbols": ["BTCUSDT"]}),
        rules(2, {"venues": ["kraken"]}),
        rules(3, {"severities": ["CRITICAL"]}),
        rules(4, {"channels": ["market"], "sectors": ["DeFi"], "types": ["SECTOR_ANOMALY"]}),
    )
    found = planned(
        through,
        [
            (0, an_alert("a1", **LIVE)),
            (1, an_alert("a2", symbol="ETHUSDT", venue="kraken", severity=Severity.LOW, **LIVE)),
            (2, a_sector(affected_symbols=["UNIUSDT"], **LIVE)),
            (90_000, an_alert("a2", revision=2, symbol="ETHUSDT", venue="kraken", severity=Severity.CRITICAL, **LIVE)),
        ],
    )
    heard = {route: [m.subject.split(":")[1] for m in found if m.route == route] for route in range(1, 5)}
    assert heard == {1: ["a1"], 2: ["a2", "m3", "a2"], 3: ["m3", "a2"], 4: ["m3"]}


def test_what_is_followed_is_followed_to_its_end_whatever_the_filter() -> None:
    """It was taken on as LOW; the filter of the route then changes."""
    through = routes(rules(edits=True))
    through.take(an_alert(**LIVE), T0, T0, signed=True)
    list(through.due(T0 + 2_000, lambda _: False))
    through.set(rules(1, {"symbols": ["ETHUSDT"]}, edits=True))
    through.take(an_alert(revision=2, state=Lifecycle.CLOSED, **LIVE), T0 + 5_000, T0 + 5_000, signed=True)
    [closing] = through.due(T0 + 60_000, lambda _: False)
    assert closing.last
    through.take(an_alert("a2", **LIVE), T0 + 70_000, T0 + 70_000, signed=True)
    assert through.next_due() is None


def test_a_route_that_is_removed_leaves_nothing() -> None:
    through = routes(rules(1), rules(2))
    through.take(an_alert(**LIVE), T0, T0, signed=True)
    through.discard(1)
    through.discard(2)
    assert (through._following, through.next_due(), len(through)) == ({}, None, 0)
    assert isinstance(through, Routes)


def group_of(*messages: object) -> Group:
    group = Group(key=messages[0].id, opened_ms=T0)  # type: ignore[attr-defined]
    for message in messages:
        group.take(Taken(message, signed=True))  # type: ignore[arg-type]
    return group


def test_the_words_of_an_alert() -> None:
    alert = an_alert(
        rarity_days=12.0,
        explanation=Explanation(sentence="BTCUSDT fell 3.40 % in 5 min.", window="5m", detector="z"),
        **LIVE,
    )
    text = sentence_of(group_of(alert), T0 + 60_000)
    assert text.title == "HIGH BTCUSDT −3.40\N{NO-BREAK SPACE}% in 5\N{NO-BREAK SPACE}min"
    assert text.body.splitlines() == [
        "BTCUSDT fell 3.40 % in 5 min.",
        "Once in 12 days.",
        "Since 08:54 UTC on binance.",
    ]
    assert text.path == "/alerts/a1"
    later = sentence_of(group_of(alert), T0 + 86_400_000)
    assert later.body.endswith("Since 2025-10-09 08:54 UTC on binance."), "a date where it is not today"


def test_the_words_of_an_incident() -> None:
    movement = a_movement(
        affected_symbols=["BTCUSDT", "ETHUSDT"], changes_pct=[-3.0, -5.5], venue="binance", source=SourceKind.REPLAY
    )
    text = sentence_of(group_of(movement), T0)
    assert text.title == (
        "REPLAY CRITICAL 2 of 200 symbols −4.20\N{NO-BREAK SPACE}% in 5\N{NO-BREAK SPACE}min"
    )  # fmt: skip
    assert "Most: ETHUSDT −5.50\N{NO-BREAK SPACE}%, BTCUSDT −3.00\N{NO-BREAK SPACE}%." in text.body


def test_the_words_of_a_surge_and_of_an_end() -> None:
    alert = an_alert(method=Method.VOLUME, change_pct=0.02, direction=Direction.UP, state=Lifecycle.CLOSED, **LIVE)
    text = sentence_of(group_of(alert), T0)
    assert text.title == "Over: HIGH BTCUSDT volume surge, +0.02\N{NO-BREAK SPACE}%"
    assert "From 08:54 UTC to 08:54 UTC on binance." in text.body


@pytest.mark.parametrize("words", ["\x1b]52;c;aGk=\x07", "a\u202eb\r\nTo: you", "x" * 5_000])
def test_the_words_of_others_are_text_and_have_an_end(words: str) -> None:
    text = sentence_of(group_of(an_alert(explanation=Explanation(sentence=words))), T0)
    assert len(text.body) <= 1_500
    sector = sentence_of(group_of(a_sector(sector=f"{words[:70]}\0")), T0)
    assert not {"\x1b", "\u202e", "\r", "\0"} & set(text.title + text.body + sector.title + sector.body)
