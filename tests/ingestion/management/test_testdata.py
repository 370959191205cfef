import random
from collections import Counter
from itertools import islice

import msgspec
import pytest

from ingestion.management.testdata import curated_market, random_alerts, random_market
from market.wire.decoding import decode_alert, decode_market
from market.wire.messages import (
    DETECTING,
    Alert,
    Anomaly,
    Direction,
    Lifecycle,
    MarketStress,
    Method,
    SectorAnomaly,
    Severity,
    StressMetric,
    SynchronizedMovement,
    encode,
)

STARTED_AT = 1_700_000_000_000


def alerts(seed: int, number: int) -> list[Alert]:
    return list(islice(random_alerts(random.Random(seed), STARTED_AT, 100), number))


def without_identity(anomalies: list[Alert]) -> list[Alert]:
    return [msgspec.structs.replace(alert, id="x", timestamp=0, detected_at=0, history=[]) for alert in anomalies]


def test_alerts_are_canonical_messages_of_every_kind() -> None:
    made = alerts(1, 500)
    assert [decode_alert(encode(alert), received_at=STARTED_AT) for alert in made] == made
    assert {alert.method for alert in made} == set(DETECTING)
    assert {alert.severity for alert in made} == set(Severity)
    assert {alert.direction for alert in made} == set(Direction)
    assert len({alert.id for alert in made}) == 500


def test_the_figures_of_an_alert_agree() -> None:
    for alert in alerts(2, 200):
        assert alert.price is not None
        assert alert.lower is not None
        assert alert.upper is not None
        assert alert.price == alert.spark[-1]
        assert isinstance(alert.history, list)
        assert [point.close for point in alert.history] == alert.spark
        assert alert.history[-1].timestamp == alert.timestamp
        if alert.method in (Method.VOLUME, Method.VOLATILITY):
            assert alert.score > 0
        else:
            outside = alert.price > alert.upper if alert.direction is Direction.UP else alert.price < alert.lower
            assert outside, alert
            assert (alert.score > 0) == (alert.direction is Direction.UP)


def test_one_seed_makes_one_sequence_under_ids_of_its_run() -> None:
    again = list(islice(random_alerts(random.Random(1), STARTED_AT + 1, 100), 20))
    assert without_identity(again) == without_identity(alerts(1, 20))
    assert without_identity(alerts(2, 20)) != without_identity(alerts(1, 20))
    assert not {alert.id for alert in again} & {alert.id for alert in alerts(1, 20)}


@pytest.mark.parametrize("source", ["random", "curated"])
def test_market_anomalies_are_canonical_and_add_up(source: str) -> None:
    made: list[Anomaly] = list(
        islice(random_market(random.Random(4), STARTED_AT, 100), 300)
        if source == "random"
        else curated_market(STARTED_AT, 100)
    )
    assert [decode_market(encode(anomaly), received_at=STARTED_AT) for anomaly in made] == made
    for anomaly in made:
        if isinstance(anomaly, MarketStress):
            points = {metric: component.points for metric, component in anomaly.components.items()}
            assert sum(points.values()) == pytest.approx(anomaly.stress_index, abs=0.01)
            assert max(points, key=points.__getitem__) == anomaly.metric
        elif isinstance(anomaly, SectorAnomaly):
            assert anomaly.deviation is not None
            assert anomaly.members is not None
            assert (anomaly.deviation > 0) == (anomaly.performance_pct > 0)
            assert len(anomaly.affected_symbols) == anomaly.members_moving
            assert anomaly.members_moving <= anomaly.members
        elif isinstance(anomaly, SynchronizedMovement):
            assert anomaly.universe is not None
            assert anomaly.average_change_pct is not None
            assert anomaly.synchronization_ratio == len(anomaly.affected_symbols) / anomaly.universe
            assert (anomaly.average_change_pct > 0) == (anomaly.direction is Direction.UP)


def test_the_curated_sequence_shows_everything_once() -> None:
    made = curated_market(STARTED_AT, 500)
    moves = [anomaly for anomaly in made if isinstance(anomaly, SynchronizedMovement)]
    sectors = [anomaly for anomaly in made if isinstance(anomaly, SectorAnomaly)]
    stress = Counter(anomaly.metric for anomaly in made if isinstance(anomaly, MarketStress))
    assert {move.direction for move in moves} == set(Direction)
    assert {sector.performance_pct > 0 for sector in sectors} == {True, False}
    assert stress == dict.fromkeys(StressMetric, 1)
    assert {anomaly.severity for anomaly in made} == set(Severity)
    episode = [(move.revision, move.state) for move in moves if move.id == moves[0].id]
    assert episode == [(1, Lifecycle.OPEN), (2, Lifecycle.ESCALATED), (3, Lifecycle.CLOSED)]


def test_times_follow_the_interval() -> None:
    assert [alert.timestamp - STARTED_AT for alert in alerts(1, 3)] == [0, 100, 200]
    published = [anomaly.detected_at - STARTED_AT for anomaly in curated_market(STARTED_AT, 500)]
    assert published == [500 * index for index in range(len(published))]
