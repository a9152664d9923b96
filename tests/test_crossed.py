"""The one model of intervals and p-values: closed forms, coverage in simulation, arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from paradox.stats.crossed import Number, difference, mean, together


def _normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def _studies(items: int, replicates: int, spread: float, rest: float, count: int) -> np.ndarray:
    """Return studies of nothing, shape (items, replicates, count).

    ``spread`` is the replicates' standard deviation in standard errors of the mean over items.
    """
    rng = np.random.default_rng([items, replicates, int(10 * spread), int(10 * rest)])
    values = rng.normal(size=(items, 1, count)) + rest * rng.normal(size=(items, replicates, count))
    return values + spread / math.sqrt(items) * rng.normal(size=(1, replicates, count))


@pytest.mark.parametrize("rest", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("spread", [0, 1, 2, 3.3])
@pytest.mark.parametrize("replicates", [3, 5, 8])
def test_coverage_and_false_positives(replicates: int, spread: float, rest: float) -> None:
    number = mean(_studies(32, replicates, spread, rest, 8000))
    low, high = number.interval()
    assert 0.93 <= ((low < 0) & (high > 0)).mean() <= 0.97
    assert (number.above() <= 0.05).mean() <= 0.06
    p = np.array([estimate.p for estimate in number[:500].estimates()])
    assert ((p <= 0.05) == (low[:500] >= 0)).all()


@pytest.mark.parametrize("spread", [0, 2])
def test_difference_of_groups_of_unlike_size(spread: float) -> None:
    both = _studies(96, 3, spread, 1.0, 4000)
    # Another effect of the training on each group.
    apart = 0.3 * _normal(1, 3, 4000, seed=3) * (spread > 0)
    number = difference(both[:32] + apart, both[32:])
    low, high = number.interval()
    assert 0.93 <= ((low < 0) & (high > 0)).mean() <= 0.97
    assert (number.items, number.replicates) == (96, 3)


def test_ratio_covers() -> None:
    rng = np.random.default_rng(5)
    bottom = _studies(64, 5, 1, 1.0, 2000) * 0.5 + 2
    top = 0.3 * bottom + 0.3 * rng.normal(size=bottom.shape)
    low, high = (mean(top) / mean(bottom)).interval()
    assert 0.92 <= ((low < 0.3) & (high > 0.3)).mean() <= 0.98


def test_one_replicate_is_students_interval() -> None:
    values = _normal(20)
    found = mean(values).estimate()
    test = stats.ttest_1samp(values, 0)
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval()))
    assert found.df == pytest.approx(19) and found.replicates == 1
    assert mean(values).above() == pytest.approx(
        stats.ttest_1samp(values, 0, alternative="greater").pvalue
    )


def test_two_groups_with_one_replicate_are_welchs() -> None:
    one, other = _normal(15), 3 * _normal(40, seed=1)
    found = difference(one, other).estimate()
    test = stats.ttest_ind(one, other, equal_var=False)
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval()))


def test_replicates_alone_are_students_interval() -> None:
    # All items alike: only the replicates vary.
    of_replicate = _normal(4, seed=2)
    found = mean(np.tile(of_replicate, (30, 1))).estimate()
    expected = stats.ttest_1samp(of_replicate, 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx(tuple(expected))


def test_replicates_that_agree_do_not_widen() -> None:
    values = _normal(30)
    one, three = mean(values).estimate(), mean(np.tile(values[:, None], 3)).estimate()
    assert three.se == pytest.approx(one.se) and three.df == pytest.approx(one.df)


def test_equivalence_is_two_one_sided_tests() -> None:
    values = 0.1 + 0.2 * _normal(50)
    found = mean(values).equivalence(0.2)
    ends = [
        stats.ttest_1samp(values, -0.2, alternative="greater").pvalue,
        stats.ttest_1samp(values, 0.2, alternative="less").pvalue,
    ]
    assert found.p == pytest.approx(max(ends))
    assert found.equivalent == (-0.2 <= found.low and found.high <= 0.2)
    assert not mean(values).equivalence(0.05).equivalent
    with pytest.raises(ValueError, match="positive"):
        mean(values).equivalence(0.0)


def test_what_does_not_vary_has_no_p() -> None:
    found = mean(np.full((8, 3), 0.7)).estimate()
    assert (found.value, found.low, found.high) == pytest.approx((0.7, 0.7, 0.7))
    assert math.isnan(found.p) and found.se == 0
    # Within the margin, and known so: nothing varies.
    assert mean(np.zeros((8, 3))).equivalence(0.1).equivalent


def test_missing_values_count_nowhere() -> None:
    values = _normal(30, 3)
    values[:10, 1] = np.nan
    there = np.isfinite(values)
    number = mean(values)
    assert number.value == pytest.approx(values[there].mean())
    rows = np.vstack([values, np.full((1, 3), np.nan)])
    assert mean(rows).value == pytest.approx(number.value)
    whole = mean(_normal(30, 3))
    assert number.estimate().se > whole.estimate().se


def test_arithmetic_is_that_of_the_values() -> None:
    one, other = _normal(30, 4, 3), 2 + _normal(30, 4, 3, seed=1)
    both = mean(one) - mean(other)
    assert np.allclose(both.interval(), mean(one - other).interval())
    assert np.allclose((mean(one) * 3.0).interval(), mean(3 * one).interval())
    weights = [0.5, 0.5, 0]
    assert np.allclose((mean(one) @ weights).interval(), mean(one @ weights).interval())
    assert (mean(one) + 1.0).value == pytest.approx(mean(one).value + 1)
    ratio = mean(one) / mean(other)
    assert ratio.value == pytest.approx(one.mean(axis=(0, 1)) / other.mean(axis=(0, 1)))
    # A ratio's first order, by differences: weight one cell a little more.
    weight, step = np.ones((30, 4, 1)), 1e-6
    weight[7, 2] += step
    moved = (weight * one).mean(axis=(0, 1)) / (weight * other).mean(axis=(0, 1))
    assert ratio.parts["items"][7, 2] == pytest.approx((moved - ratio.value) / step * 120, rel=1e-4)
    assert ratio[1].estimate().low == pytest.approx(ratio.estimates()[1].low)


def test_several_parts_are_as_good_as_the_worst() -> None:
    parts = {"clear": mean(1 + 0.1 * _normal(20)), "open": mean(_normal(20))}
    name, estimate = together(parts)
    assert name == "open" and estimate == parts["open"].estimate()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean([]), "shape"),
        (lambda: mean([1.0, math.inf]), "finite"),
        (lambda: mean([[math.nan], [math.nan]]), "finite"),
        (lambda: mean([1.0]).estimate(), "at least two"),
        (lambda: mean(_normal(4, 2)) - mean(_normal(4, 3)), "replicates"),
        (lambda: mean(_normal(4, 2)) - mean(_normal(5, 2)), "items"),
        (lambda: mean(_normal(4, 2, 3)).estimate(), "single"),
    ],
)
def test_what_cannot_be_done_is_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


def test_number_of_numbers_keeps_its_shape() -> None:
    number = mean(_normal(6, 2, 3, 4))
    assert isinstance(number, Number) and number.value.shape == (3, 4)
    assert number[1, 2:].value.shape == (2,)
    assert len(number.estimates()) == 12
