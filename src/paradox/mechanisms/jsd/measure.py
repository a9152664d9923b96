"""Step ``jsd``: what each part of each MLP does to the output distribution, in bits.

A part's output (``gate``, before the activation; ``up``; ``down``; ``mlp``: what the MLP adds)
becomes its mean over the other items, at every token but the first (``@all``) or only where the
answer is predicted (``@answer``). Columns: ``jsd`` of the first answer token's distribution;
``random``, the mean over draws when the contribution moves as far at every token in a random
direction; ``excess``, their difference; ``moved``, the mean length over the changed tokens;
``local_jsd``, the published variant: between softmax(W_U norm(.)) of the MLP's contribution alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paradox.mechanisms.model.access import GATE, KEY, MLP_OUT, UP, Access, Node
from paradox.mechanisms.model.checkpoint import last_checkpoint
from paradox.mechanisms.model.norms import frozen_norm, wide
from paradox.mechanisms.model.recalls import Batch, Recall, batches
from paradox.mechanisms.model.rerun import (
    WHERE,
    Clean,
    OtherMeans,
    clean_pass,
    counted,
    first_changed,
    put,
    rerun,
)
from paradox.mechanisms.tables.pairs import item_rows
from paradox.models import device_name, pick_device
from paradox.progress import Progress
from paradox.seeds import keyed_rng

# Nothing is sampled: rounding on another device moves the numbers and no more.
DETERMINISM = "tolerance"

PARTS = ("gate", "up", "down", "mlp")
MEASURES = ("jsd", "random", "excess", "moved", "local_jsd")
# Numbers of one float64 table of probabilities that are held at once: 32 MB.
CHUNK = 2**22


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Measure every item at the last checkpoint of an arm.

    ``spec``: ``arm``, ``task``, ``seed`` (of the random directions) and ``jsd``. ``inputs``:
    ``manifest`` and ``items``. ``outputs``: ``table``, a row per item, component and layer.
    """
    settings = spec["jsd"]
    checkpoint = last_checkpoint(spec, inputs, settings["dtype"])
    access, prompts = checkpoint.access, checkpoint.recalls(spec["seed"])
    progress.say(f"measuring {len(prompts)} items on {device_name(pick_device())}")
    values = measure(
        access, prompts, settings["batch_size"], settings["draws"], spec["seed"], progress
    )
    blocks = range(len(access.blocks))
    tables = [
        item_rows(checkpoint.items, part, blocks, dict(zip(MEASURES, measured, strict=True)))
        for part, measured in values.items()
    ]
    checkpoint.write(outputs["table"], *tables)


@torch.no_grad()
def measure(
    access: Access,
    prompts: list[Recall],
    batch_size: int,
    draws: int,
    seed: int,
    progress: Progress | None = None,
) -> dict[str, np.ndarray]:
    """Return `MEASURES` of each part and place, shape (measures, layers, items).

    A rerun has (1 + `draws`) x `batch_size` rows.
    """
    all_batches = list(batches(prompts, batch_size, access.model.device, answers=False))
    means = OtherMeans(access, (GATE, UP, KEY, MLP_OUT), all_batches)
    shape = (len(MEASURES), len(access.blocks), len(prompts))
    values = {f"{part}@{where}": np.zeros(shape) for where in WHERE for part in PARTS}
    for done, batch in enumerate(all_batches, start=1):
        clean = clean_pass(access, batch)
        usual = access.logits(clean.after[:, batch.at :])
        names = [prompts[row].item for row in batch.rows]
        for block in range(len(access.blocks)):
            drawn = directions(batch, names, clean.after.shape[-1], draws, seed, block)
            noise = drawn.to(clean.after)
            for part, contribution, changed in changes(access, clean, means, block):
                for where in WHERE:
                    new = put(batch, where, changed, contribution)
                    since = first_changed(batch, where)
                    measured = _measured(
                        access, clean, block, usual, contribution, new, noise, since
                    )
                    values[f"{part}@{where}"][:, block, batch.rows] = measured
        if progress:
            progress("batches", done, len(all_batches))
    return values


@torch.no_grad()
def changes(
    access: Access, clean: Clean, means: OtherMeans, block: int
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield each part with the MLP's contribution as it is and with the part replaced."""
    parts, batch = access.blocks[block], clean.batch
    mlp = parts.mlp
    into = parts.mlp_in(clean.middle(block))
    gate, up = mlp.gate_proj(into), mlp.up_proj(into)
    key = mlp.act_fn(gate) * up
    contribution = parts.mlp_out(mlp.down_proj(key))

    def other(kind: str, value: Tensor) -> Tensor:
        # A part is replaced where tokens are counted only, so that it differs nowhere else.
        return put(batch, "all", means.of_others(Node(kind, block), batch, value), value)

    yield "gate", contribution, parts.mlp_out(mlp.down_proj(mlp.act_fn(other(GATE, gate)) * up))
    yield "up", contribution, parts.mlp_out(mlp.down_proj(mlp.act_fn(gate) * other(UP, up)))
    # W_down is linear: its mean output is its output of the mean.
    yield "down", contribution, parts.mlp_out(mlp.down_proj(other(KEY, key)))
    yield "mlp", contribution, other(MLP_OUT, contribution)


def _measured(
    access: Access,
    clean: Clean,
    block: int,
    usual: Tensor,
    contribution: Tensor,
    new: Tensor,
    noise: Tensor,
    since: int,
) -> np.ndarray:
    """Return `MEASURES` of one change, shape (measures, items); `since` is its first column."""
    batch = clean.batch
    length = (new - contribution).norm(dim=-1, keepdim=True)
    middle = clean.middle(block)
    runs = torch.cat([(middle + new)[None], middle + contribution + length * noise])
    logits = rerun(access, clean, block, runs[:, :, since:])
    bits = js_divergence(logits[:, :, 0], usual[:, 0].expand_as(logits[:, :, 0]))
    random = bits[1:].mean(0)
    moved = length[..., 0].double()
    touched = (moved > 0).sum(-1).clamp(min=1)
    gain, scale = frozen_norm(access.norm, wide(clean.after[:, batch.at]))
    alone = [access.head((wide(v[:, batch.at]) * gain * scale).to(v)) for v in (contribution, new)]
    columns = (bits[0], random, bits[0] - random, moved.sum(-1) / touched, js_divergence(*alone))
    return torch.stack([value.double().cpu() for value in columns]).numpy()


def directions(
    batch: Batch, names: list[str], width: int, draws: int, seed: int, block: int
) -> Tensor:
    """Return random unit vectors for every counted token, shape (draws, rows, tokens, width).

    Keyed by item and block, and the same for every part of the block.
    """
    noise = torch.zeros(draws, *batch.ids.shape, width)
    real = counted(batch).cpu()
    for row, name in enumerate(names):
        rng = keyed_rng(seed, "direction", name, block)
        drawn = rng.standard_normal((int(real[row].sum()), draws, width), dtype=np.float32)
        noise[:, row, real[row]] = torch.from_numpy(drawn).transpose(0, 1)
    lengths = noise.norm(dim=-1, keepdim=True)
    return (noise / lengths.clamp(min=1e-30)).to(batch.ids.device)


@torch.no_grad()
def js_divergence(one: Tensor, other: Tensor, chunk: int = CHUNK) -> Tensor:
    """Return the Jensen-Shannon divergence in bits (0 to 1) of two tables of logits.

    `one`, `other`: shape (..., vocabulary); worked on in float64, `chunk` numbers of a table at
    once.

    >>> certain, other = torch.tensor([0.0, -math.inf]), torch.tensor([-math.inf, 0.0])
    >>> float(js_divergence(certain, other)), float(js_divergence(certain, certain))
    (1.0, 0.0)
    """
    shape, size = one.shape[:-1], one.shape[-1]
    rows = max(1, chunk // size)
    pairs = zip(one.reshape(-1, size).split(rows), other.reshape(-1, size).split(rows), strict=True)
    return torch.cat([_bits(*(side.double() for side in pair)) for pair in pairs]).reshape(shape)


def _bits(one: Tensor, other: Tensor) -> Tensor:
    p, q = one.log_softmax(-1), other.log_softmax(-1)
    ahead = q - p

    def half(log: Tensor, difference: Tensor) -> Tensor:
        # log(p / m) with m = (p + q) / 2; not from entropies, whose difference loses digits.
        ratio = math.log(2) - torch.logaddexp(difference, torch.zeros_like(difference))
        return torch.where(log > -math.inf, log.exp() * ratio, 0).sum(-1)

    return ((half(p, ahead) + half(q, -ahead)) / (2 * math.log(2))).clamp(0, 1)
