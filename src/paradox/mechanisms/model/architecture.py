"""Find the parts of a decoder's blocks by what they are made of, not by the model's name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from paradox.errors import ParadoxError

# Norm before attention, after it, before the MLP, after it. The same name means different
# things: only the whole set of a block's norms tells.
ARRANGEMENTS: tuple[tuple[str | None, ...], ...] = (
    ("input_layernorm", None, "post_attention_layernorm", None),
    (None, "post_attention_layernorm", None, "post_feedforward_layernorm"),
    (
        "input_layernorm",
        "post_attention_layernorm",
        "pre_feedforward_layernorm",
        "post_feedforward_layernorm",
    ),
)
NORMS = {frozenset(name for name in names if name): names for names in ARRANGEMENTS}


class AccessError(ParadoxError):
    """A model whose parts are not found, or a node, mask or value that does not fit it."""


@dataclass(frozen=True)
class Block:
    """The parts of one block; a norm that the architecture does not have is the identity."""

    module: nn.Module
    attention: nn.Module
    mlp: nn.Module
    attention_in: nn.Module
    attention_out: nn.Module
    mlp_in: nn.Module
    mlp_out: nn.Module

    def feed_forward(self, middle: Tensor) -> Tensor:
        """Return what the MLP adds to the residual `middle` (the one after attention)."""
        return self.mlp_out(self.mlp(self.mlp_in(middle)))

    def attend(self, residual: Tensor, **arguments: Any) -> Tensor:
        """Return what attention adds to `residual`; `arguments` go to the attention module."""
        return self.attention_out(self.attention(self.attention_in(residual), **arguments)[0])


def title(model: PreTrainedModel) -> str:
    """Return the model's class and type, for messages."""
    return f"{type(model).__name__} ({model.config.model_type})"


def find_blocks(model: PreTrainedModel) -> tuple[list[Block], nn.Module]:
    """Return the blocks and the final norm: the list of blocks has it as its sibling."""
    seen = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or not len(module):
            continue
        parts = [_parts(block) for block in module]
        parent = model.get_submodule(name.rpartition(".")[0])
        if all(parts) and hasattr(parent, "norm"):
            return [part for part in parts if part], parent.norm
        seen.append(f"{name} of {type(module[0]).__name__}")
    raise AccessError(
        f"{title(model)}: no list of blocks with an attention (q_proj, k_proj, v_proj, o_proj), "
        "an MLP (gate_proj, up_proj, down_proj), norms in a known arrangement and a final norm "
        f"beside it; found: {', '.join(seen) or 'no lists of modules'}."
    )


def _parts(block: nn.Module) -> Block | None:
    children = dict(block.named_children())
    attentions = _having(children, ("q_proj", "k_proj", "v_proj", "o_proj"))
    mlps = _having(children, ("gate_proj", "up_proj", "down_proj"))
    norms = NORMS.get(frozenset(name for name in children if name.endswith("norm")))
    if len(attentions) != 1 or len(mlps) != 1 or norms is None:
        return None
    modules = [nn.Identity() if name is None else children[name] for name in norms]
    return Block(block, attentions[0], mlps[0], *modules)


def _having(children: dict[str, nn.Module], names: tuple[str, ...]) -> list[nn.Module]:
    return [child for child in children.values() if all(hasattr(child, name) for name in names)]
