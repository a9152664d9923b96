"""-log p of a right answer, whatever the way to it, from counts of right samples.

A fixed text has one way to an answer; p is the probability of a right answer over all of them, as
the model samples. With -log p = sum over k >= 1 of (1 - p)^k / k, and with the share of subsets of
k among n samples that hold no right one as an unbiased estimate of (1 - p)^k
(`paradox.stats.passk`), the sum over k up to m <= n is estimated without bias. With m = n it is
H_n - H_c for c right samples (H: harmonic numbers), the digamma estimate of -log p, finite for
c = 0, too.

Bias: the terms beyond m are missing, so the estimate is too small, by less than
(1 - p)^(m + 1) / ((m + 1) p) on average (`missing`): .01 nats at p = .2 with 16 terms, .5 at .2
with two. Numbers with unlike m are not to be compared.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from paradox.stats.passk import pass_at_k

Array = NDArray[np.float64]


def surprisal(right: ArrayLike, samples: int, terms: int) -> Array:
    """Return the estimate of -log p (nats) for every count of right samples.

    Parameters
    ----------
    right
        Counts within 0 and `samples`, of any shape.
    terms
        m, at most `samples`.

    Raises
    ------
    ValueError
        When a count, or the number of terms, is not within its bounds.

    >>> surprisal([0, 1, 2], 2, 2).tolist()
    [1.5, 0.5, 0.0]
    """
    ks = np.arange(1, terms + 1)
    return (1 - pass_at_k(right, samples, ks.tolist())) @ (1 / ks)


def variance(right: ArrayLike, samples: int, terms: int) -> Array:
    """Return the variance of the estimate by sampling, for every count of right samples.

    It is that of samples whose rate is (c + 1/2) / (n + 1), summed over all counts, so that it is
    above 0 for c = 0 and c = n as well.
    """
    counts = np.arange(samples + 1)
    values = surprisal(counts, samples, terms)
    chances = stats.binom.pmf(counts, samples, (counts[:, None] + 0.5) / (samples + 1))
    spread = chances @ values**2 - (chances @ values) ** 2
    return spread[np.asarray(right).astype(np.int64)]


def missing(p: ArrayLike, terms: int) -> Array:
    """Return by how much the estimate is too small on average, for every true p above 0."""
    p = np.asarray(p, dtype=np.float64)
    ks = np.arange(1, terms + 1)
    return -np.log(p) - ((1 - p)[..., None] ** ks) @ (1 / ks)
