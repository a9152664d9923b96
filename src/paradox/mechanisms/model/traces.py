"""A clean run with all that later partial runs can reuse, and what to write into one."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from paradox.mechanisms.model.access import ATTN_OUT, MLP_OUT, RESID_POST, RESID_PRE, Access, Node
from paradox.mechanisms.model.architecture import AccessError, Block, title

# What can be patched, in the order of the first axis of results.
PATCHED = (ATTN_OUT, MLP_OUT, RESID_POST)


@dataclass(frozen=True)
class Trace:
    """One clean run; lists have one entry per block."""

    access: Access
    residual: list[Tensor]  # (B, T, d) before each block and, last, after all
    # `attention`, `mlp`: (B, T, d): what each branch added.
    attention: list[Tensor]
    mlp: list[Tensor]
    # `keys`, `values`: (B, h_kv, T, d_head) as attention used them, rotated.
    keys: list[Tensor]
    values: list[Tensor]
    # `masks`, `rotary`: what each attention module was given; batch axis 1 where all items share
    # it.
    masks: list[Tensor]
    rotary: list[tuple[Tensor, Tensor]]
    real: Tensor  # (B, T), false at padding

    def middle(self, block: int) -> Tensor:
        """Return the residual between attention and MLP of a block."""
        return self.residual[block] + self.attention[block]

    @torch.no_grad()
    def resume(
        self, block: int, residual: Tensor, items: Tensor, start: int, wanted: Tensor | None = None
    ) -> Tensor:
        """Return the residual after one block, run on the positions from `start` on.

        `residual`: (rows, s, d), before the block at positions start .. start + s - 1.
        `items`: (rows,), the item of the batch that each row belongs to.
        `wanted`: positions, counted from `start`, to return; the others only give keys and values.
        None means all.
        """
        parts = self.access.blocks[block]
        stop = start + residual.shape[1]
        cosine, sine = (_rows(part, items) for part in self.rotary[block])
        mask = _rows(self.masks[block], items)[:, :, start:stop, :stop]
        rotary = cosine[:, start:stop], sine[:, start:stop]
        cache: _Joined | _Held = _Joined(self, block, items, start, stop)
        if wanted is not None:
            cache = _Held(*_keys_and_values(parts, residual, mask, rotary, cache))
            residual, mask = residual[:, wanted], mask[:, :, wanted]
            rotary = rotary[0][:, wanted], rotary[1][:, wanted]
        middle = residual + parts.attend(
            residual, attention_mask=mask, position_embeddings=rotary, past_key_values=cache
        )
        return middle + parts.feed_forward(middle)


@dataclass(frozen=True)
class Values:
    """What to write: (B, T, d) per block for each kind of `PATCHED`."""

    attn_out: list[Tensor]
    mlp_out: list[Tensor]
    resid_post: list[Tensor]

    def of(self, kind: str) -> list[Tensor]:
        """Return the values of one kind."""
        return getattr(self, kind)


@torch.no_grad()
def trace(access: Access, ids: Tensor, mask: Tensor | None = None) -> Trace:
    """Run a batch of tokens (B, T) once and keep what partial runs reuse.

    `mask`: (B, T), zero at padding, which may stand on either side; None means no padding.
    """
    real = torch.ones_like(ids) if mask is None else mask
    inputs: dict[str, Any] = {"input_ids": ids}
    if not bool(real.all()):
        places = (real.cumsum(-1) - 1).clamp(min=0)
        inputs |= {"attention_mask": real, "position_ids": places}
    recorder = _Recorder()
    nodes = access.nodes(RESID_PRE, ATTN_OUT, MLP_OUT, RESID_POST)
    with ExitStack() as stack:
        values = stack.enter_context(access.capture(nodes))
        for block in access.blocks:
            handle = block.attention.register_forward_pre_hook(recorder.enter, with_kwargs=True)
            stack.callback(handle.remove)
        access.model(**inputs, use_cache=False, logits_to_keep=1)
    blocks = range(len(access.blocks))
    last = values[Node(RESID_POST, len(access.blocks) - 1)]
    return Trace(
        access=access,
        residual=[*(values[Node(RESID_PRE, n)] for n in blocks), last],
        attention=[values[Node(ATTN_OUT, n)] for n in blocks],
        mlp=[values[Node(MLP_OUT, n)] for n in blocks],
        keys=recorder.keys,
        values=recorder.values,
        masks=[_visible(access, mask_seen, ids) for mask_seen in recorder.masks],
        rotary=recorder.rotary,
        real=real.bool(),
    )


def states(source: Trace) -> Values:
    """Return the states of another run: of another item (same length) or of another model."""
    return Values(source.attention, source.mlp, source.residual[1:])


@torch.no_grad()
def weights(source: Access, target: Trace) -> Values:
    """Return what another model's weights make of the clean states of `target`.

    A branch is its matrices and the norms before or after them; ``resid_post`` replaces both
    branches of the block. Attention masks and rotations stay the target's.
    """
    sizes = [
        (len(access.blocks), access.model.config.get_text_config().hidden_size)
        for access in (source, target.access)
    ]
    if sizes[0] != sizes[1]:
        raise AccessError(
            f"Weights of {title(source.model)} do not fit {title(target.access.model)}: blocks "
            f"and width {sizes[0]} found, allowed {sizes[1]}."
        )
    values = Values([], [], [])
    for number, block in enumerate(source.blocks):
        residual = target.residual[number]
        seen = {
            "attention_mask": target.masks[number],
            "position_embeddings": target.rotary[number],
        }
        added = block.attend(residual, **seen)
        values.attn_out.append(added)
        values.mlp_out.append(block.feed_forward(target.middle(number)))
        values.resid_post.append(residual + added + block.feed_forward(residual + added))
    return values


# --- stand-ins for the library's cache of keys and values ---------------------------------


class _Recorder:
    """Keeps what each attention module is given and the keys and values it makes."""

    def __init__(self) -> None:
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.masks: list[Tensor | None] = []
        self.rotary: list[tuple[Tensor, Tensor]] = []

    def enter(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.masks.append(kwargs["attention_mask"])
        self.rotary.append(kwargs["position_embeddings"])
        return args, {**kwargs, "past_key_values": self}

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        self.keys.append(keys.contiguous())
        self.values.append(values.contiguous())
        return keys, values


class _Joined:
    """Puts the clean run's keys and values before the new ones."""

    def __init__(self, clean: Trace, block: int, items: Tensor, start: int, stop: int) -> None:
        self._clean = clean.keys[block][:, :, :stop], clean.values[block][:, :, :stop]
        self._items, self._start = items, start

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if not self._start:
            return keys, values
        joined = [part.index_select(0, self._items) for part in self._clean]
        for part, new in zip(joined, (keys, values), strict=True):
            part[:, :, self._start :] = new
        return joined[0], joined[1]


class _Held:
    """Gives attention the keys and values that it holds, whatever the queries' own are."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self._held = keys, values

    def update(self, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return self._held


class _Stop(Exception):
    """Leaves an attention module as soon as its keys and values are made."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.made = keys, values


class _Stopping:
    def __init__(self, cache: _Joined) -> None:
        self._cache = cache

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        raise _Stop(*self._cache.update(keys, values))


def _keys_and_values(
    block: Block, residual: Tensor, mask: Tensor, rotary: tuple[Tensor, Tensor], cache: _Joined
) -> tuple[Tensor, Tensor]:
    """Return all keys and values of a block, without the attention that would follow."""
    try:
        block.attend(
            residual,
            attention_mask=mask,
            position_embeddings=rotary,
            past_key_values=_Stopping(cache),
        )
    except _Stop as stop:
        return stop.made
    raise AccessError(f"{type(block.attention).__name__}: attention does not ask its cache.")


def _rows(part: Tensor, items: Tensor) -> Tensor:
    return part if part.shape[0] == 1 else part.index_select(0, items)


def _visible(access: Access, mask: Tensor | None, ids: Tensor) -> Tensor:
    """Return the mask (B or 1, 1, T, T) that a module was given; None stood for plain causal."""
    if mask is None:
        length = ids.shape[1]
        square = torch.ones(length, length, dtype=torch.bool, device=ids.device)
        return square.tril()[None, None]
    if mask.ndim != 4:
        raise AccessError(
            f"{title(access.model)}: the attention implementation "
            f"{access.model.config._attn_implementation!r} cannot be resumed; load the model "
            "with 'sdpa' or 'eager'."
        )
    return mask
