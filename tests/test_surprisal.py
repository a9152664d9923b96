"""-log p from counts of right samples: its closed form, its bias, its sampling error."""

from __future__ import annotations

import numpy as np
import pytest

from paradox.stats.surprisal import missing, surprisal, variance

RATES = [0.05, 1 / 13, 0.2, 0.5, 0.9, 1.0]


def test_all_terms_are_a_difference_of_harmonic_numbers() -> None:
    harmonic = np.concatenate([[0], np.cumsum(1 / np.arange(1, 17))])
    assert surprisal(np.arange(17), 16, 16) == pytest.approx(harmonic[16] - harmonic)


@pytest.mark.parametrize("terms", [2, 5, 16])
@pytest.mark.parametrize("p", RATES)
def test_the_bias_is_what_is_missing(p: float, terms: int) -> None:
    right = np.random.default_rng([int(1000 * p), terms]).binomial(16, p, 200_000)
    values = surprisal(right, 16, terms)
    error = 4 * values.std() / np.sqrt(len(values)) + 1e-12
    gone = float(missing(p, terms))
    assert values.mean() == pytest.approx(-np.log(p) - gone, abs=error)
    # The bound of the docstring.
    assert -1e-12 <= gone <= (1 - p) ** (terms + 1) / ((terms + 1) * p) + 1e-12


def test_the_bias_is_small_with_sixteen_samples() -> None:
    assert missing(0.2, 16) < 0.01 < missing(1 / 13, 16) < 0.15
    # Two samples say little: numbers with two and with sixteen are not to be compared.
    assert missing(0.2, 2) > 0.4


@pytest.mark.parametrize("p", RATES[:5])
def test_the_sampling_error_is_that_of_repeated_samples(p: float) -> None:
    right = np.random.default_rng(int(1000 * p)).binomial(16, p, 100_000)
    for terms in (2, 16):
        said = variance(right, 16, terms).mean()
        found = surprisal(right, 16, terms).var()
        assert said == pytest.approx(found, rel=0.4, abs=0.002), terms
    assert (variance(np.arange(17), 16, 16) > 0).all()


def test_the_mean_over_items_has_the_said_error() -> None:
    rng = np.random.default_rng(4)
    rates = rng.uniform(0.1, 0.95, 64)
    right = rng.binomial(16, rates, (4000, 64))
    means = surprisal(right, 16, 16).mean(axis=1)
    said = np.sqrt(variance(right, 16, 16).sum(axis=1)) / 64
    assert said.mean() == pytest.approx(means.std(), rel=0.1)


def test_more_terms_than_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="within 1 and 2"):
        surprisal([1], 2, 3)
    with pytest.raises(ValueError, match="within 0 and 2"):
        surprisal([3], 2, 2)
