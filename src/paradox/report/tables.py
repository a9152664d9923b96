"""The tables of the paper: what stands in which cell, as plain data.

A table is ``columns`` (headings) and ``rows``; a cell is a text, or ``mark`` (a verdict's first
letter) with ``lines``. How they look is said in the paper's source.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from paradox.figures import style
from paradox.figures.names import arm_words, label
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.verdict import NOT, OPEN, REPRODUCED
from paradox.report import numbers as words
from paradox.report.error_rates import false_positives
from paradox.report.mechanisms import WAYS, arms_of
from paradox.report.numbers import Numbers
from paradox.report.sources import ENDS, Sources, percent

Table = dict[str, Any]
MARKS = {REPRODUCED: "yes", NOT: "no", OPEN: "open"}
# More arms than this do not fit on a page side by side.
WIDEST = 5
# What memory is looked for with: table, component, measure, name and unit.
LOOKS = [
    ("ablation", "mlp@all", "logp_drop", "MLP ablated", "nats"),
    ("ablation", "attn@all", "logp_drop", "attention ablated", "nats"),
    ("lens", "resid", "logp", "lens", "nats"),
    ("attribution", "mlp", "logit", "attribution, MLP", "logits"),
    ("attribution", "attention", "logit", "attribution, attention", "logits"),
    ("jsd", "gate@all", "excess", "divergence, gate", "bits"),
    ("jsd", "up@all", "excess", "divergence, up", "bits"),
]


def effects(numbers: Numbers, more: Numbers | None = None) -> Table:
    """Return the difference in differences of every arm that has one, with its parts.

    `more`: the same arms with more trainings each, in a last column.
    """
    rows = []
    for base in numbers.bases:
        for name in numbers.arms(base):
            if numbers.has(f"did/{base}/{name}"):
                keys = (
                    f"{family}/{base}/{name}" for family in ("gain_exposed", "gain_twin", "did")
                )
                cells = [_points(numbers, key) for key in keys]
                cells += [_points(more, f"did/{base}/{name}")] if more else []
                rows.append([label(base).replace(" base", ""), words.arm_label(name), *cells])
    titles = ["Base", "Reward", "Gain of exposed items", "Gain of twins", "DiD"]
    titles += [f"DiD, {more.count('design/seeds')} trainings"] if more else []
    return {"columns": titles, "rows": rows}


def _points(numbers: Numbers, name: str) -> str:
    return numbers.points(name).replace(" points", "")


def _ends(row: Any, digits: int = 2) -> list[str]:
    value, low, high = (row[end] for end in ENDS)
    return [f"{value:+.{digits}g}", f"[{low:+.{digits}g}, {high:+.{digits}g}]"]


def _split(columns: list[str], rows: list[list[Any]], fixed: int) -> list[Table]:
    """Cut a table that is too wide into several, each with the first `fixed` columns."""
    places = range(fixed, len(columns), WIDEST)
    return [
        {
            "columns": columns[:fixed] + columns[start : start + WIDEST],
            "rows": [row[:fixed] + row[start : start + WIDEST] for row in rows],
        }
        for start in places
    ]


def _titles(arms: list[tuple[str, str, str]]) -> list[str]:
    several = len({method for _, method, _ in arms if method != "base"}) > 1
    return [arm_words(dict(zip(ARM, arm, strict=True)), base=True, method=several) for arm in arms]


def verdicts(sources: Sources) -> list[Table]:
    """Return the verdict on every claim for every arm, in as many tables as the page needs."""
    table = sources.judged(*ARM, "effect", "low", "high", "n", "verdict")
    table = table.rename(columns={"effect": "value"})
    arms = arms_of(table)
    rows = []
    for signature, own in table.groupby("signature", sort=False):
        claim = sources.claim(str(signature))
        detail = claim.detail(str(signature))
        cells: list[Any] = [{"claim": claim.words, "detail": detail, "source": claim.source}]
        cells.append(f"{int(own['n'].max())}")
        for one in arms:
            row = own[(own[ARM] == list(one)).all(axis=1)]
            cells.append(_verdict(row.iloc[0]) if len(row) else "")
        rows.append(cells)
    return _split(["Published claim", "n", *_titles(arms)], rows, 2)


def _verdict(row: Any) -> dict[str, Any]:
    lines = ["nothing to", "measure"] if pd.isna(row["value"]) else _ends(row)
    return {"mark": MARKS[row["verdict"]], "lines": lines}


def where(sources: Sources) -> list[Table]:
    """Return at how many blocks an analysis sees memory, and at which most.

    Untrained bases as they are, trained arms by their change.
    """
    read = {}
    for name in dict.fromkeys(look[0] for look in LOOKS):
        read[name] = sources.rows(
            name, *ARM, "component", "measure", "state", "layer", *ENDS, contrast="difference"
        )
    first = read["ablation"]
    shown = first[first["state"] != "after"]
    shown = shown[(shown["state"] == "base") | (shown["base"] == sources.planted)]
    arms = arms_of(shown)
    rows = []
    for name, component, measure, title, unit in LOOKS:
        table = read[name]
        own = table[(table["component"] == component) & (table["measure"] == measure)]
        cells: list[Any] = [f"{title} ({unit})"]
        for base, method, reward in arms:
            state = "base" if method == "base" else "change"
            key = (own[ARM] == [base, method, reward]).all(axis=1) & (own["state"] == state)
            cells.append(_peak(own[key & (own["layer"] >= 0)]))
        rows.append(cells)
    heads = [
        title
        if arm[1] == "base"
        else "change, " + arm_words(dict(zip(ARM, arm, strict=True)), method=False)
        for title, arm in zip(_titles(arms), arms, strict=True)
    ]
    return _split(["Analysis", *heads], rows, 1)


def _peak(rows: pd.DataFrame) -> Any:
    if rows.empty:
        return ""
    out = rows[rows["corrected"] <= 0.05]
    if out.empty:
        return {"mark": "", "lines": ["no block", f"p = {rows['corrected'].min():.2g}"]}
    top = out.loc[out["value"].abs().idxmax()]
    value, interval = _ends(top)
    many = f"{len(out)}/{len(rows)}, at {int(top['layer'])}: {value}"
    return {"mark": "", "lines": [many, interval]}


def forgetting(sources: Sources) -> list[Table]:
    """Return what the least dose that removes half of memory costs, by way and arm."""
    table = sources.table("decontamination_half", *ARM, "way", "alpha", "chain", "verdict")
    # A base without memory has nothing to remove.
    table = table[table["base"] == sources.planted]
    arms = arms_of(table)
    rows = []
    for (way, alpha), own in table.groupby(["way", "alpha"], sort=False):
        scaled = way in ("neurons", "random")
        cells: list[Any] = [f"{WAYS.get(str(way), way)}{f', times {alpha:g}' if scaled else ''}"]
        for one in arms:
            row = own[(own[ARM] == list(one)).all(axis=1)]
            cells.append(_cost(row.iloc[0]) if len(row) else "")
        rows.append(cells)
    return _split(["Way", *_titles(arms)], rows, 1)


def _cost(row: Any) -> dict[str, Any]:
    if pd.isna(row["chain"]):
        lines = ["half not reached", ""]
    else:
        lines = [f"{row['chain']:+.2f}", f"[{row['chain_low']:+.2f}, {row['chain_high']:+.2f}]"]
    return {"mark": MARKS[row["verdict"]], "lines": lines}


def errors(sources: Sources, exposed_from: float) -> tuple[Table, pd.DataFrame]:
    """Return how often each test errs and how often it finds what is there, and the rates."""
    tables = sources.path("error_rates").parent
    for name in ("steering_rates", "eap_rates"):
        sources.path(name)
    rates = false_positives(tables)
    found = _power(sources.table("error_rates", "analysis", "kind"), exposed_from)
    steering = sources.table("steering_rates", "analysis", "measure", "kind", "exposure")
    steering = steering.assign(analysis=steering["analysis"] + ": " + steering["measure"])
    found |= _power(steering, exposed_from)
    rows = [
        [
            row["analysis"].replace("_", " "),
            f"{int(row['runs'])}",
            percent(row["rate"], row["low"], row["high"]),
            found.get(row["analysis"], "not measured"),
        ]
        for row in rates.to_dict("records")
    ]
    titles = ["Detector", "Runs", "Rejects permuted labels", "Finds what is there (pairs)"]
    return {"columns": titles, "rows": rows}, rates


def _power(table: pd.DataFrame, exposed_from: float) -> dict[str, str]:
    """Return per analysis how often it finds planted memory: median over its tests."""
    own = table[(table["kind"] == "power") & (table["exposure"] == exposed_from)]
    found = {}
    for name, rows in own.groupby("analysis"):
        parts = [
            f"{100 * of['rate'].median():.0f} % ({int(pairs)})"
            for pairs, of in rows.groupby("pairs")
        ]
        found[str(name)] = ", ".join(parts)
    return found


def methods(sources: Sources) -> Table:
    """Return the difference in differences of each method (rows) under each reward."""
    did = style.all_seeds(sources.table("methods/did", "base", "method", "reward", "seed", "did"))
    did = did[did["did"].notna()]
    rewards = style.in_order(did["reward"])
    order = [name for name in style.METHOD_ORDER if name in set(did["method"])]
    rows = []
    for method in [*order, *sorted(set(did["method"]) - set(order))]:
        cells: list[Any] = [method]
        for reward in rewards:
            own = did[(did["method"] == method) & (did["reward"] == reward)]
            cells.append(_did(own.iloc[0]) if len(own) else "")
        rows.append(cells)
    return {"columns": ["Method", *map(label, rewards)], "rows": rows}


def _did(row: Any) -> str:
    value, low, high = (100 * row[name] for name in ("did", "did_low", "did_high"))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


def clipping(sources: Sources) -> Table:
    """Return how far each method drifts under random rewards."""
    table = style.all_seeds(sources.table("clipping/clipping", "method", "measure", "against"))
    own = table[table["primary"].astype(bool) & table["against"].isna()]
    measures = list(dict.fromkeys(own["measure"]))
    rows = []
    for method, of in own.groupby("method", sort=False):
        by = of.set_index("measure")
        cells = [str(method)]
        for measure in measures:
            row = by.loc[measure]
            value, low, high = (row[end] for end in ENDS)
            cells.append(
                f"{value:+.3f} [{low:+.3f}, {high:+.3f}], "
                f"{int(row['positive'])} : {int(row['negative'])}"
            )
        rows.append(cells)
    return {"columns": ["Method", *map(label, measures)], "rows": rows}
