"""What is computed without numpy's own functions is what they would have said."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from market.detectors.panel import Floats
from market.detectors.statistics import Samples, largest, median
from market.detectors.synchronized import MIDDLE, middle

# Few different values, so that there are ties.
values = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([0.0, 1.0, -2.5]))
rows = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=24), elements=values)


@given(rows)
def test_the_median(data: Floats) -> None:
    for row in data:
        assert median(row) == np.median(row)


@given(rows)
def test_the_row_of_the_largest(data: Floats) -> None:
    assert largest(data).tolist() == data.argmax(axis=0).tolist()


@given(rows)
def test_the_middle_of_a_market(data: Floats) -> None:
    n = data.shape[1]
    kept = min(n // 2, MIDDLE)
    cut = (n - kept) // 2
    expected = np.sort(data, axis=1)[:, cut : n - cut].mean(axis=1)
    assert middle(data) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(arrays(np.float32, st.integers(1, 80), elements=st.floats(-100, 100, width=32)))
def test_samples_of_a_young_column(data: Floats) -> None:
    samples = Samples(20, 1)
    for count, value in enumerate(data, start=1):
        samples.add(np.array([value], dtype=np.float64), np.array([True]))
        if count <= samples.YOUNG:
            kept = data[max(0, count - 20) : count]
            assert samples.median[0] == pytest.approx(np.median(kept), rel=1e-6, abs=1e-6)
            assert samples.deviation[0] == pytest.approx(np.median(np.abs(kept - np.median(kept))), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("every", [1, 2, 16])
def test_samples_of_columns_that_come_in_a_rhythm_are_computed_as_often(every: int) -> None:
    """A pair that trades every second minute is not passed over for ever."""
    samples = Samples(64, 3)
    for step in range(400 * every):
        there = np.full(3, step % every == 0)
        samples.add(np.full(3, float(step // every >= 200)), there)
    assert samples.median.tolist() == [1.0, 1.0, 1.0]
