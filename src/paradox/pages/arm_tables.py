"""What the page of an arm shows, from its own files and those of its untrained base.

A new arm leaves the pages of the others as they are. Step ``tables`` sums up the two here.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd

from paradox.evaluate import tables
from paradox.evaluate.arms import levels, read_items
from paradox.figures import style
from paradox.figures.names import label
from paradox.files import read_table
from paradox.pages.arm_names import level_name
from paradox.pages.page import estimates
from paradox.progress import Progress
from paradox.report.numbers import ENDS, Numbers, number

RATES = {
    "accuracy": "accuracy, %",
    "recall_share": "answered at once, %",
    "greedy": "greedy accuracy, %",
}
SHARES = {"reward": "reward", "share/correct": "right", "share/recall": "answered at once"}
LOGGED = ["reward", "share/correct", "share/recall", "share/reason", "entropy", "loss"]
# Text stays text: as outlines it would double the size.
TEXT = {"svg.fonttype": "none", "font.family": ["DejaVu Sans", "sans-serif"]}
SAMPLE = ["item", "sample", "response", "answer", "correct", "mode"]


class Summed(NamedTuple):
    """The tables of one arm and its base, and the headline numbers from them."""

    tables: dict[str, pd.DataFrame]
    numbers: Numbers


def summed(
    spec: dict[str, Any], items: Path, evaluations: Sequence[Path], nlls: Sequence[Path]
) -> Summed:
    """Sum up a trained arm beside its untrained base, as step ``tables`` with `spec` does.

    `evaluations` and `nlls` are per-item files of the base and of the arm.
    """
    names = ["accuracy", "did", "perplexity", "base", "trajectory"]
    with tempfile.TemporaryDirectory() as scratch:
        made = {name: Path(scratch) / f"{name}.csv" for name in names}
        summary = Path(scratch) / "summary.json"
        given = {"evaluations": [*evaluations], "nlls": [*nlls], "items": items}
        quiet = Progress("tables", streams=(io.StringIO(),))
        tables.main(spec, given, made | {"summary": summary}, quiet)
        read = {name: read_table(path) for name, path in made.items()}
        # Of one seed the rows over all seeds say the same.
        read = {n: style.all_seeds(rows) if "seed" in rows else rows for n, rows in read.items()}
        return Summed(read, Numbers.read(summary))


def before_and_after(arm: Summed, exposed_from: int) -> pd.DataFrame:
    """Return accuracy and recall by exposure, before and after training, with counts."""
    rows = arm.tables["accuracy"]
    before, after = rows[rows["method"] == "base"], rows[rows["method"] != "base"]
    after = after[after["step"] == after["step"].max()]
    parts = []
    for when, counted in (("before", before), ("after", after)):
        by_level = counted.set_index("level")
        shown = estimates(by_level, {name: f"{text} {when}" for name, text in RATES.items()})
        parts.append(shown.assign(**{f"samples {when}": by_level["samples"].astype(int)}))
    both = parts[0].join(parts[1])
    heads = [f"{text} {when}" for text in RATES.values() for when in ("before", "after")]
    heads = [head for head in heads if head in both] + ["samples before", "samples after"]
    return _levels(before, exposed_from).join(both[heads], on="level").drop(columns="level")


def _levels(rows: pd.DataFrame, exposed_from: int) -> pd.DataFrame:
    known = any(str(level).isdigit() for level in rows["level"])
    names = [level_name(str(level), exposed_from if known else None) for level in rows["level"]]
    return pd.DataFrame(
        {"level": rows["level"], "items seen": names, "items": rows["items"].astype(int)}
    )


def untrained(spec: dict[str, Any], items: Path, evaluation: Path, nll: Path) -> pd.DataFrame:
    """Return what an untrained base knows by exposure: as the columns of ``base.csv``."""
    known = tables.base_table(spec, {"items": items, "evaluations": [evaluation], "nlls": [nll]})
    shown = estimates(known, RATES | {"recall_answer": "recalled answer right, %"})
    named = _levels(known, spec["exposed_from"]).join(shown).drop(columns="level")
    return named.assign(samples=known["samples"])


def untrained_texts(items: Path, nll: Path, exposed_from: int) -> pd.DataFrame:
    """Return an untrained base's mean negative log-likelihoods, exposed items beside twins."""
    table, rows = read_items(items), read_table(nll)
    groups = levels(table, pd.Index(rows["item"]), exposed_from)
    texts = []
    for name in ("prompt", "recall", "reason", "chain"):
        row: dict[str, Any] = {"text": label(name)}
        for group in (groups[-1], *(g for g in groups if g.group == "twin")):
            values = rows[rows["item"].isin(group.items)][f"{name}_nll"].dropna()
            row[f"{group.name}, nats per token"] = f"{values.mean():.3f}" if len(values) else ""
            row[f"{group.name}: items"] = len(values)
        texts.append(row)
    return pd.DataFrame(texts)


def texts(arm: Summed) -> pd.DataFrame:
    """Return likelihoods of fixed texts, before and after, and their change, in nats per token."""
    rows = arm.tables["perplexity"]
    rows = rows[rows["group"].isin(["exposed", "twin", "difference"])]
    key = ["quantity", "group"]
    after = rows[rows["step"] == rows["step"].max()]
    named = {
        "before": rows[(rows["method"] == "base") & (rows["measure"] == "nll")],
        "after": after[(after["method"] != "base") & (after["measure"] == "nll")],
        "change": after[after["measure"] == "change"],
    }
    shown = named["change"][[*key, "items"]].set_index(key)
    for name, part in named.items():
        form = "+.3f" if name == "change" else ".3f"
        ends = part[[*ENDS]].itertuples(index=False)
        values = [number(*row, form=form) for row in ends]
        column = pd.Series(values, index=pd.MultiIndex.from_frame(part[key]))
        shown[f"{name}, nats per token"] = column
    shown = shown.reset_index()
    group = {"exposed": "exposed items", "twin": "twins", "difference": "exposed minus twins"}
    names = {"quantity": shown["quantity"].map(label), "group": shown["group"].map(group)}
    return shown.assign(**names).rename(columns={"quantity": "text"})


def course(arm: Summed) -> str:
    """Return a chart (svg) of accuracy and of answering at once over the steps of training."""
    rows = arm.tables["trajectory"].sort_values("step")
    curves = {}
    for measure, text in (("accuracy", "right"), ("recall_share", "at once")):
        for group, items in (("exposed", "exposed"), ("twin", "twins")):
            curve = rows[rows["group"] == group].set_index("step")[measure]
            if len(curve):
                curves[f"{items}, {text}"] = curve
    return _chart(curves, "share of samples")


def training(path: Path) -> tuple[str, pd.DataFrame]:
    """Return a chart (svg) of what a training logged, and its rows; empty where there was none."""
    rows = pd.read_csv(path)
    if rows.empty:
        return "", rows
    kept = [name for name in LOGGED if name in rows and rows[name].notna().any()]
    shares = [name for name in SHARES if name in kept]
    drawn = shares or kept[-1:]
    curves = {SHARES.get(name, name): rows.set_index("step")[name] for name in drawn}
    return _chart(curves, "mean" if shares else "loss"), rows[["step", *kept]]


def _chart(curves: dict[str, pd.Series], up: str) -> str:
    """Return a chart (svg) of curves over their index, the step. Equal numbers give equal text.

    Points that are not finite are left out.
    """
    looks = style.arm_looks(list(curves))
    drawn = io.StringIO()
    with style.style(), mpl.rc_context(TEXT):
        figure, ((axis,),) = style.grid(1, 1, 3.2)
        for name, curve in curves.items():
            kept = curve[np.isfinite(curve)]
            axis.plot(kept.index, kept, label=name, markevery=1 + len(kept) // 40, **looks[name])
        style.step_axis(axis)
        axis.set(xlabel="step of training", ylabel=up)
        figure.legend(loc="outside upper left", ncols=len(curves))
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    return drawn.getvalue()


def responses(samples: Path, items: Path, each: int = 2, characters: int = 400) -> pd.DataFrame:
    """Return sampled responses with question and right answer, spread over the items.

    So many are shown of `each` group; texts of more `characters` are cut.
    """
    rows = read_table(samples, SAMPLE)
    known = read_table(items, ["item", "group", "question", "answer"])
    known = known.rename(columns={"answer": "right answer"})
    heads = ["item", "group", "question", "right answer", "response", "answer", "correct", "mode"]
    rows = rows[rows["sample"] == 0].merge(known[heads[:4]], on="item")
    parts = []
    for _, group in rows.sort_values("item", kind="stable").groupby("group", sort=True):
        places = {round(part * (len(group) - 1) / (each - 1 or 1)) for part in range(each)}
        parts.append(group.iloc[sorted(places)])
    shown = pd.concat(parts, ignore_index=True)
    for name in ("question", "response"):
        cut = shown[name].str.len() > characters
        shown[name] = shown[name].where(~cut, shown[name].str.slice(0, characters) + "…")
    return shown[heads]
