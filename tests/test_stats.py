"""The bootstrap against closed forms, coverage in simulation, and exact binomial values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from paradox.stats.bootstrap import (
    Resampling,
    binomial_interval,
    chance_range,
    difference_in_differences,
    equivalence,
    mean,
    pigeonhole,
)

R = Resampling(seed=7, resamples=2000)
Z = 1.959964


def _normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def test_mean_interval_is_the_closed_form() -> None:
    values = _normal(400)
    found = mean(values, R)
    half = Z * values.std() / math.sqrt(len(values))
    assert found.value == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.06)
    assert (found.items, found.seeds) == (400, 1)


def test_crossed_variance_is_the_closed_form_for_additive_effects() -> None:
    # For a + b the pigeonhole variance is var(a) / items + var(b) / seeds, exactly.
    item, seed = _normal(100), _normal(8, seed=1)
    draws = pigeonhole({"g": item[:, None] + seed[None, :]}, Resampling(3, 20000))["g"]
    expected = item.var() / 100 + seed.var() / 8
    assert draws.var() == pytest.approx(expected, rel=0.05)


def test_seed_spread_widens_the_interval() -> None:
    item = _normal(100)
    spread = item[:, None] + np.array([-1.0, 0.0, 1.0])
    one, three = mean(item, R), mean(spread, R)
    assert three.high - three.low > 2 * (one.high - one.low)


def test_did_resamples_groups_separately() -> None:
    exposed, twin = _normal(200), 2 * _normal(300, seed=1)
    found = difference_in_differences(exposed, twin, R)
    half = Z * math.sqrt(exposed.var() / 200 + twin.var() / 300)
    assert found.did.value == pytest.approx(exposed.mean() - twin.mean())
    assert (found.did.high - found.did.low) / 2 == pytest.approx(half, rel=0.08)
    assert found.did.items == 500
    assert found.exposed.items == 200


def test_coverage_of_the_did_interval() -> None:
    rng = np.random.default_rng(5)
    quick, hits, runs = Resampling(1, 500), 0, 400
    for _ in range(runs):
        exposed = rng.binomial(16, 0.5, size=50) / 16 + 0.2
        twin = rng.binomial(16, 0.3, size=50) / 16
        did = difference_in_differences(exposed, twin, quick).did
        hits += did.low <= 0.4 <= did.high
    assert 0.91 <= hits / runs <= 0.98


def test_equivalence_needs_a_tight_interval_inside_the_margin() -> None:
    tight = 0.01 * _normal(100)
    assert equivalence(tight, -tight, 0.03, R).equivalent
    assert not equivalence(tight + 0.05, tight, 0.03, R).equivalent
    wide = _normal(100)
    result = equivalence(wide, -wide, 0.03, R)
    assert not result.equivalent
    assert result.p > 0.05
    assert equivalence(tight, -tight, 0.03, R).p < 0.01


def test_verdict_and_p_agree() -> None:
    for shift in np.linspace(0, 0.2, 15):
        values = 0.5 * _normal(80, seed=3)
        result = equivalence(values + shift, values, 0.15, R)
        assert result.equivalent == (result.p < 0.05) or abs(result.p - 0.05) < 0.002


def test_same_seed_same_numbers_other_seed_other_numbers() -> None:
    values = _normal(50)
    assert mean(values, R) == mean(values, Resampling(7, 2000))
    assert mean(values, R).low != mean(values, Resampling(8, 2000)).low


def test_missing_values_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        mean([1.0, float("nan")], R)
    with pytest.raises(ValueError, match="number of seeds"):
        pigeonhole({"a": np.ones((3, 2)), "b": np.ones((3, 1))}, R)


def test_exact_binomial_values() -> None:
    # Closed forms: with no success the upper end is 1 - (alpha / 2) ** (1 / n).
    none = binomial_interval(0, 20)
    assert none.low == 0
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 20))
    every = binomial_interval(20, 20)
    assert every.low == pytest.approx(0.025 ** (1 / 20))


def test_chance_range_cuts_at_most_the_tails() -> None:
    n, p = 128, 1 / 13
    low, high = (round(share * n) for share in chance_range(n, p))
    pmf = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    assert sum(pmf[:low]) <= 0.025 < sum(pmf[: low + 1])
    assert sum(pmf[high + 1 :]) <= 0.025 < sum(pmf[high:])
