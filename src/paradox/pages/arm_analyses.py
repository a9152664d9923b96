"""What the analyses found on one arm, from the files of that arm alone.

A summary of single files, without a test: nulls, intervals over seeds and corrections for the
number of blocks belong to all arms together and are on the pages of the mechanisms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from paradox.files import read_table
from paradox.pages.page import estimates


class Shown(NamedTuple):
    """A per-item table of an analysis that the page of an arm sums up."""

    measure: str
    what: str
    # A pattern of the components that are shown.
    only: str = ""


# Table (its folder and name) -> what is read from it.
BY_BLOCK = {
    "ablation/table": Shown("logp_drop", "nats that recall loses without a block's part"),
    "jsd/table": Shown("excess", "bits of divergence without the content of an MLP's part"),
    "lens/lens": Shown("logp", "log-probability of the right answer after a block, nats"),
    "lens/attribution": Shown("logit", "what a part adds to the right answer's logit"),
    "cross_model/table": Shown(
        "gold_logp_change",
        "nats that states of the other model add to the right answer",
        r"(attn|mlp)_out:all:\w+:total:states$",
    ),
    "reset_keep/table": Shown(
        "gold_logp_change",
        "nats that one block's weights of the other model add to the right answer",
        r"(mlp|attention):1:(reset:0|keep:1):weights$",
    ),
    "steering/table": Shown(
        "odds_change",
        "log odds that scaled neurons add to the right answer; the factor stands after the colon",
        r"all:(?!1$)",
    ),
}
RULE = {"precision": "precision, %", "recall": "recall, %", "false_positive": "false positives, %"}


def table_name(path: Path) -> str:
    """Return a table's name below the arm's folder.

    >>> table_name(Path("results/tiny/runs/b/grpo/format/s0/lens/attribution.parquet"))
    'lens/attribution'
    """
    return f"{Path(path).parent.name}/{Path(path).stem}"


def by_block(
    paths: Sequence[Path], items: Path, exposed_from: int
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield, per analysis, what it measures and where exposed items and twins differ most.

    A row per component: the block with the largest difference. Means over the exposed items that
    count and over their own twins (where there are pairs).
    """
    known = read_table(items, ["item", "group", "exposure"])
    counted = known["exposure"].isna() | (known["exposure"] >= exposed_from)
    exposed = known[(known["group"] == "exposed") & counted]
    twins = known[known["group"] == "twin"]
    if "pair" in known:
        twins = twins[twins["pair"].isin(exposed["pair"])]
    for path in paths:
        name = table_name(path)
        if name in BY_BLOCK:
            rows = _rows(path, BY_BLOCK[name])
            groups = [rows[rows["item"].isin(of["item"])] for of in (exposed, twins)]
            counts = [of["item"].nunique() for of in groups]
            text = f"{name.removesuffix('/table')}: {BY_BLOCK[name].what}. Per component the block "
            text += f"where {counts[0]} exposed items differ most from {counts[1]} twins."
            yield text, _largest(*groups, BY_BLOCK[name].measure)


def _rows(path: Path, how: Shown) -> pd.DataFrame:
    rows = pd.read_parquet(path, columns=["item", "component", "layer", how.measure])
    names = pd.Series(rows["component"].unique())
    return rows[rows["component"].isin(names[names.str.match(how.only)])]


def _largest(exposed: pd.DataFrame, twin: pd.DataFrame, measure: str) -> pd.DataFrame:
    key = ["component", "layer"]
    both = {"exposed": exposed, "twins": twin}
    means = pd.DataFrame({name: of.groupby(key)[measure].mean() for name, of in both.items()})
    means = means.dropna()
    means["difference"] = means["exposed"] - means["twins"]
    largest = means["difference"].abs().groupby(level=0, sort=True).idxmax()
    found = means.loc[list(largest)].map("{:+.3g}".format).reset_index()
    return found.rename(columns={"layer": "block"})


def labels(path: Path) -> pd.DataFrame:
    """Return how many items of each exposure got each label."""
    rows = read_table(path, ["item", "group", "exposure", "posterior"])
    seen = rows["exposure"].map("seen {:g} times".format, na_action="ignore")
    seen = seen.where(rows["group"] == "exposed", "never-seen twins").fillna("exposed items")
    counts = pd.crosstab([rows["exposure"].fillna(-1), seen], rows["posterior"])
    counts = counts.reset_index(level=0, drop=True)
    counts.insert(0, "items", counts.sum(axis=1))
    return counts.rename_axis(columns=None).rename_axis(index="items seen").reset_index()


def rules(path: Path) -> pd.DataFrame:
    """Return, per rule, how many items it calls unlocked and how right it is."""
    rows = read_table(path, ["rule", "called_exposed", "called_twins", *RULE])
    counts = rows[["rule", "exposed", "twins", "called_exposed", "called_twins"]]
    heads = {"called_exposed": "exposed called leakage", "called_twins": "twins called leakage"}
    return counts.rename(columns=heads).join(estimates(rows, RULE))


def probes(path: Path) -> pd.DataFrame:
    """Return, per position, the layer at which a probe tells most pairs apart."""
    rows = read_table(path, ["position", "layer", "pair_auc", "corrected", "pairs"])
    best = rows.loc[rows.groupby("position", sort=True)["pair_auc"].idxmax()]
    shown = estimates(best, {"pair_auc": "pairs told apart, %"})
    about = best[["position", "layer", "pairs"]].join(shown)
    return about.assign(**{"p, corrected for all layers": best["corrected"].map("{:.3g}".format)})


def partial_prompts(path: Path) -> pd.DataFrame:
    """Return, per share of the question, how often its rest is completed word by word."""
    rows = read_table(path, ["ratio", "measure", "level", "exposed", "twin", "difference", "p"])
    rows = rows[(rows["measure"] == "exact_greedy") & (rows["level"] == "exposed")]
    heads = {"exposed": "exposed, %", "twin": "twins, %", "difference": "difference, points"}
    about = rows[["ratio", "items", "twins"]].rename(columns={"ratio": "share of the question"})
    return about.join(estimates(rows, heads)).assign(p=rows["p"].map("{:.3g}".format))


def boundary(path: Path) -> pd.DataFrame:
    """Return the share of right answers in one try and in all, by who answers."""
    rows = read_table(path, ["source", "group", "item", "samples", "right"])
    rows = rows.assign(share=rows["right"] / rows["samples"], any=rows["right"] > 0)
    found = rows.groupby(["source", "group"], sort=True).agg(
        items=("item", "nunique"),
        tries=("samples", "min"),
        one=("share", "mean"),
        any=("any", "mean"),
    )
    shown = found.reset_index()
    for name in ("one", "any"):
        shown[name] = [f"{100 * value:.1f}" for value in shown[name]]
    return shown.rename(columns={"one": "right in one try, %", "any": "right in any try, %"})


def decontamination(path: Path) -> pd.DataFrame:
    """Return, per way and dose, what is left of recall of exposed items and of worked chains."""
    rows = read_table(path, ["way", "dose", "alpha", "what", "correct", "group"])
    recall = rows[(rows["what"] == "recall") & (rows["group"] == "exposed")]
    key = ["way", "dose", "alpha"]
    chains = rows[rows["what"] == "chain"]
    left = {"exposed items recalled, %": recall, "chains worked out, %": chains}
    shares = {name: 100 * of.groupby(key)["correct"].mean() for name, of in left.items()}
    found = pd.DataFrame(shares)
    for name in left:
        found[name] = found[name].map("{:.1f}".format)
    return found.reset_index()


# Table -> how it is read, and what the page says above it.
OWN = {
    "probes/table": (probes, "Where a linear probe tells an exposed item from its twin best."),
    "partial_prompts/contrast": (partial_prompts, "Questions completed word by word, greedily."),
    "decontamination/table": (
        decontamination,
        "What ways to take memory out leave; neurons are scaled by alpha.",
    ),
    "boundary/table": (boundary, "Right answers in one try and in many; base: untrained."),
}
