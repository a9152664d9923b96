"""Step ``cross_item``: an exposed item's states in the run of its twin, and the reverse.

Scored is the answer of the row's item, teacher-forced after both prompts: ``denoise`` writes the
item's own states into its partner's run, ``noise`` the partner's into the item's; twins' rows are
the control. ``other`` writes the states of the same member of another pair. The foil of
``logit_difference`` is the partner's first answer token (where that is the item's own, a wrong
answer of the same form). Prompts of a pair that differ in length have no ``prompt`` and ``all``
rows.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from paradox.errors import DataError
from paradox.mechanisms.model.checkpoint import last_checkpoint
from paradox.mechanisms.model.recalls import Recall, scaffold_tokens
from paradox.mechanisms.patching.transplants import DENOISE, NOISE, Swap, measure, rows
from paradox.mechanisms.tables.pairs import Groups
from paradox.models import device_name, pick_device
from paradox.progress import Progress


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Patch between the items of every pair at the last checkpoint of an arm.

    ``spec``: ``arm``, ``task``, ``seed`` (of donors and random directions), ``exposed_from`` (pairs
    with fewer exposures are left out) and ``cross_item``. ``inputs``: ``manifest`` and ``items``.
    ``outputs``: ``table``, a row per item, component and layer.
    """
    settings, seed = spec["cross_item"], spec["seed"]
    checkpoint = last_checkpoint(spec, inputs, settings["dtype"])
    access, items, prompts = checkpoint.access, checkpoint.items, checkpoint.recalls(seed)
    scaffolds = scaffold_tokens(checkpoint.task, checkpoint.tokenizer, items, prompts)
    groups = Groups(items, spec["exposed_from"])
    if groups.pairs is None:
        raise DataError(f"{inputs['items']}: cross_item needs a twin for every exposed item.")
    known = dict(zip(items["item"], zip(prompts, scaffolds, strict=True), strict=True))
    partner = dict(
        zip([*groups.exposed, *groups.twin], [*groups.twin, *groups.exposed], strict=True)
    )
    chosen = items[items["item"].isin(list(partner))]
    progress.say(f"patching {len(chosen)} items on {device_name(pick_device())}")
    tables = []
    for direction in (DENOISE, NOISE):
        swaps = [
            swap(*known[name], *known[partner[name]], group, direction)
            for name, group in zip(chosen["item"], chosen["group"], strict=True)
        ]
        measured = measure(access, access, swaps, settings, seed, progress)
        tables.append(rows(chosen, measured, direction))
    checkpoint.write(outputs["table"], *tables)


def swap(
    recall: Recall, scaffold: int, other: Recall, other_scaffold: int, group: str, direction: str
) -> Swap:
    """Return the two runs of an item and its partner `other`, the item's answer after both."""
    control = other.gold[0] if other.gold[0] != recall.gold[0] else recall.control
    mine = replace(recall, control=control)
    theirs = replace(mine, prompt=other.prompt)
    target, source = (theirs, mine) if direction == DENOISE else (mine, theirs)
    return Swap(target, source, group, min(scaffold, other_scaffold))
