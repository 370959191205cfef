"""The history of the stress index."""

from datetime import timedelta

import msgspec
import pytest
from rest_framework.test import APIClient

from market.services import record_stress
from market.wire.decoding import decode_stress
from market.wire.messages import Breadth, StressComponent, StressIndex, StressMetric, WindowMove, encode

pytestmark = pytest.mark.django_db

MINUTE = 60_000
START = 1_700_000_040_000


def an_index(minute: int, venue: str = "binance") -> StressIndex:
    return StressIndex(
        venue=venue,
        interval="1s",
        timestamp=START + minute * MINUTE,
        stress_index=float(minute),
        metric=StressMetric.BREADTH,
        components={StressMetric.BREADTH: StressComponent(value=0.9, percentile=99.0, points=float(minute))},
        universe=320,
    )


def record(*indices: StressIndex, keep: timedelta = timedelta(days=1)) -> None:
    for index in indices:
        record_stress(index, encode(index), keep=keep)


def test_the_history_is_newest_first_in_the_wire_format() -> None:
    record(*(an_index(minute) for minute in range(5)))
    results = APIClient().get("/market/stress?limit=3").json()["results"]
    assert [point["stress_index"] for point in results] == [4.0, 3.0, 2.0]
    assert decode_stress(encode(an_index(4))) == an_index(4)
    assert results[0]["components"]["breadth"]["points"] == 4.0


def test_the_windows_of_a_frame_are_not_kept() -> None:
    window = WindowMove(return_pct=-1.2, breadth=Breadth(up=1, flat=2, down=30))
    record(msgspec.structs.replace(an_index(0), window="15m", breadth=window.breadth, windows={"15m": window}))
    (point,) = APIClient().get("/market/stress").json()["results"]
    assert "windows" not in point
    assert (point["window"], point["breadth"]) == ("15m", {"up": 1, "flat": 2, "down": 30})


def test_it_is_chosen_by_venue_and_time() -> None:
    record(an_index(1), an_index(2), an_index(2, "okx"))
    answer = APIClient().get(f"/market/stress?venue=binance&from={START + 2 * MINUTE}").json()
    assert [(point["venue"], point["timestamp"]) for point in answer["results"]] == [("binance", START + 2 * MINUTE)]


def test_what_nobody_could_mean_is_refused() -> None:
    assert APIClient().get("/market/stress?from=soon").status_code == 400
    answer = APIClient().get("/market/stress?since=1")
    assert answer.status_code == 400
    assert "venue" in answer.json()["since"]


def test_what_is_older_than_the_retention_is_forgotten() -> None:
    record(an_index(0), an_index(0, "okx"), an_index(120), keep=timedelta(hours=1))
    kept = APIClient().get("/market/stress").json()["results"]
    assert {(point["venue"], point["stress_index"]) for point in kept} == {("binance", 120.0), ("okx", 0.0)}
