"""Step ``ablation``: which blocks the recall of an answer depends on.

What a block's attention (``attn``) or MLP (``mlp``) adds becomes its mean over the other items, at
every token but the first (``@all``) or only where the answer is predicted (``@answer``). Columns:
``logp`` (mean over the gold answer's tokens, nats, teacher-forced), ``correct`` (each is the first
choice); with ``_drop`` the clean value minus the ablated one, with ``clean_`` the clean model's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from paradox.mechanisms.model.access import ATTN_OUT, MLP_OUT, Access, Node
from paradox.mechanisms.model.checkpoint import last_checkpoint
from paradox.mechanisms.model.norms import wide
from paradox.mechanisms.model.recalls import Batch, Recall, batches
from paradox.mechanisms.model.rerun import (
    WHERE,
    Clean,
    OtherMeans,
    clean_pass,
    first_changed,
    put,
    rerun,
)
from paradox.mechanisms.tables.pairs import item_rows
from paradox.models import device_name, pick_device
from paradox.progress import Progress

# Nothing is sampled: rounding on another device moves the numbers and no more.
DETERMINISM = "tolerance"

PARTS = ("attn", "mlp")


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Ablate every block for every item at the last checkpoint of an arm.

    ``spec``: ``arm``, ``task``, ``seed`` and ``ablation``. ``inputs``: ``manifest`` and ``items``.
    ``outputs``: ``table``, a row per item, component and layer.
    """
    settings = spec["ablation"]
    checkpoint = last_checkpoint(spec, inputs, settings["dtype"])
    prompts = checkpoint.recalls(spec["seed"])
    progress.say(f"ablating for {len(prompts)} items on {device_name(pick_device())}")
    values = measure(checkpoint.access, prompts, settings["batch_size"], progress)
    checkpoint.write(outputs["table"], rows(checkpoint.items, values))


def rows(items: pd.DataFrame, values: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return the table of what `measure` found."""
    clean = values["clean"]
    tables = []
    for part, measured in values.items():
        if part == "clean":
            continue
        blocks = measured.shape[1]
        columns: dict[str, np.ndarray] = {}
        for place, name in enumerate(("logp", "correct")):
            usual = np.repeat(clean[place], blocks, axis=0)
            columns |= {name: measured[place], f"{name}_drop": usual - measured[place]}
            columns[f"clean_{name}"] = usual
        tables.append(item_rows(items, part, range(blocks), columns))
    return pd.concat(tables, ignore_index=True)


@torch.no_grad()
def measure(
    access: Access, prompts: list[Recall], batch_size: int, progress: Progress | None = None
) -> dict[str, np.ndarray]:
    """Return log-probability and correctness, shape (2, layers, items).

    One array per part and place, and ``clean`` with one layer; a rerun has 2 x `batch_size` rows.
    """
    all_batches = list(batches(prompts, batch_size, access.model.device))
    means = OtherMeans(access, (ATTN_OUT, MLP_OUT), all_batches)
    blocks = range(len(access.blocks))
    shape = (2, len(blocks), len(prompts))
    values = {f"{part}@{where}": np.zeros(shape) for where in WHERE for part in PARTS}
    values["clean"] = np.zeros((2, 1, len(prompts)))
    for done, batch in enumerate(all_batches, start=1):
        clean = clean_pass(access, batch)
        values["clean"][:, :, batch.rows] = _scored(
            access.logits(clean.after[:, batch.at :])[None], batch
        )
        for block in blocks:
            for where in WHERE:
                changed = ablated(access, clean, means, block, where)
                scored = _scored(rerun(access, clean, block, changed), batch)
                for place, part in enumerate(PARTS):
                    values[f"{part}@{where}"][:, block, batch.rows] = scored[:, place]
        if progress:
            progress("batches", done, len(all_batches))
    return values


@torch.no_grad()
def ablated(access: Access, clean: Clean, means: OtherMeans, block: int, where: str) -> Tensor:
    """Return the residuals after a block without each of `PARTS`, from the first changed token."""
    parts, batch = access.blocks[block], clean.batch
    before, attention, middle = clean.before[block], clean.attention[block], clean.middle(block)
    other = means.of_others(Node(ATTN_OUT, block), batch, attention)
    changed = before + put(batch, where, other, attention)
    mlp = parts.feed_forward(middle)
    other = means.of_others(Node(MLP_OUT, block), batch, mlp)
    runs = [changed + parts.feed_forward(changed), middle + put(batch, where, other, mlp)]
    return torch.stack(runs)[:, :, first_changed(batch, where) :]


def _scored(logits: Tensor, batch: Batch) -> np.ndarray:
    """Return log-probability and correctness of the gold answers, shape (2, runs, items)."""
    logits = wide(logits)
    gold = batch.gold.expand(len(logits), *batch.gold.shape)[..., None]
    chosen = (logits.gather(-1, gold) - logits.logsumexp(-1, keepdim=True))[..., 0].double()
    logp = torch.where(batch.real, chosen, 0).sum(-1) / batch.real.sum(-1)
    first = (logits.argmax(-1) == gold[..., 0]) | ~batch.real
    return torch.stack([logp, first.all(-1).double()]).cpu().numpy()
