"""What the table of step ``clipping`` says, in plain words, whichever way it falls."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from paradox.evaluate.arms import ALL_SEEDS
from paradox.mechanisms.clipping.bias import Method
from paradox.mechanisms.tables.sentences import p_value
from paradox.stats.signs import ALPHA

WORDS = {
    "toward_prior": "drift toward the prior",
    "direct": "share of direct responses",
    "probability": "mean probability of sampled tokens",
}
# With fewer tokens outside the band than this, clipping had next to nothing to act on.
HARDLY = 0.001
Table = pd.DataFrame


def reading(table: Table, methods: list[Method], primary: list[str]) -> dict[str, Any]:
    """Return ``text`` (one paragraph) and ``verdicts`` (method -> verdict).

    Verdicts of a method that clips: ``supported`` (a primary measure drifts the predicted way and
    further than under every method that does not clip), ``drift`` (it drifts the predicted way, but
    is not clear of those), ``opposite`` (the only drifts found go the other way) and ``none`` (no
    drift of one sign was found). Of the others: ``drift`` and ``none``. "Drifts" means Holm's p <=
    .05 of the sign test; "further", a sign-flip p <= .05 of the paired difference in the predicted
    direction.
    """
    whole = table[table["seed"].astype(str) == ALL_SEEDS]
    clipping = [method for method in methods if method.clips]
    free = [method for method in methods if not method.clips]
    judged = {method.name: _verdict(whole, method, free, primary) for method in methods}
    verdicts = {name: verdict for name, (verdict, _) in judged.items()}
    parts = [_design(whole, primary[0])]
    aimless = [
        name
        for name in primary
        if clipping and not _row(whole, clipping[0].name, name)["predicted"]
    ]
    if aimless:
        parts.append(
            f"The base is too near one half to predict a direction for the "
            f"{' and '.join(WORDS.get(name, name) for name in aimless)}, which therefore bears on "
            "no verdict of a method that clips."
        )
    parts += [_drifts(whole, method, primary) for method in methods]
    parts += [_conclusion(whole, method, free, *judged[method.name]) for method in clipping]
    moved = [method.name for method in free if verdicts[method.name] == "drift"]
    if moved:
        parts.append(
            f"{' and '.join(moved)} cannot clip and drifted with one sign all the same: such a "
            "drift does not need clipping."
        )
    return {"text": " ".join(parts), "verdicts": verdicts}


def _row(table: Table, method: str, measure: str, against: str = "") -> pd.Series:
    chosen = (table["method"] == method) & (table["measure"] == measure)
    return table[chosen & (table["against"].fillna("") == against)].iloc[0]


def _against(table: Table, method: Method, other: Method, measure: str) -> tuple[float, float]:
    """Return mean and sign-flip p of `method` minus `other`, whichever way it was tabled."""
    chosen = table[(table["measure"] == measure)]
    for one, two, sign in ((method, other, 1.0), (other, method, -1.0)):
        rows = chosen[(chosen["method"] == one.name) & (chosen["against"] == two.name)]
        if len(rows):
            return sign * float(rows["value"].iloc[0]), float(rows["flip_p"].iloc[0])
    raise KeyError((method.name, other.name))


def _verdict(
    table: Table, method: Method, free: list[Method], primary: list[str]
) -> tuple[str, list[str]]:
    """Return the verdict and the primary measures that it rests on."""
    rows = [_row(table, method.name, name) for name in primary]
    # Without a predicted direction (a prior share near 1/2) a drift speaks for no account.
    rows = [row for row in rows if row["predicted"] or not method.clips]
    drifting = [row for row in rows if row["holm_p"] <= ALPHA]
    names = [row["measure"] for row in drifting]
    if not drifting or not method.clips:
        return "drift" if drifting else "none", names
    right = [row for row in drifting if row["value"] * row["predicted"] > 0]
    further = [
        row["measure"]
        for row in right
        if (pairs := [_against(table, method, other, row["measure"]) for other in free])
        and all(mean * row["predicted"] > 0 and p <= ALPHA for mean, p in pairs)
    ]
    if further:
        return "supported", further
    return ("drift", [row["measure"] for row in right]) if right else ("opposite", names)


def _design(table: Table, measure: str) -> str:
    row = table[(table["measure"] == measure) & (table["method"] != "base")].iloc[0]
    facts = table[table["method"] == "base"].set_index("measure")["value"]
    text = f"The study has {row['n']} seeds per method and {row['updates']} updates per training."
    if pd.isna(row["detectable"]):
        text += " So few seeds can never show a drift of one sign."
    else:
        text += (
            " The sign test finds a direction with 80 % power when a seed takes it with "
            f"probability {p_value(row['detectable'])} or more."
        )
    text += f" Before training {facts['direct']:.1%} of responses were direct"
    if not math.isnan(facts["prior_agreement"]):
        text += (
            f"; two halves of the base's samples put {facts['prior_agreement']:.0%} of items on "
            "the same side of one half (50 % is chance)"
        )
    return text + "."


def _drifts(table: Table, method: Method, primary: list[str]) -> str:
    parts = []
    for name in primary:
        row = _row(table, method.name, name)
        ends = ""
        if not pd.isna(row["low"]):
            ends = f" (95 % interval {row['low']:+.4f} to {row['high']:+.4f})"
        tied = f", {row['ties']} unchanged" if row["ties"] else ""
        parts.append(
            f"{WORDS.get(name, name)} {row['value']:+.4f}{ends}, up in {row['positive']} and down "
            f"in {row['negative']} seeds{tied}, p = {p_value(row['holm_p'])} after Holm"
        )
    return f"{method.name}: {'; '.join(parts)}."


def _conclusion(
    table: Table, method: Method, free: list[Method], verdict: str, measures: list[str]
) -> str:
    outside = float(_row(table, method.name, "outside")["value"])
    band = f"Under {method.name}, {outside:.2%} of the tokens of an update were outside the band"
    if outside < HARDLY:
        band += ", so clipping had next to nothing to act on and this arm hardly tests it"
    names = " and ".join(other.name for other in free)
    what = " and ".join(WORDS.get(name, name) for name in measures)
    unlike = (
        f"this is not shown to differ from {names}" if free else "no method without clipping ran"
    )
    conclusions = {
        "supported": f"{what} drifted as the clipping account predicts, and further than under "
        f"{names}",
        "drift": f"{what} drifted as the clipping account predicts, but {unlike}",
        "opposite": f"{what} drifted against the prediction of the clipping account",
        "none": "no primary measure with a prediction drifted with one sign; that is what noise "
        "predicts, and what a weak drift by clipping would look like, too",
    }
    return f"{band}; {conclusions[verdict]}."
