"""A fabricated study of clipping: methods x seeds with planted drifts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from paradox.mechanisms.clipping.drift import SIDES
from paradox.seeds import keyed_rng

ITEMS = 200  # of each group
SEEDS = list(range(8))
METHODS: dict[str, dict[str, float | int]] = {
    "grpo": {"epsilon": 0.2, "updates_per_rollout": 4},
    "grpo_noclip": {"epsilon": 1e8, "updates_per_rollout": 4},
    "grpo_onpolicy": {"epsilon": 0.2, "updates_per_rollout": 1},
    "grpo_tightclip": {"epsilon": 0.02, "updates_per_rollout": 4},
}
SPEC: dict[str, Any] = {
    "base": "contaminated",
    "reward": "random",
    "methods": [{"name": name} | how for name, how in METHODS.items()],
    "seeds": SEEDS,
    "gamma": 0.5,
    "group": 8,
    "exposed_from": 128,
}
BASE = {"base": "contaminated", "method": "base", "reward": "none", "seed": 0, "step": 0}
UPDATES = 16


def priors() -> np.ndarray:
    """Return each item's prior share of direct responses; three of five lie above 1/2."""
    low, high = np.linspace(0.15, 0.25, 2 * ITEMS // 5), np.linspace(0.75, 0.85, 3 * ITEMS // 5)
    return np.tile(np.r_[low, high], 2)


def item_table() -> pd.DataFrame:
    """Return exposed items and twins."""
    names = [f"{kind}{index}" for kind in "et" for index in range(ITEMS)]
    group = ["exposed"] * ITEMS + ["twin"] * ITEMS
    exposure = [128] * ITEMS + [0] * ITEMS
    return pd.DataFrame({"item": names, "group": group, "exposure": exposure})


def _counted(key: dict[str, Any], direct: np.ndarray, correct: np.ndarray) -> pd.DataFrame:
    counts = {"samples": 16, "correct": correct, "recall": direct}
    return pd.DataFrame({**key, **item_table().to_dict("list"), **counts})


def _curves(key: dict[str, Any], rise: float) -> pd.DataFrame:
    every = int(METHODS[key["method"]]["updates_per_rollout"])
    step = np.arange(every, UPDATES + 1, every)
    rng = keyed_rng("curves", *key.values())
    done = step / UPDATES
    table = {"step": step, "entropy": 0.3 - rise * done + rng.normal(0, 0.002, len(step))}
    for name in SIDES:
        # 1/1000 of an update's tokens each; only below the band where the prior is high.
        acts = every > 1 and not (name.startswith("above") and name.endswith("high"))
        table[f"band/{name}"] = np.full(len(step), 0.001 * acts)
    table["band/probability"] = 0.8 + rise * done + rng.normal(0, 0.002, len(step))
    return pd.DataFrame(table)


def write_study(folder: Path, planted: dict[str, float], noise: float = 0.0) -> dict[str, Any]:
    """Write all files and return the inputs of step ``clipping``.

    Parameters
    ----------
    planted
        Method -> how far every item's share moves to its own side of 1/2, and the token
        probability up.
    noise
        Standard deviation over seeds of a shift that all items share.
    """
    folder.mkdir(parents=True, exist_ok=True)
    item_table().to_csv(folder / "items.csv", index=False)
    share, rng = priors(), keyed_rng("base")
    direct = rng.random((len(share), 16)) < share[:, None]
    correct = rng.random(direct.shape) < 0.4
    found: dict[str, Any] = {"items": folder / "items.csv", "evaluations": [], "curves": []}
    found["samples"] = folder / "samples.parquet"
    rows = [
        {"item": item, "sample": k, "mode": "recall" if direct[i, k] else "reason"}
        | {"correct": bool(correct[i, k])}
        for i, item in enumerate(item_table()["item"])
        for k in range(-1, 16)
    ]
    pd.DataFrame(rows).to_parquet(found["samples"], index=False)

    def add(run: Path, table: pd.DataFrame) -> None:
        run.mkdir(parents=True)
        table.to_csv(run / "items.csv", index=False)
        found["evaluations"].append(run / "items.csv")

    runs = folder / "runs" / "contaminated"
    add(runs / "base/none/s0", _counted(BASE, direct.sum(axis=1), correct.sum(axis=1)))
    for method in METHODS:
        for seed in SEEDS:
            key = {"base": "contaminated", "method": method, "reward": "random", "seed": seed}
            rng = keyed_rng("after", *key.values())
            shift = planted.get(method, 0.0) * np.sign(share - 0.5) + rng.normal(0, noise)
            after = rng.binomial(16, np.clip(share + shift, 0, 1))
            run = runs / method / "random" / f"s{seed}"
            counted = _counted(key | {"step": UPDATES}, after, rng.binomial(16, 0.4, len(share)))
            add(run, counted)
            _curves(key, planted.get(method, 0.0)).to_csv(run / "train.csv", index=False)
            found["curves"].append(run / "train.csv")
    return found


def outputs(folder: Path) -> dict[str, Path]:
    """Return where the step writes."""
    return {"table": folder / "clipping.csv", "reading": folder / "clipping.json"}
