"""A synthetic study with known effects, for the tests of tables, figures and texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from paradox.seeds import keyed_rng

EXPOSURES = [8, 128, 512]
PER_LEVEL = 24
# Sampled accuracy (exposed with 128 or more, twin) before and after each reward.
BEFORE = {"contaminated": (0.70, 0.30), "clean": (0.30, 0.30)}
AFTER = {
    ("contaminated", "format"): (0.95, 0.10),  # planted DiD: .25 + .20 = .45
    ("contaminated", "ground_truth"): (0.90, 0.50),  # planted DiD: 0
    ("contaminated", "constant"): (0.70, 0.30),
    ("clean", "format"): (0.10, 0.10),
}
STEPS = [15, 45]


def item_table(known: bool = True, twins: bool = True) -> pd.DataFrame:
    """Return items at each exposure with their twins."""
    rows: list[dict[str, Any]] = []
    for exposure in EXPOSURES:
        for index in range(PER_LEVEL):
            name = f"{exposure}-{index}"
            shown = exposure if known else None
            rows.append({"item": f"e{name}", "group": "exposed", "exposure": shown})
            if twins:
                rows.append({"item": f"t{name}", "group": "twin", "exposure": 0})
    return pd.DataFrame(rows)


def _rates(items: pd.DataFrame, exposed: float, twin: float) -> np.ndarray:
    low = items["group"].eq("twin") | items["item"].str.startswith("e8-")
    return np.where(low, twin, exposed)


def _evaluated(items: pd.DataFrame, rates: np.ndarray, key: dict[str, Any]) -> pd.DataFrame:
    rng = keyed_rng(*key.values())
    correct = rng.binomial(16, rates)
    if key["reward"] == "constant":
        correct = _evaluated_base(items, key)["correct"].to_numpy()
    recall = rng.binomial(16, 0.5 if key["step"] == 0 else 0.9, size=len(items))
    return pd.DataFrame(
        {
            **key,
            "item": items["item"],
            "samples": 16,
            "correct": correct,
            "recall": recall,
            "greedy_correct": (rates > 0.5).astype(int),
        }
    )


def _evaluated_base(items: pd.DataFrame, key: dict[str, Any]) -> pd.DataFrame:
    return _evaluated(items, _rates(items, *BEFORE[key["base"]]), _base_key(key["base"]))


def _base_key(base: str) -> dict[str, Any]:
    return {"base": base, "method": "base", "reward": "none", "seed": 0, "step": 0}


def _scored(items: pd.DataFrame, key: dict[str, Any]) -> pd.DataFrame:
    rng = np.random.default_rng(len(str(key)) + key["step"])
    exposed = items["group"].eq("exposed").to_numpy()
    # Planted: the answers of exposed items get likelier by .5, everything else stays.
    drop = 0.5 * exposed * (key["reward"] == "format") * (key["base"] == "contaminated")
    noise = rng.normal(0, 0.01, size=(4, len(items)))
    level = np.random.default_rng(1).uniform(1, 2, size=len(items))
    return pd.DataFrame(
        {
            **key,
            "item": items["item"],
            "prompt_nll": level + noise[0],
            "recall_nll": level - drop + noise[1],
            "reason_nll": level + noise[2],
            "chain_nll": level + noise[3],
            "recall_greedy": (exposed & (key["base"] == "contaminated")).astype(int),
        }
    )


# Studies that lack something, as arguments of `write_study`.
SUBSETS: dict[str, dict[str, Any]] = {
    "one seed, one reward": {"bases": ("contaminated",), "rewards": ("format",), "seeds": (0,)},
    "unknown exposure": {"known": False},
    "no twins": {"twins": False, "rewards": ("format",)},
    "clean only": {"bases": ("clean",), "rewards": ("format",)},
}


def write_study(
    folder: Path,
    bases: tuple[str, ...] = ("contaminated", "clean"),
    rewards: tuple[str, ...] = ("format", "ground_truth", "constant"),
    seeds: tuple[int, ...] = (0, 1, 2),
    known: bool = True,
    twins: bool = True,
) -> dict[str, Any]:
    """Write the per-item files of a study and return the inputs of step ``tables``."""
    items = item_table(known, twins)
    folder.mkdir(parents=True, exist_ok=True)
    items.to_csv(folder / "items.csv", index=False)
    found: dict[str, Any] = {"items": folder / "items.csv", "evaluations": [], "nlls": []}

    def add(name: str, keys: list[dict[str, Any]], rates: np.ndarray) -> None:
        evaluated = pd.concat([_evaluated(items, rates, key) for key in keys])
        scored = pd.concat([_scored(items, key) for key in keys])
        for kind, table in (("evaluations", evaluated), ("nlls", scored)):
            found[kind].append(folder / f"{name}.{kind}.csv")
            table.to_csv(found[kind][-1], index=False)

    for base in bases:
        add(base, [_base_key(base)], _rates(items, *BEFORE[base]))
        for reward in rewards:
            if (base, reward) in AFTER:
                for seed in seeds:
                    key = {"base": base, "method": "grpo", "reward": reward, "seed": seed}
                    keys = [{**key, "step": step} for step in STEPS]
                    add(f"{base}-{reward}-{seed}", keys, _rates(items, *AFTER[base, reward]))
    return found


SPEC = {
    "exposed_from": 128,
    "equivalence_margin": 0.05,
    "chance": 1 / 13,
    "clean_base": "clean",
}
TABLES = ["accuracy", "did", "perplexity", "base", "trajectory"]


def table_paths(folder: Path) -> dict[str, Path]:
    """Return the outputs of step ``tables`` below `folder`."""
    return {name: folder / f"{name}.csv" for name in TABLES} | {"summary": folder / "summary.json"}
