"""The tables of the paper: what stands in which cell, as plain data.

A table is ``columns`` (headings) and ``rows``; a cell is a text, or ``mark`` (a verdict's first
letter) with ``lines``. How they look is said in the paper's source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from paradox.evaluate.arms import Arm
from paradox.figures import style
from paradox.figures.names import arm_words, in_order, label, methods_in_order
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.verdict import NEGLIGIBLE, NOT, OPEN, REPRODUCED
from paradox.report import numbers as words
from paradox.report.error_rates import false_positives
from paradox.report.mechanisms import WAYS, arms_of, by_arm
from paradox.report.numbers import ENDS, Numbers, number
from paradox.report.sources import Sources, percent
from paradox.report.words import dids

Table = dict[str, Any]
MARKS = {REPRODUCED: "yes", NEGLIGIBLE: "small", NOT: "no", OPEN: "open"}
# Parts of perplexity, and what their columns are called; exposures that count, all together.
PARTS = {part: part.capitalize() for part in ("prompt", "mode", "content", "answer", "full")}
PARTS |= {"marginal": "Any way"}
COUNTED = "exposed"
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
        for name in (name for name in numbers.arms(base) if numbers.has(f"did/{base}/{name}")):
            families = ("gain_exposed", "gain_twin", "did")
            cells = [_points(numbers, f"{family}/{base}/{name}") for family in families]
            cells += [_points(more, f"did/{base}/{name}")] if more else []
            rows.append([label(base).replace(" base", ""), words.arm_label(name), *cells])
    titles = ["Base", "Reward", "Gain of exposed items", "Gain of twins", "DiD"]
    titles += [f"DiD, {more.count('design/seeds')} trainings"] if more else []
    return {"columns": titles, "rows": rows}


def _points(numbers: Numbers, name: str) -> str:
    return numbers.points(name).replace(" points", "")


def _lines(value: float, low: float, high: float, form: str = "+.2g") -> list[str]:
    """Return a value and, below it, its interval."""
    return number(value, low, high, form=form).split(" ", 1)


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


def _titles(arms: list[Arm]) -> list[str]:
    several = len({arm.method for arm in arms if arm.trained}) > 1
    return [arm_words(arm._asdict(), base=True, method=several) for arm in arms]


def _cells(rows: pd.DataFrame, arms: list[Arm], cell: Callable[[Any], Any]) -> list[Any]:
    """Return what `cell` makes of each arm's first row, nothing for an arm without rows."""
    first = {arm: rows_of_arm.iloc[0] for arm, rows_of_arm in by_arm(rows)}
    return [cell(first[arm]) if arm in first else "" for arm in arms]


def verdicts(sources: Sources) -> list[Table]:
    """Return the verdict on every claim for every arm, in as many tables as the page needs."""
    table = sources.judged(*ARM, "effect", "low", "high", "items", "replicates", "verdict")
    table = table.rename(columns={"effect": "value"})
    arms = arms_of(table)
    rows = []
    for signature, judged in table.groupby("signature", sort=False):
        claim = sources.claim(str(signature))
        detail = claim.detail(str(signature))
        about = {"claim": claim.words, "detail": detail, "source": claim.source}
        size = f"{int(judged['items'].max())} × {int(judged['replicates'].max())}"
        rows.append([about, size, *_cells(judged, arms, _verdict)])
    lacking = []
    for row in sources.untestable().to_dict("records"):
        claim = sources.claim(row["signature"])
        about = {"claim": claim.words, "detail": "", "source": claim.source}
        lacking.append([about, "", row["reason"]])
    heads = ["Published claim", "", "Not testable here"]
    tables = _split(["Published claim", "Items × trainings", *_titles(arms)], rows, 2)
    return tables + ([{"columns": heads, "rows": lacking}] if lacking else [])


def _verdict(row: Any) -> dict[str, Any]:
    lines = ["nothing to", "measure"] if pd.isna(row["value"]) else _lines(*row[[*ENDS]])
    return {"mark": MARKS[row["verdict"]], "lines": lines}


def parts(sources: Sources) -> Table:
    """Return how training changed each part of perplexity, by reward and exposure.

    Items of the planted base at the last checkpoint; twins are those of all that count.
    """
    wanted = [*ARM, "step", "exposure", "group", "part", "change", "low", "high"]
    table = sources.rows("perplexity_parts", *wanted, base=sources.planted)
    table = table[wanted].rename(columns={"change": "value"})
    counted = table["exposure"] == COUNTED
    table = table[(table["group"] == "exposed") | (counted & (table["group"] == "twin"))]
    rows = []
    for arm, of_arm in by_arm(table[table["value"].notna()]):
        last = of_arm[of_arm["step"] == of_arm["step"].max()]
        for (group, exposure), cells in last.groupby(["group", "exposure"], sort=False):
            who = exposure if group == "exposed" else "twins"
            who = "all that count" if who == COUNTED else who
            found = {row["part"]: row for row in cells.to_dict("records")}
            ends = [[found[part][end] for end in ENDS] if part in found else [] for part in PARTS]
            shown = [{"mark": "", "lines": _lines(*each)} if each else "" for each in ends]
            rows.append([arm_words(arm._asdict(), method=False), str(who), *shown])
    return {"columns": ["Reward", "Exposures", *PARTS.values()], "rows": rows}


def where(sources: Sources) -> list[Table]:
    """Return at how many blocks an analysis sees memory, and at which most.

    Untrained bases as they are, trained arms by their change.
    """
    columns = (*ARM, "component", "measure", "state", "layer", *ENDS)
    read = {look[0]: sources.rows(look[0], *columns, contrast="difference") for look in LOOKS}
    first = read["ablation"]
    shown = first[first["state"] != "after"]
    arms = arms_of(shown[(shown["state"] == "base") | (shown["base"] == sources.planted)])
    rows = []
    for name, component, measure, title, unit in LOOKS:
        table = read[name]
        table = table[(table["component"] == component) & (table["measure"] == measure)]
        table = table[table["layer"] >= 0]
        cells: list[Any] = [f"{title} ({unit})"]
        for arm in arms:
            state = "change" if arm.trained else "base"
            cells.append(_peak(table[(table[[*ARM, "state"]] == [*arm, state]).all(axis=1)]))
        rows.append(cells)
    heads = [
        "change, " + arm_words(arm._asdict(), method=False) if arm.trained else title
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
    value, interval = _lines(*top[[*ENDS]])
    many = f"{len(out)}/{len(rows)}, at {int(top['layer'])}: {value}"
    return {"mark": "", "lines": [many, interval]}


def forgetting(sources: Sources) -> list[Table]:
    """Return what the least dose that removes half of memory costs, by way and arm."""
    table = sources.table("decontamination_half", *ARM, "way", "alpha", "chain", "verdict")
    # A base without memory has nothing to remove.
    table = table[table["base"] == sources.planted]
    arms = arms_of(table)
    rows = []
    for (way, alpha), doses in table.groupby(["way", "alpha"], sort=False):
        scaled = f", times {alpha:g}" if way in ("neurons", "random") else ""
        rows.append([f"{WAYS.get(str(way), way)}{scaled}", *_cells(doses, arms, _cost)])
    return _split(["Way", *_titles(arms)], rows, 1)


def _cost(row: Any) -> dict[str, Any]:
    lines = ["half not reached", ""]
    if not pd.isna(row["chain"]):
        lines = _lines(row["chain"], row["chain_low"], row["chain_high"], "+.2f")
    return {"mark": MARKS[row["verdict"]], "lines": lines}


def errors(sources: Sources, exposed_from: float) -> tuple[Table, pd.DataFrame]:
    """Return how often each test errs and how often it finds what is there, and the rates."""
    tables = sources.path("error_rates").parent
    for name in ("steering_rates", "eap_rates"):
        sources.path(name)
    rates = false_positives(tables)
    power = _power(sources.table("error_rates", "analysis", "kind"), exposed_from)
    steering = sources.table("steering_rates", "analysis", "measure", "kind", "exposure")
    steering = steering.assign(analysis=steering["analysis"] + ": " + steering["measure"])
    power |= _power(steering, exposed_from)
    rows = [
        [
            row["analysis"].replace("_", " "),
            f"{int(row['runs'])}",
            percent(row["rate"], row["low"], row["high"]),
            power.get(row["analysis"], "not measured"),
        ]
        for row in rates.to_dict("records")
    ]
    titles = ["Detector", "Runs", "Rejects permuted labels", "Finds what is there (pairs)"]
    return {"columns": titles, "rows": rows}, rates


def _power(table: pd.DataFrame, exposed_from: float) -> dict[str, str]:
    """Return per analysis how often it finds planted memory: median over its tests."""
    table = table[(table["kind"] == "power") & (table["exposure"] == exposed_from)]
    power = {}
    for name, rows in table.groupby("analysis"):
        rates = rows.groupby("pairs")["rate"].median()
        power[str(name)] = ", ".join(
            f"{100 * r:.0f} % ({int(pairs)})" for pairs, r in rates.items()
        )
    return power


def methods(sources: Sources) -> Table:
    """Return the difference in differences of each method (rows) under each reward."""
    did = dids(sources)
    rewards = in_order(did["reward"])
    rows = []
    for method in methods_in_order(did["method"]):
        by_reward = did[did["method"] == method].drop_duplicates("reward").set_index("reward")
        known = set(by_reward.index)
        rows.append([method, *(_did(by_reward.loc[r]) if r in known else "" for r in rewards)])
    return {"columns": ["Method", *map(label, rewards)], "rows": rows}


def _did(row: Any) -> str:
    return number(*(100 * row[name] for name in ("did", "did_low", "did_high")), form="+.1f")


def clipping(sources: Sources) -> Table:
    """Return how far each method drifts under random rewards."""
    table = style.all_seeds(sources.table("clipping/clipping", "method", "measure", "against"))
    drifts = table[table["primary"].astype(bool) & table["against"].isna()]
    measures = list(dict.fromkeys(drifts["measure"]))
    rows = []
    for method, drift in drifts.groupby("method", sort=False):
        by_measure = drift.set_index("measure").loc[measures]
        cells = [
            f"{number(*row[[*ENDS]], form='+.3f')}, {int(row['positive'])} : {int(row['negative'])}"
            for _, row in by_measure.iterrows()
        ]
        rows.append([str(method), *cells])
    return {"columns": ["Method", *map(label, measures)], "rows": rows}
