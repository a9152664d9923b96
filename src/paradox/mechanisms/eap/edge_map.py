"""Step ``eap_map``: which edges and sources changed, and whether cutting them does as predicted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

from paradox.arms import with_arm
from paradox.files import read_table, write_table
from paradox.mechanisms.eap.cells import ALL, GROUPS, OWN_AFTER, OWN_BASE, Cell, read_cells
from paradox.mechanisms.eap.metrics import LEAST, output_entropy
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.words import GRADIENT, RANDOM, RANDOM_ONE, TOP, TOP_ONE
from paradox.progress import Progress
from paradox.stats.crossed import mean
from paradox.stats.layers import flips, max_test

Array = NDArray[np.float64]
# Column -> what it is of the relative change.
RELATIVE = {"relative": "value", "low": "low", "high": "high", "p": "differs"}
CUT = [*ARM, "seed", "item", "weights", "kind", "size", "draw", "predicted", "actual", "loss"]


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write the tables ``edges``, ``nodes`` and ``ablation`` of all arms."""
    edges: list[pd.DataFrame] = []
    nodes: list[pd.DataFrame] = []
    for cell in read_cells(inputs["scores"]):
        if cell.trained and cell.attribution == GRADIENT:
            for group in GROUPS:
                rows = cell.chosen(ALL, group)
                if rows.sum() >= LEAST:
                    by_edge, by_source = _mapped(cell, group, rows, spec)
                    edges.append(by_edge)
                    nodes.append(by_source)
    cut = pd.concat([read_table(Path(path), CUT) for path in inputs["ablation"]])
    empty = pd.DataFrame(columns=[*ARM, "group", "before", "after"])
    write_table(outputs["edges"], pd.concat(edges, ignore_index=True) if edges else empty)
    write_table(outputs["nodes"], pd.concat(nodes, ignore_index=True) if nodes else empty)
    write_table(outputs["ablation"], pd.DataFrame(list(ablations(cut))))
    progress.say(f"mapped {len(edges)} groups of items")


def _mapped(
    cell: Cell, group: str, rows: NDArray[np.bool_], spec: dict[str, Any]
) -> Iterator[pd.DataFrame]:
    """Yield sizes of edges' scores and entropies (nats) of sources, each model on its own text."""
    graph = cell.graph
    sources, destinations = graph.sources, graph.destinations
    edges = [(*sources[one], *destinations[other]) for one, other in graph.edges]
    ends = ["source", "source_block", "destination", "destination_block"]
    scores = [cell.sides[side].scores[:, rows] for side in (OWN_BASE, OWN_AFTER)]
    sizes = [np.abs(side) for side in scores]
    entropies = [np.stack([output_entropy(seed, graph) for seed in side]) for side in scores]
    for names, numbers in ((edges, sizes), (sources, entropies)):
        named = with_arm(pd.DataFrame(names, columns=ends[: len(names[0])]), cell.key, group=group)
        yield pd.concat([named, compared(*numbers, spec)], axis=1)


def compared(before: Array, after: Array, spec: dict[str, Any]) -> pd.DataFrame:
    """Return means, relative change and its test per column of (seeds, items, columns).

    ``low``, ``high`` and ``p`` ("not 0") are of items crossed with trainings. ``corrected`` asks,
    given these trainings, whether the change beats the largest of all columns with base and after
    swapped within items.
    """
    changes = (after - before).mean(0)
    signs, exact = flips(len(changes), spec["permutations"], spec["bootstrap"]["seed"], "eap")
    test = max_test(changes.mean(0), signs @ changes / len(changes), exact)
    table = pd.DataFrame({"before": before.mean((0, 1)), "after": after.mean((0, 1))})
    there = table["before"] > 0
    one, other = (mean(side[..., there].swapaxes(0, 1)) for side in (before, after))
    for name, attribute in RELATIVE.items():
        values = [getattr(each, attribute) for each in (other / one - 1).estimates()]
        table.loc[there, name] = values
    sizes = {"items": before.shape[1], "replicates": before.shape[0]}
    return table.assign(corrected=test.corrected, **sizes)


def ablations(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield predicted and actual changes of the loss per arm, weights, kind and size."""
    for (*arm, weights), rows in table.groupby([*ARM, "weights"], sort=True):
        key = {**dict(zip(ARM, arm, strict=True)), "weights": weights}
        together = rows[rows["kind"].isin([TOP, RANDOM])]
        for size, sized in together.groupby("size", sort=True):
            wide = {
                (kind, name): part.pivot_table(
                    index="item", columns="seed", values=name, sort=True
                ).to_numpy()
                for kind, part in sized.groupby("kind", sort=True)
                for name in ("predicted", "actual")
            }
            wide["excess", "predicted"] = wide[TOP, "predicted"] - wide[RANDOM, "predicted"]
            wide["excess", "actual"] = wide[TOP, "actual"] - wide[RANDOM, "actual"]
            for (kind, name), values in wide.items():
                estimate = mean(values).estimate()
                row = {"kind": kind, "size": size, "quantity": name, "value": estimate.value}
                yield key | row | {"low": estimate.low, "high": estimate.high, "n": estimate.items}
        single = rows[rows["kind"].isin([TOP_ONE, RANDOM_ONE])]
        means = single.groupby(["seed", "kind", "draw"])[["predicted", "actual"]].mean()
        if len(means) > LEAST:
            estimate = spearmanr(means["predicted"], means["actual"])
            ends = _fisher(float(estimate.statistic), len(means))
            row = {"kind": "single", "size": 1, "quantity": "rank_correlation"}
            row |= {"value": float(estimate.statistic), "low": ends[0], "high": ends[1]}
            yield key | row | {"n": len(means)}


def _fisher(r: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a rank correlation (Fisher, variance 1.06 / (n - 3))."""
    middle, reach = np.arctanh(np.clip(r, -0.999999, 0.999999)), 1.96 * np.sqrt(1.06 / (n - 3))
    return float(np.tanh(middle - reach)), float(np.tanh(middle + reach))
