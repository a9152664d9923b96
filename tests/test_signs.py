"""Exact tests over seeds: against scipy, hand counts and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from paradox.stats.signs import (
    detectable,
    flip_test,
    holm,
    paired,
    seed_mean,
    sign_power,
    sign_test,
)


def test_sign_test_is_scipys_and_drops_ties() -> None:
    found = sign_test([0.3, -0.1, 0.0, 0.2, 0.4, 0.0, 0.1])
    assert (found.positive, found.negative, found.ties, found.n) == (4, 1, 2, 5)
    # By hand: (1 + 5) / 32 in each tail.
    assert found.p == pytest.approx(12 / 32)
    for up in range(9):
        values = [1.0] * up + [-1.0] * (8 - up)
        assert sign_test(values).p == pytest.approx(stats.binomtest(up, 8).pvalue)
    assert sign_test([0.0, 0.0]).p == 1.0


def test_power_by_enumeration() -> None:
    for n, chance in ((6, 0.9), (8, 0.8), (11, 0.7)):
        rejecting = 0.0
        for signs in itertools.product([-1.0, 1.0], repeat=n):
            up = signs.count(1.0)
            rejecting += (sign_test(signs).p <= 0.05) * chance**up * (1 - chance) ** (n - up)
        assert sign_power(n, chance) == pytest.approx(rejecting)


def test_detectable_probability() -> None:
    # With 8 seeds only 8 of 8 (or 0 of 8) rejects, so q^8 + (1 - q)^8 = .8.
    q = detectable(8)
    assert q**8 + (1 - q) ** 8 == pytest.approx(0.8)
    assert math.isnan(detectable(5))  # 2 / 2^5 > .05
    assert detectable(20) < detectable(12) < q


def test_flip_test_by_hand_and_against_scipy() -> None:
    # |sums| of 1, 2, 4 under 8 flips: 7 1 3 5 5 3 1 7; the observed one is 5.
    assert flip_test([1.0, -2.0, -4.0]) == pytest.approx(4 / 8)
    values = np.random.default_rng(0).normal(0.4, 1, 9)
    expected = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert flip_test(values) == pytest.approx(expected.pvalue)
    # Equal values in any order are one case, whatever the rounding.
    assert flip_test([0.1] * 7 + [0.3]) == pytest.approx(2 / 256)
    with pytest.raises(ValueError, match="too many"):
        flip_test(np.ones(21))


def test_mean_interval_is_scipys() -> None:
    values = np.random.default_rng(1).normal(size=8)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = seed_mean(values)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.n == 8 and math.isnan(seed_mean([1.0]).low)
    with pytest.raises(ValueError, match="finite"):
        seed_mean([1.0, math.nan])


def test_pairs_go_by_seed() -> None:
    found = paired({1: 5.0, 0: 1.0, 2: 2.0}, {0: 0.5, 2: 2.0, 1: 1.0})
    assert found.differences == (0.5, 4.0, 0.0)
    assert (found.signs.positive, found.signs.ties) == (2, 1)
    assert found.mean.value == pytest.approx(1.5)
    with pytest.raises(ValueError, match="seeds differ"):
        paired({0: 1.0}, {1: 1.0})


def test_holm() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.0078125] * 3) == pytest.approx([0.0234375] * 3)
