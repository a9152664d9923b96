"""Step ``cross_model``: what training changed, moved between base and trained model.

Both read the same recall prompt with the right answer after it (teacher-forced): ``denoise`` writes
the trained model into the base, ``noise`` the base into the trained model. The foil of
``logit_difference`` is a wrong answer of the same form.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paradox.mechanisms.model.access import Access
from paradox.mechanisms.model.checkpoint import last_checkpoint
from paradox.mechanisms.model.recalls import scaffold_tokens
from paradox.mechanisms.patching.transplants import DENOISE, NOISE, Swap, measure, rows
from paradox.mechanisms.tables.pairs import Groups
from paradox.models import device_name, load_model, pick_device
from paradox.progress import Progress
from paradox.provenance.manifest import read_manifest


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Patch between an arm's last checkpoint and its untrained base.

    ``spec``: ``arm``, ``task``, ``seed`` (of wrong answers, donors and random directions),
    ``exposed_from`` (items with fewer exposures, and their twins, are left out) and
    ``cross_model``. ``inputs``: ``manifest``, ``base`` (manifest of the untrained base) and
    ``items``. ``outputs``: ``table``, a row per item, component and layer.
    """
    settings, seed = spec["cross_model"], spec["seed"]
    base = Access(load_model(read_manifest(inputs["base"]).last, settings["dtype"]))
    after = last_checkpoint(spec, inputs, settings["dtype"])
    items, prompts = after.items, after.recalls(seed)
    scaffolds = scaffold_tokens(after.task, after.tokenizer, items, prompts)
    groups = Groups(items, spec["exposed_from"])
    counted = items["item"].isin([*groups.exposed, *groups.twin]).to_numpy()
    swaps = [
        Swap(recall, recall, group, scaffold)
        for recall, group, scaffold, counts in zip(
            prompts, items["group"], scaffolds, counted, strict=True
        )
        if counts
    ]
    progress.say(f"patching {len(swaps)} items on {device_name(pick_device())}")
    tables = []
    for direction, target, source in (
        (DENOISE, base, after.access),
        (NOISE, after.access, base),
    ):
        measured = measure(target, source, swaps, settings, seed, progress)
        tables.append(rows(items[counted], measured, direction))
    after.write(outputs["table"], *tables)
