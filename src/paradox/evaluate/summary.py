"""Headline numbers by name; texts take every number from here."""

from __future__ import annotations

from typing import Any

import pandas as pd

from paradox.evaluate.arms import ALL_SEEDS, Level

Entry = dict[str, float | int | None]
# Names in the summary -> columns of did.csv.
DID_NAMES = {
    "did": "did",
    "gain_exposed": "exposed_gain",
    "gain_twin": "twin_gain",
    "minus_ground_truth": "minus_ground_truth",
    "minus_clean": "minus_clean",
    "greedy_did": "greedy_did",
    "greedy_gain_exposed": "greedy_exposed_gain",
    "greedy_gain_twin": "greedy_twin_gain",
}
RATES = ["accuracy", "greedy", "recall_share"]


def summarise(
    tables: dict[str, pd.DataFrame],
    levels: list[Level],
    spec: dict[str, Any],
) -> dict[str, Entry]:
    """Return a flat dict: name -> value, low, high, n (items).

    Names are ``did/{base}/{reward}``, ``gain_exposed/...``, ``gain_twin/...``,
    ``minus_ground_truth/...``, ``minus_clean/...``, ``equivalence/...``; ``greedy_did/...``,
    ``greedy_gain_exposed/...`` and ``greedy_gain_twin/...`` (the same by greedy decoding) and
    ``greedy_room/...`` (what exposed items could gain by it at most);
    ``after/{base}/{reward}/{rate}_{group}``; ``before/{base}/{rate}_{group}`` and
    ``before/{base}/recall_answer_{group}`` and ``before/{base}/accuracy_difference`` (exposed
    minus twin); ``nll/{base}/{reward}/{quantity}_{group}`` (change
    since step 0; group ``difference`` is exposed minus twin); and ``design/...``. When a study
    has several training methods, ``{method}`` stands between base and reward. A number that
    could not be estimated has no entry. Entries of ``equivalence`` hold the p-value as value
    and the 90 % interval.
    """
    did = tables["did"]
    several = did["method"].nunique() > 1
    summary = _design(levels, spec, tables)
    summary |= _bases(tables["base"])
    for row in did[did["seed"] == ALL_SEEDS].to_dict("records"):
        arm = _arm(row, several)
        n = row["items_exposed"] + row["items_twin"]
        counts = {"exposed": row["items_exposed"], "twin": row["items_twin"]}
        for name, column in DID_NAMES.items():
            _put(summary, f"{name}/{arm}", row, column, counts.get(name.rpartition("gain_")[2], n))
        summary[f"greedy_room/{arm}"] = _plain(row["greedy_room"])
        test = {"p": row["equivalence_p"], "p_low": row["equivalence_low"]}
        _put(summary, f"equivalence/{arm}", test | {"p_high": row["equivalence_high"]}, "p", n)
        _last(summary, tables, row, arm)
    return summary


def _arm(row: dict[str, Any], several: bool) -> str:
    middle = f"{row['method']}/" if several else ""
    return f"{row['base']}/{middle}{row['reward']}"


def _put(summary: dict[str, Entry], name: str, row: dict[str, Any], column: str, n: int) -> None:
    if row.get(column) is None or pd.isna(row[column]):
        return
    ends = {end: float(row[f"{column}_{end}"]) for end in ("low", "high")}
    summary[name] = {"value": float(row[column]), **ends, "n": int(n)}


def _plain(value: float | int) -> Entry:
    return {"value": value, "low": None, "high": None, "n": None}


def _design(
    levels: list[Level], spec: dict[str, Any], tables: dict[str, pd.DataFrame]
) -> dict[str, Entry]:
    sizes = {level.name: len(level.items) for level in levels}
    entries = {
        "design/items_exposed": _plain(sizes["exposed"]),
        "design/items_twin": _plain(sizes.get("twin", 0)),
        "design/seeds": _plain(int(tables["did"]["replicates"].max())),
        "design/samples": _plain(int(tables["base"]["samples"].min())),
        "design/equivalence_margin": _plain(spec["equivalence_margin"]),
    }
    if any(level.exposure for level in levels):
        entries["design/exposed_from"] = _plain(spec["exposed_from"])
    if spec["chance"] is not None:
        entries["design/chance"] = _plain(spec["chance"])
    return entries


def _bases(table: pd.DataFrame) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for row in table[table["level"].isin(["exposed", "twin"])].to_dict("records"):
        for rate in RATES:
            _put(entries, f"before/{row['base']}/{rate}_{row['level']}", row, rate, row["items"])
        name = f"before/{row['base']}/recall_answer_{row['level']}"
        _put(entries, name, row, "recall_answer", row["recall_items"])
        _put(entries, f"before/{row['base']}/accuracy_difference", row, "minus_twin", row["items"])
    return entries


def _last(
    summary: dict[str, Entry], tables: dict[str, pd.DataFrame], did: dict[str, Any], arm: str
) -> None:
    """Add the rates and log-likelihoods of one arm at the step of its DiD."""
    key = ["base", "method", "reward", "seed", "step"]

    def same(table: pd.DataFrame) -> pd.DataFrame:
        return table[(table[key] == pd.Series({name: did[name] for name in key})).all(axis=1)]

    for row in same(tables["trajectory"]).to_dict("records"):
        for rate in RATES:
            _put(summary, f"after/{arm}/{rate}_{row['group']}", row, rate, row["items"])
    rows = same(tables["perplexity"])
    for row in rows[rows["measure"] == "change"].to_dict("records"):
        ends = {"value_low": row["low"], "value_high": row["high"]}
        name = f"nll/{arm}/{row['quantity']}_{row['group']}"
        _put(summary, name, row | ends, "value", row["items"])
