"""Step ``lens``: where, going up the blocks, the gold answer appears, and what writes it.

At the position that predicts the first answer token, for the gold answer and a wrong one of the
same form (``control_``): log-probability and rank had the model stopped after a block (layer -1 is
the embedding), and what each part adds to the answer's logit minus the mean logit, final norm
frozen, so that the parts add up to the logit (the one before a cap).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from paradox.mechanisms.model.access import (
    ATTN_OUT,
    HEAD_IN,
    MLP_OUT,
    RESID_POST,
    RESID_PRE,
    Access,
    Node,
)
from paradox.mechanisms.model.checkpoint import last_checkpoint
from paradox.mechanisms.model.norms import frozen_norm, wide
from paradox.mechanisms.model.recalls import batches
from paradox.mechanisms.tables.pairs import item_rows
from paradox.models import device_name, pick_device
from paradox.progress import Progress

# Nothing is sampled: rounding on another device moves the numbers and no more.
DETERMINISM = "tolerance"


class Lens(NamedTuple):
    """Readings of the residual, shape (L + 1, items, positions, tokens); row 0 is layer -1."""

    logp: Tensor  # natural log-probability
    rank: Tensor  # one plus the number of tokens with a higher logit


class Attribution(NamedTuple):
    """Parts of a logit minus the mean logit; axes (..., items, positions, tokens)."""

    embedding: Tensor  # of the embedding
    # `attention`, `mlp`: of each block, with the blocks as first axis.
    attention: Tensor
    mlp: Tensor
    # Of each attention head, with blocks and heads as first axes (None if not asked for); they add
    # up to `attention` less the part of the output projection's bias.
    heads: Tensor | None
    bias: Tensor  # of the output embedding's bias; 0 for models without one
    total: Tensor  # the logit minus the mean logit, computed from the whole residual

    def sum(self) -> Tensor:
        """Return the sum of all parts, which equals `total` up to rounding."""
        return self.embedding + self.attention.sum(0) + self.mlp.sum(0) + self.bias


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Read every item at the last checkpoint of an arm.

    ``spec``: ``arm``, ``task``, ``seed`` (of the wrong answers) and ``lens``. ``inputs``:
    ``manifest`` and ``items``. ``outputs``: ``lens``, a row per item and layer; ``attribution``, a
    row per item, component and layer, with the number of the gold answer's tokens and whether its
    first one is the model's first choice; ``emergence``, a row per item.
    """
    settings = spec["lens"]
    checkpoint = last_checkpoint(spec, inputs, settings["dtype"])
    access, prompts = checkpoint.access, checkpoint.recalls(spec["seed"])
    progress.say(f"reading {len(prompts)} items on {device_name(pick_device())}")
    readings: dict[str, list[Tensor]] = {}
    order: list[int] = []
    for batch in batches(prompts, settings["batch_size"], access.model.device, answers=False):
        tokens = torch.stack([batch.gold[:, 0], batch.control], -1)[:, None]
        for name, values in _read(access, batch.inputs, [batch.at], tokens).items():
            readings.setdefault(name, []).append(values.cpu())
        order += batch.rows
        progress("items", len(order), len(prompts))
    back = torch.tensor(order).argsort()
    values = {name: torch.cat(parts, -2)[..., back, :] for name, parts in readings.items()}
    lengths = [len(prompt.gold) for prompt in prompts]
    for name, table in tables(values, checkpoint.items, lengths).items():
        checkpoint.write(outputs[name], table)


def _read(
    access: Access, inputs: Mapping[str, Tensor], positions: list[int], tokens: Tensor
) -> dict[str, Tensor]:
    """Return all readings at the only position, axes (..., items, tokens)."""
    read = lens(access, inputs, positions, tokens)
    parts = attribution(access, inputs, positions, tokens)
    named = {**read._asdict(), "embedding": parts.embedding[None]}
    named |= {"attention": parts.attention, "mlp": parts.mlp}
    return {name: value.squeeze(-2) for name, value in named.items()}


def tables(
    values: Mapping[str, Tensor], items: pd.DataFrame, lengths: list[int]
) -> dict[str, pd.DataFrame]:
    """Return the tables ``lens``, ``attribution`` and ``emergence`` of the readings.

    `values`: ``logp`` and ``rank``, shape (L + 1, items, 2), and ``embedding``, ``attention`` and
    ``mlp``, shape (layers, items, 2); the last axis is gold, control. `lengths`: of the answers.
    """
    rank = values["rank"].long()
    first = emergence(rank)
    layers = torch.arange(-1, len(rank) - 1)
    emerged = (layers[:, None, None] >= first).long()
    measured = {"logp": values["logp"], "rank": rank, "emerged": emerged}
    read = item_rows(items, "resid", layers.tolist(), _columns(measured))
    parts = []
    for name, start in (("embedding", -1), ("attention", 0), ("mlp", 0)):
        blocks = range(start, start + len(values[name]))
        columns = _columns({"logit": values[name]})
        columns["answer_tokens"] = [lengths] * len(blocks)
        columns["first_choice"] = [(rank[-1, :, 0] == 1).tolist()] * len(blocks)
        parts.append(item_rows(items, name, blocks, columns))
    firsts = items[["item", "group", "exposure"]].reset_index(drop=True)
    firsts = firsts.assign(emergence=first[:, 0].numpy(), control_emergence=first[:, 1].numpy())
    attributed = pd.concat(parts, ignore_index=True)
    return {"lens": read, "attribution": attributed, "emergence": firsts}


def _columns(measured: Mapping[str, Tensor]) -> dict[str, Any]:
    return {
        prefix + name: reading[..., place].numpy()
        for place, prefix in enumerate(("", "control_"))
        for name, reading in measured.items()
    }


def emergence(rank: Tensor) -> Tensor:
    """Return the first layer from which the token stays first, L (number of blocks) if never.

    `rank`: from layer -1 to L - 1 along the first axis.

    >>> emergence(torch.tensor([[9, 1, 1], [1, 1, 1], [3, 1, 2], [1, 1, 2]])).tolist()
    [2, -1, 3]
    """
    lasting = (rank == 1).long().flip(0).cumprod(0).sum(0)
    return len(rank) - 1 - lasting


@torch.no_grad()
def lens(
    access: Access, inputs: Mapping[str, Tensor], positions: list[int] | Tensor, tokens: Tensor
) -> Lens:
    """Return the logit lens of all layers at the positions asked for, holding no others' logits.

    `inputs`: keyword arguments of a forward pass.
    `positions`: the same for all items (K,) or one row per item (B, K).
    `tokens`: to follow at each position, shape (B, K, C).
    """
    nodes = [Node(RESID_PRE, 0), *access.nodes(RESID_POST)]
    with access.capture(nodes, positions) as captured:
        # The model's own logits are not used: one position is the least that it computes.
        access.model(**inputs, use_cache=False, logits_to_keep=1)
    logp, rank = [], []
    for node in nodes:
        logits = wide(access.logits(captured.pop(node)))
        chosen = logits.gather(-1, tokens)
        logp.append(chosen - logits.logsumexp(-1, keepdim=True))
        higher = [(logits > chosen[..., c, None]).sum(-1) for c in range(tokens.shape[-1])]
        rank.append(1 + torch.stack(higher, -1))
    return Lens(torch.stack(logp), torch.stack(rank))


@torch.no_grad()
def attribution(
    access: Access,
    inputs: Mapping[str, Tensor],
    positions: list[int] | Tensor,
    tokens: Tensor,
    heads: bool = False,
) -> Attribution:
    """Return the direct logit attribution; `heads`: whether to split attention into heads, too.

    `inputs`, `positions`, `tokens`: see `lens`.
    """
    start, end = Node(RESID_PRE, 0), Node(RESID_POST, len(access.blocks) - 1)
    nodes = [start, end, *access.nodes(ATTN_OUT, MLP_OUT, *([HEAD_IN] if heads else []))]
    with access.capture(nodes, positions) as captured:
        access.model(**inputs, use_cache=False, logits_to_keep=1)
    whole = wide(captured[end])
    weight = access.head.weight
    # The mean of the rows, not of copies of them: a vocabulary is large.
    direction = wide(weight[tokens]) - wide(weight).mean(0)
    gain, scale = frozen_norm(access.norm, whole)
    aim = direction * gain * scale[..., None]  # (B, K, C, d)
    total = _part(aim, whole)
    bias = torch.zeros_like(total)
    if access.head.bias is not None:
        offsets = wide(access.head.bias)
        bias = offsets[tokens] - offsets.mean()
    blocks = range(len(access.blocks))
    return Attribution(
        _part(aim, captured[start]),
        torch.stack([_part(aim, captured[Node(ATTN_OUT, n)]) for n in blocks]),
        torch.stack([_part(aim, captured[Node(MLP_OUT, n)]) for n in blocks]),
        torch.stack([_heads(access, n, captured, aim) for n in blocks]) if heads else None,
        bias,
        total + bias,
    )


def _heads(access: Access, block: int, captured: Mapping[Node, Tensor], aim: Tensor) -> Tensor:
    """Return the part of each head of a block, the heads as first axis."""
    parts = access.blocks[block]
    projection = parts.attention.o_proj
    into = captured[Node(HEAD_IN, block)]  # (B, K, h, e)
    weight = projection.weight.unflatten(1, (access.heads, -1))
    added = torch.einsum("bkhe,dhe->bkhd", into, weight)
    if not isinstance(parts.attention_out, nn.Identity):
        # A norm after the attention is frozen, too, at its value on what all heads add.
        gain, scale = frozen_norm(parts.attention_out, wide(projection(into.flatten(2))))
        aim = aim * gain * scale[..., None]
    return torch.einsum("bkcd,bkhd->hbkc", aim, wide(added))


def _part(aim: Tensor, component: Tensor) -> Tensor:
    return torch.einsum("bkcd,bkd->bkc", aim, wide(component))
