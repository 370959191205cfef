from market.charts import band_chart, sparkline
from market.wire.messages import HistoryPoint


def test_a_sparkline_runs_from_edge_to_edge_with_the_highest_price_on_top() -> None:
    assert 'points="4.0,20.0 60.0,4.0 116.0,12.0"' in sparkline([1.0, 3.0, 2.0])


def test_a_flat_price_and_too_few_points_are_no_division_by_zero() -> None:
    assert "<polyline" in sparkline([2.0, 2.0])
    assert sparkline([2.0]) == ""
    assert band_chart([]) == ""


def test_the_band_starts_where_the_detector_was_ready() -> None:
    warming = HistoryPoint(1, 10.0, None, None, None)
    ready = [HistoryPoint(time, 10.0, 10.0, 8.0, 12.0) for time in (2, 3)]
    chart = band_chart([warming, *ready], width=108, height=108)
    assert '<polygon class="band" points="54.0,104.0 104.0,104.0 104.0,4.0 54.0,4.0"/>' in chart
    assert '<polyline class="close" points="4.0,54.0 54.0,54.0 104.0,54.0"/>' in chart
