"""Small contrast tables, as step ``by_layer`` writes them, with effects where asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

BLOCKS = 6
BASE, CLEAN = ("contaminated", "base", "none"), ("clean", "base", "none")
ARM = ("contaminated", "grpo", "format")
ARMS = (BASE, ARM, CLEAN)
PARTS = {
    "lens": [("resid", name) for name in ("logp", "rank", "emerged")],
    "attribution": [
        (part, name) for part in ("mlp", "attention") for name in ("logit", "control_logit")
    ],
    "jsd": [(f"{part}@all", "excess") for part in ("gate", "up", "down", "mlp")],
    "ablation": [
        (f"{part}@all", name) for part in ("mlp", "attn") for name in ("logp_drop", "correct_drop")
    ],
}
Curves = Mapping[tuple[str, str], list[float]]


def contrast_table(name: str, curves: Curves | None = None) -> pd.DataFrame:
    """Return an analysis' table.

    Parameters
    ----------
    curves
        Component and state -> exposed minus twins of the contaminated arms, per block; others
        are 0. Intervals are +-0.1, nulls +-0.2.
    """
    rows = []
    layers = range(-1 if name == "lens" else 0, BLOCKS)
    for arm in ARMS:
        for component, measure in PARTS[name]:
            for state in ("base",) if arm[1] == "base" else ("after", "change"):
                given = (curves or {}).get((component, state)) if arm != CLEAN else None
                for layer in layers:
                    value = given[layer] if given and layer >= 0 else 0.0
                    for contrast, at in (("exposed", value + 1), ("twin", 1.0)):
                        rows.append([*arm, component, measure, state, contrast, layer, at])
                    rows.append([*arm, component, measure, state, "difference", layer, value])
    columns = ["base", "method", "reward", "component", "measure", "state", "contrast", "layer"]
    table = pd.DataFrame(rows, columns=[*columns, "value"])
    table["low"], table["high"] = table["value"] - 0.1, table["value"] + 0.1
    tested, out = table["contrast"] == "difference", table["value"].abs() > 0.2
    table["p"] = out.map({True: 0.001, False: 0.6}).where(tested)
    table["corrected"] = out.map({True: 0.002, False: 0.9}).where(tested)
    table["null_low"] = pd.Series(-0.2, table.index).where(tested)
    table["null_high"] = pd.Series(0.2, table.index).where(tested)
    return table.assign(items=40, seeds=1)


def probe_table(arm: tuple[str, str, str], areas: list[float]) -> pd.DataFrame:
    """Return a table of step ``probes``; `areas` from the embedding on."""
    names = ["emb", *map(str, range(BLOCKS))]
    rows = [
        dict(zip(("base", "method", "reward"), arm, strict=True))
        | {"seed": 0, "step": 0, "position": position, "layer": name, "auc": area}
        | {"pair_auc": area, "pair_auc_low": area - 0.05, "pair_auc_high": area + 0.05}
        | {"ridge_auc": area, "null_low": 0.4, "null_high": 0.6, "pairs": 40}
        | {"p": 0.001 if area > 0.6 else 0.5, "corrected": 0.002 if area > 0.6 else 0.9}
        for position in ("answer", "question")
        for name, area in zip(names, areas, strict=True)
    ]
    return pd.DataFrame(rows)


def written(folder: Path, name: str, table: pd.DataFrame) -> Path:
    """Write a table and return its path."""
    table.to_csv(folder / f"{name}.csv", index=False)
    return folder / f"{name}.csv"
