"""The table of arms on the index page: a row per method and reward, a link per seed."""

from __future__ import annotations

import itertools
from typing import Any

import pandas as pd

from paradox.evaluate.arms import ALL_SEEDS
from paradox.figures.names import in_order, label, methods_in_order
from paradox.pages.page import estimates, link


def of_base(arms: list[dict[str, Any]], did: pd.DataFrame, base: str) -> pd.DataFrame:
    """Return the arms of a base with links to their pages; the untrained base comes first.

    Of the grid's table `did`, the rows over all seeds are shown.
    """
    cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for arm in arms:
        if arm["base"] == base:
            cells.setdefault((arm["reward"], arm["method"]), []).append(arm)
    rewards = in_order(reward for reward, _ in cells)
    methods = methods_in_order(method for _, method in cells)
    order = [pair for pair in itertools.product(rewards, methods) if pair in cells]
    all_seeds = did[(did["base"] == base) & (did["seed"].astype(str) == ALL_SEEDS)]
    heads = {
        "did": "DiD, points",
        "exposed_gain": "gain of exposed, points",
        "twin_gain": "gain of twins, points",
    }
    shown = all_seeds[["reward", "method"]].join(estimates(all_seeds, heads))
    numbers = shown.set_index(["reward", "method"]).to_dict("index")
    rows = []
    for reward, method in order:
        row = {"reward": label(reward), "method": "" if method == "base" else method}
        row["page"] = " ".join(_link(arm) for arm in cells[reward, method])
        rows.append(row | numbers.get((reward, method), {}))
    return pd.DataFrame(rows)


def _link(arm: dict[str, Any]) -> str:
    text = "untrained" if arm["method"] == "base" else f"seed {arm['seed']}"
    return link(address(arm), text)


def address(arm: dict[str, Any]) -> str:
    """Return the page of an arm, seen from the folder of the reports.

    >>> address({"base": "clean", "method": "grpo", "reward": "format", "seed": 1})
    'arms/clean/grpo/format/s1.html'
    """
    return f"arms/{arm['base']}/{arm['method']}/{arm['reward']}/s{arm['seed']}.html"
