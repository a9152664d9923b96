"""Norms whose scale is held while what they are given changes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paradox.errors import CheckpointError


def wide(values: Tensor) -> Tensor:
    """Return values in float32, or in float64 if they are."""
    return values if values.dtype == torch.float64 else values.float()


def frozen_norm(norm: nn.Module, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return gain (d,) and scale (..., 1) of an RMS norm: norm(values) = values * gain * scale.

    Raises `CheckpointError` when the norm is of another kind.
    """
    epsilon = getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
    weight = getattr(norm, "weight", None)
    if epsilon is None or weight is None:
        raise CheckpointError(f"{type(norm).__name__} is no RMS norm with a weight; none other is.")
    scale = torch.rsqrt(values.pow(2).mean(-1, keepdim=True) + epsilon)
    expected = norm(values)
    # Gemma's gain is one plus the weight.
    for gain in (wide(weight), 1 + wide(weight)):
        if torch.allclose(values * gain * scale, expected.to(values), rtol=2e-2, atol=1e-3):
            return gain, scale
    raise CheckpointError(f"{type(norm).__name__} is no RMS norm with a known gain.")
