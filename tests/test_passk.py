"""pass@k against enumeration; crossings against planted ones."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from paradox.stats.bootstrap import Resampling
from paradox.stats.passk import ABOVE, BELOW, CROSSES, EQUAL, crossing, pass_at_k, powers, swap_test
from paradox.stats.ratios import Drawn, drawn

KS = powers(64)


def test_equals_enumeration_of_all_subsets() -> None:
    """The estimate is the share of subsets of k samples that hold a right one."""
    n = 7
    for right in range(n + 1):
        samples = [True] * right + [False] * (n - right)
        for k in range(1, n + 1):
            every = [any(subset) for subset in itertools.combinations(samples, k)]
            assert pass_at_k([right], n, [k])[0, 0] == pytest.approx(np.mean(every), abs=1e-12)


def test_is_unbiased_and_stable() -> None:
    """Its mean over binomial counts is 1 - (1 - p)^k, also for many samples."""
    n, p, ks = 1024, 0.01, [1, 32, 512, 1024]
    counts = np.arange(n + 1)
    logs = [math.lgamma(n + 1) - math.lgamma(c + 1) - math.lgamma(n - c + 1) for c in counts]
    weights = np.exp(np.array(logs) + counts * math.log(p) + (n - counts) * math.log1p(-p))
    expected = 1 - (1 - p) ** np.array(ks)
    assert weights @ pass_at_k(counts, n, ks) == pytest.approx(expected, abs=1e-9)


def test_refuses_what_cannot_be() -> None:
    """A k beyond the samples is not estimable without bias, and counts are whole."""
    for right, ks in (([3], [9]), ([9], [1]), ([0.5], [1]), ([1], [0])):
        with pytest.raises(ValueError, match="within"):
            pass_at_k(right, 8, ks)


def _curves(rates: np.ndarray, seed: int, seeds: int = 1) -> np.ndarray:
    counts = np.random.default_rng(seed).binomial(64, rates[:, None], (len(rates), seeds))
    return pass_at_k(counts, 64, KS).swapaxes(1, 2)


def test_finds_a_planted_crossing() -> None:
    """Half of the items always, the others never, against all at a low rate: they cross."""
    base = np.full(200, 0.1)
    after = np.where(np.arange(200) < 100, 0.99, 0.0)
    # 1/2 = 1 - .9^k at k = 6.6.
    true = math.log(0.5) / math.log(0.9)
    found = drawn(_curves(after, 1) - _curves(base, 2), Resampling(0, 500), "items")
    place = crossing(found, KS)
    assert place.kind == CROSSES and place.share == 1
    assert place.low < true < place.high and place.high < 1.6 * place.low
    other = crossing(Drawn(-found.value, -found.draws), KS)
    assert (other.kind, other.k, other.high) == (BELOW, 0, 0)


def test_says_that_there_is_none() -> None:
    """Curves that never come below have no crossing; equal ones have no place."""
    better = drawn(_curves(np.full(50, 0.6), 1) - _curves(np.full(50, 0.1), 2), Resampling(0), "i")
    found = crossing(better, KS)
    assert (found.kind, found.k, found.low) == (ABOVE, math.inf, math.inf)
    same = crossing(Drawn(0 * better.value, 0 * better.draws), KS)
    assert same.kind == EQUAL and math.isnan(same.low)


def test_interval_covers_open_ends() -> None:
    """Where some resamples do not cross, the interval is open."""
    value = np.array([0.2, 0.1, -0.01])
    draws = value + np.linspace(-0.05, 0.05, 101)[:, None]
    found = crossing(Drawn(value, draws), [1, 2, 4])
    assert found.kind == CROSSES and 2 < found.low < found.k < found.high == math.inf


def test_swaps_have_the_stated_false_positive_rate() -> None:
    """Samples of the same rates are told apart in 5 % of studies, also with several seeds."""
    rates = np.random.default_rng(0).beta(0.5, 1, 40)
    runs, hits = 300, 0
    for run in range(runs):
        base, after = _curves(rates, 2 * run), _curves(rates, 2 * run + 1, seeds=3)
        test = swap_test(after.mean(axis=2), base.mean(axis=2), run, permutations=199)
        hits += test.overall <= 0.05
    assert 4 <= hits <= 27  # 99.9 % of Binomial(300, .05)
