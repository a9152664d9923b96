"""The closed form of the clipping bias: published values and the surrogate's own gradient."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from paradox.mechanisms.clipping.bias import gradient_factor, mu, reachable


@pytest.mark.parametrize(
    ("gamma", "expected"), [(0.5, 0.468), (0.3, 0.4255), (0.7, 0.4255), (0.001, 0.00373)]
)
def test_mu_is_the_published_value(gamma: float, expected: float) -> None:
    assert mu(gamma, 16) == pytest.approx(expected, rel=2e-3)


def test_mu_needs_a_spread() -> None:
    assert mu(0, 8) == mu(1, 8) == 0
    with pytest.raises(ValueError, match="gamma"):
        mu(1.5, 8)


def _advantages(rewards: tuple[int, ...]) -> torch.Tensor:
    values = torch.tensor(rewards, dtype=torch.float64)
    std = values.std()
    return (values - values.mean()) / std if std > 0 else torch.zeros_like(values)


def _expected_gradient(ratio: float, epsilon: float, gamma: float, group: int) -> float:
    """Gradient in log pi of the clipped surrogate of one token, over all reward vectors."""
    old = math.log(0.3)
    total = 0.0
    for rewards in itertools.product([0, 1], repeat=group):
        chance = math.prod(gamma if reward else 1 - gamma for reward in rewards)
        logp = torch.tensor(old + math.log(ratio), dtype=torch.float64, requires_grad=True)
        change = torch.exp(logp - old)
        advantage = _advantages(rewards)[0]
        clipped = torch.clamp(change, 1 - epsilon, 1 + epsilon)
        torch.min(change * advantage, clipped * advantage).backward()
        total += chance * float(logp.grad)
    return total


@pytest.mark.parametrize(("gamma", "group"), [(0.5, 4), (0.3, 3), (0.5, 2)])
@pytest.mark.parametrize("epsilon", [0.2, 0.02, 1e8])
def test_factor_is_the_gradient_of_the_surrogate(gamma: float, group: int, epsilon: float) -> None:
    for ratio in (0.5, 0.79, 0.81, 0.99, 1.01, 1.19, 1.21, 2.0):
        # d ratio / d log pi is the ratio.
        expected = gradient_factor(ratio, epsilon, mu(gamma, group)) * ratio
        found = _expected_gradient(ratio, epsilon, gamma, group)
        assert found == pytest.approx(float(expected), abs=1e-12)


def test_high_priors_meet_the_lower_edge_only() -> None:
    assert reachable(0.84, 0.2) == (True, False)
    assert reachable(0.83, 0.2) == (True, True)
    assert reachable(0.9, 0.02) == (True, True)  # 1 / .9 > 1.02
    assert reachable(0.1, 1e8) == (False, False)
