"""The U-statistic of a separation, against closed forms and nulls."""

from __future__ import annotations

import numpy as np
import pytest

from paradox.stats.bootstrap import binomial_interval
from paradox.stats.crossed import mean
from paradox.stats.separation import (
    Part,
    detections,
    false_positives,
    kernel,
    null,
    pseudo_values,
    relabelled,
    separation_test,
    squared,
)

PAIRS, LAYERS, WIDTH = 24, 4, 6
EVERY = np.ones(PAIRS, dtype=bool)


def _differences(seed: int, shift: float = 0.0, layer: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(PAIRS, LAYERS, WIDTH)) * [[[1.0]], [[3.0]]][seed % 2]
    found[:, layer, 0] += shift
    return found


def _kernel(differences: np.ndarray) -> np.ndarray:
    return kernel([Part(differences, EVERY)], EVERY)


def test_it_is_the_mean_of_products_of_different_pairs() -> None:
    d = _differences(0, 1.0)
    products = [d[i] * d[j] for i in range(PAIRS) for j in range(PAIRS) if i != j]
    expected = np.sum(products, axis=2).mean(axis=0)
    np.testing.assert_allclose(squared(_kernel(d)), expected, atol=1e-12)
    swap = np.where(np.arange(PAIRS) % 3, 1.0, -1.0)
    of_swapped = squared(_kernel(d * swap[:, None, None]))
    np.testing.assert_allclose(relabelled(_kernel(d), swap[None])[0], of_swapped, atol=1e-12)


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_it_is_unbiased_whatever_the_noise(shift: float) -> None:
    draws = np.array([squared(_kernel(_differences(seed, shift))) for seed in range(600)])
    expected = np.array([0, 0, shift**2, 0])
    error = draws.std(axis=0) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(axis=0) - expected) < 4 * error).all()
    # What it replaces is not: the squared length of the mean holds the noise.
    naive = [(_differences(seed, shift).mean(axis=0) ** 2).sum(axis=1) for seed in range(600)]
    assert (np.mean(naive, axis=0) > expected + 8 * error).all()


def test_pseudo_values_are_the_jackknife_of_whole_pairs() -> None:
    d = _differences(0, 1.0)
    found, whole = pseudo_values(_kernel(d)), squared(_kernel(d))
    rest = np.arange(PAIRS) != 5
    without = squared(kernel([Part(d, EVERY)], rest))
    np.testing.assert_allclose(found[5], PAIRS * whole - (PAIRS - 1) * without)
    np.testing.assert_allclose(found.mean(axis=0), whole)


def test_their_interval_covers_the_planted_shift() -> None:
    hits = 0
    for seed in range(200):
        d = np.random.default_rng(seed).normal(size=(PAIRS, 1, WIDTH))
        d[:, 0, 0] += 2.0
        found = mean(pseudo_values(_kernel(d))[:, 0]).estimate()
        hits += found.low <= 4.0 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_of_several_parts_it_is_the_mean() -> None:
    d = _differences(0, 1.0)
    first = np.arange(PAIRS) < 10
    both = kernel([Part(d, first), Part(2 * d, ~first)], EVERY)
    one = squared(kernel([Part(d, EVERY)], first))
    other = 4 * squared(kernel([Part(d, EVERY)], ~first))
    np.testing.assert_allclose(squared(both), (one + other) / 2)
    with pytest.raises(ValueError, match="1 pairs are too few"):
        kernel([Part(d, EVERY)], np.arange(PAIRS) < 1)
    with pytest.raises(ValueError, match="2 pairs are too few"):
        pseudo_values(kernel([Part(d, EVERY)], np.arange(PAIRS) < 2))


def test_a_planted_shift_is_found_where_it_is() -> None:
    found = separation_test(_kernel(_differences(1, 6.0)), 199, "test")
    assert found.peak == 2 and found.corrected[2] <= 0.01
    assert (found.corrected[[0, 1, 3]] > 0.05).all()


@pytest.mark.parametrize("shift", [0.0, 6.0])
def test_permuted_labels_are_rejected_as_often_as_stated(shift: float) -> None:
    # With a shift, too: permuting the labels takes it away.
    rejected = false_positives(_kernel(_differences(1, shift)), 99, 400, "test", int(shift))
    rate = binomial_interval(rejected, 400, 0.99)
    assert rate.low <= 0.05 <= rate.high


def test_power_grows_with_pairs() -> None:
    of = _kernel(_differences(1, 3.0))
    few, many = (detections(of, size, 99, 40, "test") for size in (5, 20))
    assert few < many and many > 30
    # All pairs are the same as the test itself.
    assert detections(of, PAIRS, 99, 1, "x") == (separation_test(of, 99, "x").overall <= 0.05)


def test_few_pairs_have_all_their_relabellings() -> None:
    d = _differences(0)[:6]
    of = kernel([Part(d, EVERY[:6])], EVERY[:6])
    drawn, exact = null(of, 100, "few")
    assert exact and len(drawn) == 64
    # Over all relabellings, products of different pairs cancel.
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=1e-12)
