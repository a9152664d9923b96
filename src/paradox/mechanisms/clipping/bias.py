"""What clipping does, on average, to a reward that is independent of the response.

For one token with ratio r, and A drawn as in a group of coins (derived in docs/clipping.md),

    E[gradient] = mu * (dr/dtheta) * (+1 below 1 - epsilon, 0 inside, -1 above 1 + epsilon).

mu is P(A > 0) E[A | A > 0]. As r cannot exceed 1 / (old probability), a token of high old
probability only meets the lower edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats


@dataclass(frozen=True)
class Method:
    """A method of the study.

    `epsilon` is half the width of its clip band; with 1 update per rollout the ratio is 1, and
    nothing can be clipped.
    """

    name: str
    epsilon: float
    updates_per_rollout: int

    @property
    def clips(self) -> bool:
        """Whether a token can be clipped at all."""
        return self.epsilon < 1 and self.updates_per_rollout > 1

    @property
    def rank(self) -> float:
        """Rise with how much is clipped; 0 for methods that do not clip."""
        return 1 / self.epsilon if self.clips else 0.0


def mu(gamma: float, group: int) -> float:
    """Return the mean positive part of the advantage of a coin reward, exactly.

    `gamma` is the probability of reward 1, `group` completions per prompt. Advantages are (r -
    mean) / std with the unbiased std; groups without spread have none. TRL adds 1e-4 to the std,
    which changes mu by less than .1 %.

    >>> round(mu(0.5, 16), 3)
    0.468
    """
    if not 0 <= gamma <= 1 or group < 2:
        raise ValueError(f"needed gamma in [0, 1] and group >= 2: {gamma}, {group}")
    ones = np.arange(1, group)
    spread = np.sqrt(ones * (group - ones) * group * (group - 1.0)) / group**2
    return float(stats.binom.pmf(ones, group, gamma) @ spread)


def gradient_factor(ratio: ArrayLike, epsilon: float, strength: float) -> NDArray[np.float64]:
    """Return the factor of the ratio's gradient in the expected gradient of one token.

    `ratio`: probability now over that when sampled; `epsilon`: half the width of the band;
    `strength`: `mu` of the reward.
    """
    ratios = np.asarray(ratio, dtype=np.float64)
    return strength * ((ratios < 1 - epsilon).astype(float) - (ratios > 1 + epsilon))


def reachable(prior: float, epsilon: float) -> tuple[bool, bool]:
    """Return whether the ratio of a token can pass the lower and the upper edge of the band.

    >>> reachable(0.85, 0.2), reachable(0.02, 0.2), reachable(0.5, 1e8)
    ((True, False), (True, True), (False, False))
    """
    return 1 - epsilon > 0, 1 / prior > 1 + epsilon
