"""The paragraph on trajectories: what the tables of step ``separation`` say, whichever way."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from paradox.figures.names import arm_words
from paradox.mechanisms.tables.sentences import blocks, listing, p_value, verdict_words
from paradox.mechanisms.tables.verdict import ALPHA, OPEN
from paradox.mechanisms.tables.words import AS_IS, SHUFFLED

PLACES = {
    "answer": "where the answer is predicted",
    "prompt": "at the prompt's last token",
    "question": "in the question",
    "flow": "in the fitted flow",
    "flow_path": "on the flow's own path from the embedding on",
}
# Places that have a row in the table of verdicts; what a flow does is none of them.
JUDGED = ("answer", "prompt", "question")


def paragraph(
    table: pd.DataFrame, flows: pd.DataFrame, signatures: pd.DataFrame, claim: str, planted: str
) -> str:
    """Return the paragraph; `claim` is that of the signature ``separation_peak``."""
    counted = table[(table["set"] == "counted") & (table["state"] != "change")]
    rows_planted = counted[counted["base"] == planted]
    sentences = list(_forces(rows_planted[rows_planted["method"] == "base"], planted))
    sentences += _others(counted[counted["base"] != planted])
    trained = rows_planted[rows_planted["method"] != "base"]
    for _, rows in trained.groupby(["method", "reward"], sort=True):
        top = _top(rows[rows["component"] == "answer"])
        sentences.append(f"After {arm_words(rows.iloc[0])} it is largest {top}.")
    chosen = signatures["signature"].isin([f"separation_peak: {place}" for place in JUDGED])
    sentences += verdict_words(signatures[chosen], claim, planted)
    sentences += _flow(flows, planted)
    sentences += _published(flows, signatures, planted)
    return " ".join(sentences)


def _forces(rows: pd.DataFrame, planted: str) -> Iterator[str]:
    parts = []
    for component, words in PLACES.items():
        rows_here = rows[rows["component"] == component]
        if len(rows_here):
            out = rows_here[rows_here["corrected"] <= ALPHA]
            where = f"at {blocks(out['layer'])}" if len(out) else "at no block"
            parts.append(f"{words} {where}" + (f" (largest {_top(rows_here)})" if len(out) else ""))
    yield f"In the untrained {planted} base the separation force is clear of its null " + (
        f"{'; '.join(parts)}."
    )


def _others(rows: pd.DataFrame) -> Iterator[str]:
    for base, rows_of_base in rows.groupby("base", sort=True):
        out = int((rows_of_base["corrected"] <= ALPHA).sum())
        yield (
            f"In the {base} base {out} of {len(rows_of_base)} forces leave their null "
            f"(smallest corrected p = {p_value(rows_of_base['corrected'].min())})."
        )


def _top(rows: pd.DataFrame) -> str:
    top = rows.loc[rows["value"].idxmax()]
    return (
        f"at {blocks([top['layer']])}, {top['value']:.3g} [{top['low']:.3g}, {top['high']:.3g}], "
        f"p = {p_value(top['corrected'])}, in {top['peak_share']:.0%} of resamples"
    )


def _flow(flows: pd.DataFrame, planted: str) -> Iterator[str]:
    rows = flows[(flows["model"] == "flow") & (flows["base"] == planted)]
    rows = rows[(rows["method"] == "base") & (rows["variant"] == "as_it_is")]
    if rows.empty:
        return
    low, high = rows["one_block"].min(), rows["one_block"].max()
    last = rows.sort_values("layer").iloc[-1]
    yield (
        f"A neural differential equation fitted to the states explains {low:.0%} to {high:.0%} of "
        "what a block adds to held-out items from the state before it, and "
        f"{last['multi_step']:.0%} of the last state from the embedding on "
        f"(time alone: {last['time_only']:.0%})."
    )


def _published(flows: pd.DataFrame, signatures: pd.DataFrame, planted: str) -> Iterator[str]:
    rows = flows[(flows["model"] == "published") & (flows["base"] == planted)]
    rows = rows[rows["method"] == "base"]
    if rows.empty:
        return
    as_published = rows[rows["variant"] == AS_IS]
    seen = as_published[as_published["peaks_force"] > 0]
    shuffled = rows[(rows["variant"] == SHUFFLED) & (rows["peaks_force"] > 0)]
    area = as_published.iloc[0]
    chosen = signatures["signature"].str.startswith("published_peak")
    chosen &= (signatures["base"] == planted) & (signatures["method"] == "base")
    verdict = signatures[chosen].iloc[0]
    why = f" ({verdict['reason']})" if verdict["verdict"] == OPEN else ""
    yield (
        "The published construction, which sees no block after the second, has its peak at "
        f"{len(seen)} different times in {int(area['fits'])} fits "
        f"({listing([_time(layer) for layer in seen['layer']])}), its classifier an area of "
        f"{area['auc']:.2f} [{area['auc_low']:.2f}, {area['auc_high']:.2f}]; with layers shuffled "
        f"it has peaks at {listing([_time(layer) for layer in shuffled['layer']])}. "
        f"That it peaks at a middle time more often than its nulls is "
        f"{verdict['verdict']}{why}."
    )


def _time(layer: int) -> str:
    return str(int(layer) + 1)
