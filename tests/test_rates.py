"""Rates of tests whose errors are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from paradox.stats.layers import flips, max_test
from paradox.stats.rates import ALPHA, false_positives, largest_layer, overall, paired, power

RUNS = 2000
LOW, HIGH = stats.binom.ppf([0.0005, 0.9995], RUNS, ALPHA)


def sides(effect: float = 0.0, pairs: int = 30, layers: int = 6) -> np.ndarray:
    """Return two sides with skewed noise, layers being much alike."""
    rng = np.random.default_rng(0)
    values = rng.exponential(size=(pairs, 2, 1)) + 0.3 * rng.normal(size=(pairs, 2, layers))
    values[:, 0, 3] += effect
    return values


@pytest.mark.parametrize("digits", [None, 0])
def test_many_at_once_are_as_one_by_one(digits: int | None) -> None:
    rng = np.random.default_rng(1)
    samples = rng.normal(size=(5, 12, 4)) + 0.4
    if digits is not None:  # ties, and a layer that never varies
        samples = samples.round(digits)
        samples[:, :, 2] = 0
    signs = np.stack([flips(12, 59, run)[0] for run in range(5)])
    for found, sample, own in zip(overall(samples, signs), samples, signs, strict=True):
        assert found == max_test(sample.mean(axis=0), own @ sample / 12).overall


def test_permuted_labels_are_rejected_as_rarely_as_stated() -> None:
    test = largest_layer(39)
    hits = false_positives(test, sides(3.0), "a", runs=RUNS)
    assert LOW <= hits <= HIGH
    assert hits != false_positives(test, sides(3.0), "b", runs=RUNS)


def test_a_test_that_forgets_the_layers_is_caught() -> None:
    def each_alone(samples: np.ndarray, _: np.random.Generator) -> np.ndarray:
        differences = samples[:, :, 0] - samples[:, :, 1]
        return (stats.ttest_1samp(differences, 0, axis=1).pvalue <= ALPHA).any(axis=1)

    independent = np.random.default_rng(2).normal(size=(30, 2, 6))
    assert false_positives(each_alone, independent, "a", runs=RUNS) > HIGH


def test_power_is_that_of_the_effect_and_the_pairs() -> None:
    test = largest_layer(39)
    rates = [power(test, sides(e), "a", runs=100, pairs=n) for e, n in ((0.6, 8), (0.6, 60))]
    assert rates[0] < 60 < 90 < rates[1]
    assert power(test, sides(9.0), "a", runs=100, pairs=20) == 100


def test_pairs_are_compared_by_the_model() -> None:
    samples = np.random.default_rng(3).normal(size=(50, 12, 2, 1))
    rejected = paired(samples, np.random.default_rng(0))
    gaps = samples[:, :, 0, 0] - samples[:, :, 1, 0]
    assert (rejected == (stats.ttest_1samp(gaps, 0, axis=1).pvalue <= ALPHA)).all()
    assert LOW <= false_positives(paired, sides(3.0, layers=4)[..., 3:], "a", runs=RUNS) <= HIGH
    assert power(paired, sides(9.0, layers=4)[..., 3:], "a", runs=100, pairs=20) == 100
    # Equal sides, and a single pair, say nothing.
    assert not paired(np.ones((3, 5, 2, 1)), np.random.default_rng(0)).any()
    assert not paired(samples[:, :1], np.random.default_rng(0)).any()
