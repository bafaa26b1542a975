"""Inter-token latencies: percentiles of repeated values, in memory and out of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdasim.core import layout
from hdasim.serving import gaps as module
from hdasim.serving.gaps import Gaps


def gaps(pairs: list[tuple[float, int]], parts: int = 1) -> Gaps:
    result = Gaps()
    for part in np.array_split(np.array(pairs, layout.GAP), parts):
        result.append(part)
    return result


@pytest.mark.parametrize("in_memory", [1 << 20, 8])
@settings(deadline=None)
@given(
    pairs=st.lists(st.tuples(st.floats(0, 1e6) | st.sampled_from([0.01, 0.010001]), st.integers(0, 9)), min_size=1, max_size=60),
    parts=st.integers(1, 5),
    q=st.floats(0, 100) | st.sampled_from([0.0, 50.0, 90.0, 99.0, 100.0]),
)
def test_statistics_are_those_of_the_repeated_values(
    in_memory: int, pairs: list[tuple[float, int]], parts: int, q: float
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "IN_MEMORY", in_memory)
        result = gaps(pairs, parts)
        values = np.repeat([v for v, _ in pairs], [c for _, c in pairs])
        assert result.count() == values.size
        assert result.array().tolist() == np.array(pairs, layout.GAP).tolist()
        if not values.size:
            return
        assert result.percentiles([q, 50.0]) == pytest.approx(np.percentile(values, [q, 50.0]).tolist(), rel=1e-9, abs=1e-12)
        assert result.moments() == pytest.approx((values.mean(), values.std()), rel=1e-6, abs=1e-6)


def test_percentiles_by_hand() -> None:
    # 1 1 1 5: the rank of the 90th percentile is 3 x 0.9 = 2.7, so 1 + 0.7 x 4 = 3.8; mean 8 / 4 = 2, variance (3 + 9) / 4 = 3
    result = gaps([(1.0, 3), (5.0, 1)])
    assert result.percentiles([90]) == pytest.approx([3.8])
    assert result.moments() == pytest.approx((2.0, 3**0.5))
    # a million millions of ones would not fit in memory
    assert gaps([(1.0, 10**12), (5.0, 1)]).percentiles([99]) == [1.0]


@pytest.mark.parametrize("pairs", [[], [(1.0, 0)]])
def test_nothing_has_no_statistics(pairs: list[tuple[float, int]]) -> None:
    for statistic in (Gaps.moments, lambda g: g.percentiles([50])):
        with pytest.raises(ValueError, match="no gaps"):
            statistic(gaps(pairs))
