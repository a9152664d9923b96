"""Layer tests against enumeration by hand, false-positive rates and planted effects."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from paradox.stats.bootstrap import Resampling
from paradox.stats.layers import (
    differences,
    equivalent_everywhere,
    flips,
    label_test,
    max_test,
    power,
    window_test,
)
from paradox.stats.peaks import half, held_out, peak_shares, peak_test, shape

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
    effect[3] = 1.5
    values = np.random.default_rng(5).normal(size=(60, LAYERS))
    values[labels] += effect
    for found in (label_test(values, labels, 0, pairs=pairs), label_test(values, labels, 0)):
        assert found.peak == 3 and found.overall < 0.002
        assert found.corrected[[0, 1, 2, 4, 5]].min() > 0.05
    chosen = held_out(values, labels, pairs, 0)
    assert chosen.layer == 3 and chosen.p < 0.05
    assert peak_shares(differences(values, labels, pairs)[0], Resampling(0)).argmax() == 3
    inside, share = window_test(values, labels, range(3, 4), 0, pairs=pairs)
    assert inside.overall < 0.01 and share == 1 / LAYERS
    assert window_test(values, labels, range(0, 2), 0, pairs=pairs)[0].overall > 0.5


def test_selection_and_test_use_different_items() -> None:
    labels, pairs = _pairs(20)
    rejected, kept = 0, []
    for run in range(RUNS):
        values = _curves(np.random.default_rng([6, run]), 40)
        found = held_out(values, labels, pairs, run, permutations=199)
        rejected += found.p <= 0.05
        kept.append((abs(found.selected), found.value * np.sign(found.selected)))
    assert _plausible(rejected)
    selected, other = np.array(kept).T
    assert selected.mean() > 0.2  # the winner's curse
    assert abs(other.mean()) < 3.3 * other.std() / np.sqrt(RUNS)


def test_halves_are_keyed_by_name() -> None:
    names = [f"p{number // 2}" for number in range(40)]
    first = half(names, "x")
    assert first.sum() == 20 and (first[::2] == first[1::2]).all()
    order = np.random.default_rng(0).permutation(40)
    assert (half([names[row] for row in order], "x") == first[order]).all()
    assert (half(names, "y") != first).any()


def test_peak_and_decline() -> None:
    rng = np.random.default_rng(7)
    names = [str(row) for row in range(60)]
    hump = np.array([0, 0.5, 1.2, 1.2, 0.4, 0])
    found = peak_test(rng.normal(size=(60, LAYERS)) + hump, names, 0)
    assert found.layer in (2, 3) and found.p < 0.01 and found.rise > 0 < found.fall
    rising = peak_test(rng.normal(size=(60, LAYERS)) / 4 + np.arange(LAYERS), names, 0)
    assert rising.layer == LAYERS - 1 and rising.p == 1
    # A rise to a plateau: the peak lies before the end by chance, the decline is not there.
    plateau = np.array([0, 2, 4, 4, 4, 4])
    rejected = sum(
        peak_test(
            np.random.default_rng([8, run]).normal(size=(40, LAYERS)) + plateau,
            names[:40],
            run,
            permutations=199,
        ).p
        <= 0.05
        for run in range(RUNS)
    )
    assert rejected <= stats.binom.ppf(0.9995, RUNS, 0.05)


def test_shape_is_the_best_unimodal_curve() -> None:
    rng = np.random.default_rng(9)
    for _ in range(20):
        y = rng.integers(0, 4, size=5).astype(float)
        grid = np.array(list(itertools.product(np.arange(0, 3.01, 0.5), repeat=5)))
        steps = np.sign(np.diff(grid, axis=1))
        # Rises, then declines: no rise after a decline.
        fell = np.minimum.accumulate(np.where(steps < 0, -1, 0), axis=1)
        unimodal = grid[~((steps > 0) & (fell < 0)).any(axis=1)]
        best = ((unimodal - y) ** 2).sum(axis=1).min()
        found = shape(y)
        error = ((found.fit - y) ** 2).sum()
        assert error <= best + 1e-9  # the grid holds only some of the curves
        assert found.unimodal >= found.monotone - 1e-12
    assert shape([1, 2, 3, 4]).monotone == pytest.approx(1)
    assert shape([0, 2, 0]).unimodal == pytest.approx(1) and shape([0, 2, 0]).monotone < 0.3


def test_power_rises_with_effect_and_pairs() -> None:
    pilot = _curves(np.random.default_rng(10), 40)
    effect = np.zeros(LAYERS)
    none = power(pilot, effect, 30, 0)
    assert none.low <= 0.05 <= none.high
    effect[4] = 0.8
    few, many = power(pilot, effect, 15, 0), power(pilot, effect, 60, 0)
    assert few.value < many.value and many.value > 0.8
    assert power(pilot, effect, 15, 0) == few


def test_equivalence_at_every_layer() -> None:
    rng = np.random.default_rng(11)
    labels, pairs = _pairs(200)
    values = rng.normal(size=(400, 4))
    for names in (pairs, None):
        p, tests = equivalent_everywhere(values, labels, 0.5, Resampling(0), names)
        assert p < 0.01 and p == max(t.p for t in tests)
        shifted = values + np.outer(labels, [0, 0, 0.6, 0])
        assert equivalent_everywhere(shifted, labels, 0.5, Resampling(0), names)[0] > 0.5


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
    with pytest.raises(ValueError, match="no outside"):
        window_test(values, labels, range(0, 2))
    with pytest.raises(ValueError, match="expected"):
        max_test([1.0], np.zeros((3, 2)))
    assert flips(2, 4)[0].shape == (4, 2)
