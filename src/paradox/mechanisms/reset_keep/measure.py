"""Step ``reset_keep``: the trained model without some blocks' changes, the base with only these.

A component is written ``part:set:direction:dose:source`` and is read by step ``recovery``:

- ``part``: ``mlp``, ``attention`` or ``both`` of the set's blocks; ``rest`` (norms and embeddings,
  without layers);
- ``set``: ``1``, ``3``, ...: windows of so many neighbouring blocks, `layer` being their first;
  ``sets1``, ``sets3``, ...: other sets of as many blocks, `layer` being their number; ``all``;
- ``direction``: ``reset`` (the trained model with the set put back to the base's weights), ``keep``
  (the base with nothing but the set's change), and for windows of MLPs ``upstream``, the published
  "keep": the trained model with the MLPs of all *other* blocks put back;
- ``dose``: lambda in ``base + lambda * (after - base)`` at the set;
- ``source``: ``weights``, what training changed, or ``weights_noise``, as large a change with the
  entries of every parameter in random order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from paradox.arms import with_arm
from paradox.files import read_table, write_table
from paradox.mechanisms.model.access import Access
from paradox.mechanisms.model.recalls import recalls, scaffold_tokens
from paradox.mechanisms.model.weights import MLP, PARTS, REST, Change, Keys, Mix, Unit
from paradox.mechanisms.reset_keep.reweighted import MEASURES, Variant, outcomes, variant
from paradox.mechanisms.tables.pairs import Pairs, item_rows
from paradox.mechanisms.tables.words import KEEP, RESET, UPSTREAM, WEIGHTS, WEIGHTS_NOISE
from paradox.models import device_name, load_model, load_tokenizer, pick_device
from paradox.progress import Progress
from paradox.provenance.manifest import read_manifest
from paradox.seeds import keyed_rng
from paradox.tasks import load_task
from paradox.tasks.api import ITEM_COLUMNS

# The dose everywhere else, which is the target's.
ELSEWHERE = {RESET: 1.0, KEEP: 0.0}
Blocks = tuple[int, ...]


class Cell(NamedTuple):
    """A row of the plan: a component, its layer, the units changed and the variant run."""

    component: str
    layer: int
    blocks: Blocks
    units: tuple[Unit, ...]
    target: float
    variant: Variant


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Reset and keep at an arm's last checkpoint.

    ``table`` has a row per item, component and layer, and columns per measure (`reweighted`):
    ``_target``, the unchanged model (``reset``: trained; otherwise base), ``_source`` the other
    one, ``_change``, what the change does to the target. ``norm`` is the sum over the set's
    attentions and MLPs of the Frobenius norm of what training changed there. ``profile`` is
    `Change.profile`.

    A `DataError` is raised when exposed items have no twins of their own.
    """
    checkpoints = read_manifest(inputs["manifest"])
    settings, seed = spec["reset_keep"], spec["seed"]
    base = load_model(read_manifest(inputs["base"]).last, settings["dtype"])
    change = Change(base, load_model(checkpoints.last, settings["dtype"]))
    access = Access(base)
    everything = read_table(inputs["items"], ITEM_COLUMNS)
    some, few = (
        chosen(everything, spec["exposed_from"], settings[name], seed)
        for name in ("pairs", "dose_pairs")
    )
    task, tokenizer = load_task(spec["task"]), load_tokenizer(checkpoints.last)
    # Wrong answers are drawn from all items', so that they do not depend on the choice.
    prompts = recalls(task, tokenizer, everything, seed)
    scaffolds = scaffold_tokens(task, tokenizer, everything, prompts)
    progress.say(f"resetting with {len(some)} items on {device_name(pick_device())}")
    tables = []
    for cells, items in (
        (list(_plan(change, settings["widths"], settings["sets"], seed)), some),
        (list(_doses(change, settings["widths"], settings["doses"])), few),
    ):
        rows = everything.index.get_indexer(items.index)
        scored = outcomes(
            access,
            change,
            [one for cell in cells for one in (cell.variant, *_ends(change))],
            [prompts[row] for row in rows],
            [scaffolds[row] for row in rows],
            settings["batch_size"],
            progress,
        )
        tables.append(_rows(change, cells, items, scored))
    profile = change.profile((seed, "profile"))
    for name, table in (("table", pd.concat(tables, ignore_index=True)), ("profile", profile)):
        write_table(outputs[name], with_arm(table, spec["arm"], step=max(checkpoints.steps)))


def chosen(items: pd.DataFrame, exposed_from: int, pairs: int, seed: int) -> pd.DataFrame:
    """Return the items of so many pairs of each number of exposures that counts.

    The choice is keyed by the pair: of fewer pairs, all are among more pairs.
    """
    whole = Pairs(items, exposed_from)
    table = pd.DataFrame({"pair": whole.names, "exposure": whole.exposures})[whole.counts]
    table["order"] = [keyed_rng(seed, "reset pair", pair).random() for pair in table["pair"]]
    first = table.sort_values("order").groupby("exposure", dropna=False).head(pairs)
    return items[items["pair"].astype(str).isin(first["pair"])]


def windows(blocks: int, width: int) -> list[Blocks]:
    """Return all windows of neighbouring blocks, by their first."""
    return [tuple(range(first, first + width)) for first in range(blocks - width + 1)]


def other_sets(blocks: int, width: int, most: int, seed: int) -> list[Blocks]:
    """Return sets of as many blocks that are no windows: all, or `most` drawn at random.

    >>> other_sets(4, 3, 99, 0)
    [(0, 1, 3), (0, 2, 3)]
    """
    near = set(windows(blocks, width))
    if math.comb(blocks, width) - len(near) <= most:
        return [one for one in itertools.combinations(range(blocks), width) if one not in near]
    rng = keyed_rng(seed, "block sets", blocks, width)
    drawn: dict[Blocks, None] = {}
    while len(drawn) < most:
        one = tuple(sorted(int(n) for n in rng.choice(blocks, width, replace=False)))
        if one not in near:
            drawn[one] = None
    return list(drawn)


def _ends(change: Change) -> tuple[Variant, Variant]:
    """Return base and trained model."""
    return variant(change, 0.0), variant(change, 1.0)


def _plan(change: Change, widths: list[int], sets: int, seed: int) -> Iterator[Cell]:
    """Yield what is run on all chosen pairs."""
    count = change.blocks
    every = tuple(range(count))
    for direction, part in itertools.product(ELSEWHERE, PARTS):
        for width in widths:
            near, far = windows(count, width), other_sets(count, width, sets, seed)
            yield from _cells(change, direction, part, f"{width}", near)
            yield from _cells(change, direction, part, f"{width}", near, (seed, "reset"))
            yield from _cells(change, direction, part, f"sets{width}", far)
        yield from _cells(change, direction, part, "all", [every])
    for direction, elsewhere in ELSEWHERE.items():
        run = variant(change, elsewhere, [REST], Mix(1 - elsewhere))
        name = f"{REST.part}:all:{direction}:{1 - elsewhere:g}:{WEIGHTS}"
        yield Cell(name, 0, (), (REST,), elsewhere, run)
    for width in widths:
        for number, blocks in enumerate(windows(count, width)):
            lost = change.units(MLP, [n for n in every if n not in blocks])
            run = variant(change, 1.0, lost, Mix(0.0))
            units = tuple(change.units(MLP, blocks))
            yield Cell(f"{MLP}:{width}:{UPSTREAM}:1:{WEIGHTS}", number, blocks, units, 0.0, run)


def _doses(change: Change, widths: list[int], doses: list[float]) -> Iterator[Cell]:
    """Yield the doses of all windows, and of all blocks."""
    count = change.blocks
    for direction, part, dose in itertools.product(ELSEWHERE, PARTS, doses):
        for width in widths:
            near = windows(count, width)
            yield from _cells(change, direction, part, f"{width}", near, dose=dose)
        yield from _cells(change, direction, part, "all", [tuple(range(count))], dose=dose)


def _cells(
    change: Change,
    direction: str,
    part: str,
    kind: str,
    sets: list[Blocks],
    shuffled: Keys | None = None,
    dose: float | None = None,
) -> Iterator[Cell]:
    """Yield a component's cells, a layer per set; no dose means all of the way."""
    elsewhere = ELSEWHERE[direction]
    dose = 1 - elsewhere if dose is None else dose
    mix = Mix(dose) if shuffled is None else Mix(elsewhere, dose - elsewhere, shuffled)
    source = WEIGHTS if shuffled is None else WEIGHTS_NOISE
    for number, blocks in enumerate(sets):
        units = tuple(change.units(part, blocks))
        name = f"{part}:{kind}:{direction}:{dose:g}:{source}"
        yield Cell(name, number, blocks, units, elsewhere, variant(change, elsewhere, units, mix))


def _rows(
    change: Change, cells: list[Cell], items: pd.DataFrame, scored: dict[Variant, np.ndarray]
) -> pd.DataFrame:
    """Return the rows of single items."""
    ends = {dose: scored[one] for dose, one in enumerate(_ends(change))}
    norms = {unit: change.norm(unit) for unit in change.every}
    tables = []
    for component, members in itertools.groupby(
        sorted(cells, key=lambda cell: (cell.component, cell.layer)), lambda cell: cell.component
    ):
        group = list(members)
        columns: dict[str, Any] = {}
        for place, measure in enumerate(MEASURES):
            after = np.stack([scored[cell.variant][place] for cell in group])
            target = np.stack([ends[int(cell.target)][place] for cell in group])
            source = np.stack([ends[1 - int(cell.target)][place] for cell in group])
            columns |= {f"{measure}_change": after - target}
            columns |= {f"{measure}_target": target, f"{measure}_source": source}
        table = item_rows(items, component, [cell.layer for cell in group], columns)
        names = [" ".join(map(str, cell.blocks)) for cell in group]
        table.insert(5, "blocks", np.repeat(names, len(items)))
        sums = [sum(norms[unit] for unit in cell.units) for cell in group]
        table.insert(6, "norm", np.repeat(sums, len(items)))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
