"""Stand-ins for the norms that read the residual: each reader's gradient, or input, by itself.

A norm hands each reader a copy of its own; where a model has none (OLMo 2 norms what a branch
returns), the readers take copies of the residual.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from paradox.mechanisms.eap.graph import MLP, READERS
from paradox.mechanisms.model.access import on_input
from paradox.mechanisms.model.architecture import Block
from paradox.mechanisms.model.norms import frozen_norm, wide


class Norm(NamedTuple):
    """An RMS norm: x * rsqrt(mean(x^2) + epsilon) * gain."""

    gain: Tensor
    epsilon: float

    @classmethod
    def of(cls, norm: nn.Module) -> Norm:
        """Return what a module does, or raise a `CheckpointError`."""
        weight = getattr(norm, "weight", None)
        like = torch.ones(1) if weight is None else wide(weight.detach())
        # Not of mean 0, where a layer norm would look the same.
        trial = torch.linspace(-1, 2, like.shape[-1], dtype=like.dtype, device=like.device)
        gain, _ = frozen_norm(norm, trial[None])
        return cls(gain.detach(), getattr(norm, "variance_epsilon", getattr(norm, "eps", 0.0)))


Readers = list[tuple[str, int]]
Reading = Callable[[Tensor, Norm | None, Readers], Any]


def normed(x: Tensor, norm: Norm | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return the normed values, those before the gain, and the scale."""
    if norm is None:
        return x, x, x
    whole = wide(x)
    square = torch.linalg.vector_norm(whole, dim=-1, keepdim=True).square_()
    scale = square.div_(x.shape[-1]).add_(norm.epsilon).rsqrt_()
    unit = whole * scale
    return (unit * norm.gain).to(x.dtype), unit, scale


class Normed(torch.autograd.Function):
    """A norm with several readers, whose gradients it takes one by one."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, norm: Norm | None, copies: int, sink: Callable[..., None] | None
    ) -> tuple[Tensor, ...]:
        """Return so many copies; `sink` is to be given the gradients at the input."""
        ctx.norm, ctx.sink = norm, sink
        out, *saved = normed(x, norm)
        if norm is not None:
            ctx.save_for_backward(*saved)
        return tuple(out.detach() for _ in range(copies))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Take each copy's gradient through the norm by itself; their sum goes on."""
        back = torch.stack(gradients, 1)  # (items, readers, positions, width)
        if ctx.norm is not None:
            unit, scale = (saved[:, None] for saved in ctx.saved_tensors)
            dtype, back = back.dtype, wide(back).mul_(ctx.norm.gain)
            along = (back * unit).sum(-1, keepdim=True).div_(unit.shape[-1])
            back = back.addcmul_(unit, along, value=-1).mul_(scale).to(dtype)
        if ctx.sink is not None:
            ctx.sink(back)
        return back.sum(1), None, None, None


def stand_in(
    stack: ExitStack, block: Block, number: int, reading: Reading, norms: dict[nn.Module, Norm]
) -> None:
    """Let `reading` do what the norms of a block do."""
    pending: list[Tensor] = []
    three = [(kind, number) for kind in READERS[:3]]

    def attention(x: Tensor) -> Tensor:
        pending[:] = reading(x, norms.get(block.attention_in), three)
        return pending[0]

    def mlp(x: Tensor) -> Tensor:
        return reading(x, norms.get(block.mlp_in), [(MLP, number)])[0]

    for norm, module, read in (
        (block.attention_in, block.attention, attention),
        (block.mlp_in, block.mlp, mlp),
    ):
        if norm in norms:
            stack.enter_context(replaced(norm, read))
        else:
            stack.callback(on_input(module, read).remove)
    for place, name in enumerate(("q_proj", "k_proj", "v_proj")):
        projection = getattr(block.attention, name)
        stack.callback(on_input(projection, lambda _, place=place: pending[place]).remove)
    for norm in (block.attention_out, block.mlp_out):
        if norm in norms:
            branch = norms[norm]
            # What a branch returns is no reading of the residual.
            stack.enter_context(replaced(norm, lambda x, branch=branch: reading(x, branch, [])[0]))


@contextmanager
def replaced(module: nn.Module, replacement: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace what a module computes; the library's own way would be computed for nothing."""
    forward = module.__dict__.get("forward")
    module.forward = replacement  # type: ignore[method-assign]
    try:
        yield
    finally:
        if forward is None:
            del module.forward
        else:
            module.forward = forward  # type: ignore[method-assign]


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Ask for no gradients of parameters: they are a third of a backward pass."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
