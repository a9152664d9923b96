"""The bootstrap against closed forms, and exact binomial values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from paradox.stats.bootstrap import (
    Resampling,
    binomial_interval,
    chance_range,
    interval,
    pigeonhole,
)

R = Resampling(seed=7, resamples=2000)
Z = 1.959964


def _normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def test_crossed_variance_is_the_closed_form_for_additive_effects() -> None:
    # For a + b the pigeonhole variance is var(a) / items + var(b) / seeds, exactly.
    item, seed = _normal(100), _normal(8, seed=1)
    draws = pigeonhole({"g": item[:, None] + seed[None, :]}, Resampling(3, 20000))["g"]
    expected = item.var() / 100 + seed.var() / 8
    assert draws.var() == pytest.approx(expected, rel=0.05)


def test_an_interval_of_draws_is_the_closed_form() -> None:
    values = _normal(400)
    low, high = interval(pigeonhole({"items": values}, R)["items"], 0.95)
    assert (high - low) / 2 == pytest.approx(Z * values.std() / math.sqrt(400), rel=0.06)


def test_same_seed_same_numbers_other_seed_other_numbers() -> None:
    values = {"items": _normal(50)}
    draws = pigeonhole(values, R)["items"]
    np.testing.assert_array_equal(draws, pigeonhole(values, Resampling(7, 2000))["items"])
    assert (draws != pigeonhole(values, Resampling(8, 2000))["items"]).any()


def test_missing_values_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        pigeonhole({"items": [1.0, float("nan")]}, R)
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
