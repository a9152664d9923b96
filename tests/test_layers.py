"""Layer tests against enumeration by hand, false-positive rates and planted effects."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from paradox.stats.crossed import mean
from paradox.stats.layers import equivalent_everywhere, flips, label_test, max_test
from paradox.stats.peaks import half

LAYERS = 6
RUNS = 300


def _curves(rng: np.random.Generator, items: int, effect: np.ndarray | float = 0.0) -> np.ndarray:
    """Return curves whose neighbouring layers are correlated, as a residual stream's are."""
    return rng.normal(size=(items, LAYERS)).cumsum(axis=1) / 2 + effect


def _pairs(items: int) -> tuple[np.ndarray, list[str]]:
    labels = np.arange(2 * items) % 2 == 0
    return labels, [f"p{row // 2}" for row in range(2 * items)]


def _plausible(rejected: int, level: float = 0.05) -> bool:
    """Whether a count of rejections is within the 99.9 % binomial range of `level`."""
    low, high = stats.binom.ppf([0.0005, 0.9995], RUNS, level)
    return low <= rejected <= high


def _by_hand(curve: np.ndarray, null: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    size = [[abs(value) for value in row / null.std(axis=0)] for row in null]
    own = [abs(value) for value in curve / null.std(axis=0)]
    alone = [sum(r[i] >= own[i] - 1e-9 for r in size) / len(size) for i in range(len(own))]
    largest = [sum(max(r) >= own[i] - 1e-9 for r in size) / len(size) for i in range(len(own))]
    return np.array(alone), np.array(largest)


def test_pairs_are_enumerated_exactly() -> None:
    values = _curves(np.random.default_rng(0), 10, np.array([0, 0, 0.5, 0, 0, 0]))
    labels, pairs = _pairs(5)
    found = label_test(values, labels, "a", pairs=pairs)
    d = values[::2] - values[1::2]
    null = np.array([np.array(s) @ d / 5 for s in itertools.product([1, -1], repeat=5)])
    alone, largest = _by_hand(d.mean(axis=0), null)
    assert found.exact and found.relabellings == 32
    np.testing.assert_allclose(found.curve, d.mean(axis=0))
    np.testing.assert_allclose(found.p, alone)
    np.testing.assert_allclose(found.corrected, largest)
    assert found.overall == largest.min() and (found.corrected >= found.p).all()


def test_labels_are_enumerated_exactly() -> None:
    values = _curves(np.random.default_rng(1), 7)
    labels = np.array([1, 0, 0, 1, 0, 1, 0], dtype=bool)
    null = []
    for chosen in itertools.combinations(range(7), 3):
        inside = np.isin(np.arange(7), chosen)
        null.append(values[inside].mean(axis=0) - values[~inside].mean(axis=0))
    found = label_test(values, labels, "a")
    curve = values[labels].mean(axis=0) - values[~labels].mean(axis=0)
    alone, largest = _by_hand(curve, np.array(null))
    assert found.exact and found.relabellings == 35
    np.testing.assert_allclose(found.p, alone)
    np.testing.assert_allclose(found.corrected, largest)


def test_drawn_p_values_approach_the_enumerated_ones() -> None:
    values = _curves(np.random.default_rng(2), 22, 0.0)
    labels, pairs = _pairs(11)
    every = label_test(values, labels, "a", pairs=pairs, permutations=2048)
    drawn = label_test(values, labels, "a", pairs=pairs, permutations=2047)
    assert every.exact and not drawn.exact
    np.testing.assert_allclose(drawn.corrected, every.corrected, atol=0.05)
    np.testing.assert_allclose(drawn.max_high, every.max_high, rtol=0.1)
    again = label_test(values, labels, "a", pairs=pairs, permutations=2047)
    other = label_test(values, labels, "b", pairs=pairs, permutations=2047)
    assert (again.p == drawn.p).all() and (other.p != drawn.p).any()


@pytest.mark.parametrize("paired", [True, False])
def test_false_positives_are_as_rare_as_stated(paired: bool) -> None:
    labels, pairs = _pairs(15)
    overall, alone, outside = 0, 0, 0
    for run in range(RUNS):
        values = _curves(np.random.default_rng([3, run]), 30)
        names = pairs if paired else None
        found = label_test(values, labels, run, pairs=names, permutations=199)
        overall += found.overall <= 0.05
        alone += found.p[2] <= 0.05
        # Both ends of the band are quantiles of the same pool that p is counted in.
        outside += not found.low[2] <= found.curve[2] <= found.high[2]
        passed = (found.curve < found.max_low - 1e-9) | (found.curve > found.max_high + 1e-9)
        assert (passed == (found.corrected <= 0.05)).all()
    assert _plausible(overall) and _plausible(alone) and _plausible(outside)


def test_uncorrected_looking_is_not_a_test() -> None:
    labels, pairs = _pairs(15)
    smallest = 0
    for run in range(RUNS):
        values = np.random.default_rng([4, run]).normal(size=(30, 12))
        found = label_test(values, labels, run, pairs=pairs, permutations=199)
        smallest += found.p.min() <= 0.05
    assert smallest > 0.3 * RUNS  # what correcting for the best of twelve layers prevents


def test_a_planted_effect_is_found_where_it_is() -> None:
    labels, pairs = _pairs(30)
    effect = np.zeros(LAYERS)
    effect[3] = 2
    values = np.random.default_rng(5).normal(size=(60, LAYERS))
    values[labels] += effect
    for found in (label_test(values, labels, 0, pairs=pairs), label_test(values, labels, 0)):
        # The observed curve is one of the relabellings: p is never 0.
        assert found.peak == 3 and found.overall == pytest.approx(1 / 2001)
        assert found.corrected[[0, 1, 2, 4, 5]].min() > 0.05


def test_halves_are_keyed_by_name() -> None:
    names = [f"p{number // 2}" for number in range(40)]
    first = half(names, "x")
    assert first.sum() == 20 and (first[::2] == first[1::2]).all()
    order = np.random.default_rng(0).permutation(40)
    assert (half([names[row] for row in order], "x") == first[order]).all()
    assert (half(names, "y") != first).any()


def test_equivalence_at_every_layer() -> None:
    rng = np.random.default_rng(11)
    values = rng.normal(size=(200, 3, 4))
    p, tests = equivalent_everywhere(mean(values), 0.3)
    assert p < 0.01 and p == max(test.p for test in tests)
    shifted = equivalent_everywhere(mean(values + np.array([0, 0, 0.4, 0])), 0.3)
    assert shifted[0] > 0.5 and [test.equivalent for test in shifted[1]] == [True] * 2 + [
        False,
        True,
    ]
    # Three replicates that differ more than pairs do say too little.
    spread = values + 0.4 * np.array([-1, 0, 1])[:, None]
    assert equivalent_everywhere(mean(spread), 0.3)[0] > 0.05


def test_a_layer_without_spread_says_nothing() -> None:
    labels, pairs = _pairs(8)
    values = np.random.default_rng(12).normal(size=(16, 2))
    values[:, 0] = 0.1 + 0.2
    found = label_test(values, labels, 0, pairs=pairs)
    assert found.p[0] == found.corrected[0] == 1
    alone = label_test(values[:, 1:], labels, 0, pairs=pairs)
    assert found.corrected[1] == alone.corrected[0]


def test_wrong_shapes_are_refused() -> None:
    labels, pairs = _pairs(3)
    values = np.zeros((6, 2))
    with pytest.raises(ValueError, match="exactly one"):
        label_test(values, labels, pairs=["a", "b", "a", "b", "c", "c"])
    with pytest.raises(ValueError, match="each label"):
        label_test(values, np.ones(6, dtype=bool))
    with pytest.raises(ValueError, match="names of pairs"):
        label_test(values, labels, pairs=pairs[:4])
    with pytest.raises(ValueError, match="expected"):
        max_test([1.0], np.zeros((3, 2)))
    assert flips(2, 4)[0].shape == (4, 2)
