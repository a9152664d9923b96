"""A clean pass over a batch, changes of one block, and reruns from there to the output.

A *mean* here is over the **other** items at the same distance from the position that predicts the
first answer token; at a distance that no other item reaches, over all distances. The first token
is left alone and out of the means: models keep an attention sink there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from paradox.mechanisms.model.access import ATTN_OUT, RESID_POST, RESID_PRE, Access, Node
from paradox.mechanisms.model.norms import wide
from paradox.mechanisms.model.recalls import Batch

# A rerun has its own.
OWN = ("hidden_states", "past_key_values", "use_cache")


@dataclass(frozen=True)
class Clean:
    """What a clean pass leaves."""

    batch: Batch  # its inputs
    # `before`, `attention`: of each block: the residual before it, and what its attention adds.
    before: list[Tensor]
    attention: list[Tensor]
    after: Tensor  # the residual after the last block
    arguments: list[dict[str, Any]]  # of each block: the keyword arguments that it was called with
    # Of each block: the keys and the values, shape (items, heads, tokens, width of a head).
    memory: list[tuple[Tensor, Tensor]]

    def middle(self, block: int) -> Tensor:
        """Return the residual between a block's attention and its MLP."""
        return self.before[block] + self.attention[block]


@torch.no_grad()
def clean_pass(access: Access, batch: Batch) -> Clean:
    """Run the model on a batch and keep what reruns need."""
    blocks = range(len(access.blocks))
    arguments: list[dict[str, Any]] = [{} for _ in blocks]

    def keep(n: int, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        arguments[n] = {k: v for k, v in kwargs.items() if k not in OWN}

    hooks = [
        block.module.register_forward_pre_hook(partial(keep, n), with_kwargs=True)
        for n, block in enumerate(access.blocks)
    ]
    end = Node(RESID_POST, blocks[-1])
    # Made without the configuration, which would make it forget what is beyond a sliding window.
    cache = DynamicCache()
    try:
        with access.capture([*access.nodes(RESID_PRE, ATTN_OUT), end]) as values:
            access.model(**batch.inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
    finally:
        for hook in hooks:
            hook.remove()
    before = [values[Node(RESID_PRE, n)] for n in blocks]
    attention = [values[Node(ATTN_OUT, n)] for n in blocks]
    memory = [(layer.keys, layer.values) for layer in cache.layers]
    return Clean(batch, before, attention, values[end], arguments, memory)


@torch.no_grad()
def rerun(access: Access, clean: Clean, block: int, changed: Tensor) -> Tensor:
    """Return the logits where they predict the answer: (changes, items, answer tokens, vocabulary).

    `block`: the block whose output was changed.
    `changed`: residuals after it, shape (changes, items, tokens, width): of all tokens, or of the
    last ones, from `Batch.at` or before; those before them are unchanged.
    """
    changes, rows, tokens = changed.shape[:3]
    start = clean.after.shape[1] - tokens
    residual = changed.flatten(0, 1)
    cache = DynamicCache()
    for n in range(block + 1, len(access.blocks)):
        arguments = {
            k: _repeat(_last(v, tokens), rows, changes) for k, v in clean.arguments[n].items()
        }
        if start:
            memory = (_repeat(part[:, :, :start], rows, changes) for part in clean.memory[n])
            cache.update(*memory, n)
            arguments |= {"past_key_values": cache, "use_cache": True}
            if tokens > 1 and arguments.get("attention_mask") is None:
                # Without a mask, the library's attention takes the first query for the first token.
                seen = torch.ones(tokens, start + tokens, device=residual.device).tril(start)
                arguments["attention_mask"] = seen.bool()[None, None]
        residual = access.blocks[n].module(residual, **arguments)
    logits = access.logits(residual[:, clean.batch.at - start :])
    return logits.unflatten(0, (changes, rows))


def _last(value: Any, tokens: int) -> Any:
    """Return what an argument of a block is for the last tokens."""
    if isinstance(value, tuple):
        return tuple(_last(part, tokens) for part in value)
    if not isinstance(value, Tensor):
        return value
    return value[..., -tokens:, :] if value.ndim > 2 else value[..., -tokens:]


def _repeat(value: Any, rows: int, times: int) -> Any:
    if isinstance(value, tuple):
        return tuple(_repeat(part, rows, times) for part in value)
    if isinstance(value, Tensor) and value.ndim > 1 and len(value) == rows:
        return value.repeat(times, *[1] * (value.ndim - 1))
    return value


# --- means over other items ---------------------------------------------------------------


def counted(batch: Batch) -> Tensor:
    """Return where means are taken and put: real tokens but the first, shape (rows, tokens)."""
    return (batch.mask > 0) & (batch.positions > 0)


class OtherMeans:
    """Means over the other items, aligned by the distance from `Batch.at`.

    `kinds`: of nodes, see `paradox.mechanisms.model.access`.
    `batches`: all items, each exactly once.
    """

    def __init__(self, access: Access, kinds: Iterable[str], batches: Iterable[Batch]) -> None:
        parts = list(batches)
        # Distances run from -before to after; one row of sums holds them all.
        self._before = max(batch.at for batch in parts)
        after = max(batch.ids.shape[1] - batch.at for batch in parts)
        self._sums: dict[Node, Tensor] = {}
        self._counts = torch.zeros(self._before + after, 1, device=access.model.device)
        nodes = access.nodes(*kinds)
        for batch in parts:
            with access.capture(nodes) as values, torch.no_grad():
                access.model(**batch.inputs, use_cache=False, logits_to_keep=1)
            real = counted(batch)[..., None]
            place = self._place(batch)
            self._counts[place] += real.sum(0)
            for node, value in values.items():
                total = torch.where(real, wide(value), 0).sum(0)
                if node not in self._sums:
                    self._sums[node] = total.new_zeros(len(self._counts), total.shape[-1])
                self._sums[node][place] += total

    def _place(self, batch: Batch) -> slice:
        start = self._before - batch.at
        return slice(start, start + batch.ids.shape[1])

    def of_others(self, node: Node, batch: Batch, clean: Tensor) -> Tensor:
        """Return the mean over the other items at every place of `clean` (rows, tokens, width)."""
        place, real = self._place(batch), counted(batch)[..., None]
        held = torch.where(real, wide(clean), 0)
        sums = self._sums[node][place] - held
        counts = self._counts[place] - real.to(held)
        # Items that stand alone at a distance borrow from all distances.
        whole = self._sums[node].sum(0) - held.sum(1, keepdim=True)
        tokens = self._counts.sum() - real.sum(1, keepdim=True)
        return torch.where(counts > 0, sums / counts.clamp(min=1), whole / tokens).to(clean)


# Every token but the first, or those that predict the answer.
WHERE = ("all", "answer")


def first_changed(batch: Batch, where: str) -> int:
    """Return the first column that `put` can change."""
    return batch.at if where == "answer" else 0


def put(batch: Batch, where: str, new: Tensor, old: Tensor) -> Tensor:
    """Return `new` at the chosen positions (one of `WHERE`) and `old` elsewhere."""
    mask = counted(batch)
    if where == "answer":
        mask = mask & (torch.arange(mask.shape[1], device=mask.device) >= batch.at)
    return torch.where(mask[..., None], new, old)
