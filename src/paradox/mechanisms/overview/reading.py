"""Step ``layer_reading``: what the tables over blocks say, in plain words, whichever way it falls.

A *gap* (exposed minus twins) is said to be at the blocks where its corrected p is at most .05; one
that is nowhere comes with its smallest corrected p and with how far its intervals reach.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from paradox.errors import DataError, hint
from paradox.figures.names import arm_words
from paradox.files import read_table, write_json
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.sentences import blocks, listing, p_value, verdict_words
from paradox.mechanisms.tables.verdict import ALPHA
from paradox.progress import Progress

COLUMNS = [*ARM, "component", "measure", "state", "contrast", "layer", "value", "low", "high"]
COLUMNS += ["corrected"]


class Gap(NamedTuple):
    """A component and measure of a table, and how its gap is called."""

    analysis: str
    component: str
    measure: str
    words: str
    unit: str
    truth: bool


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write the reading.

    ``spec``: ``planted`` (the contaminated base; all others are controls), ``gaps`` (the fields of
    each `Gap`, among others, and the ``role`` of its table) and ``claims``: analysis -> signature
    -> words. ``inputs``: tables of step ``by_layer`` by role; ``signatures``. ``outputs``:
    ``reading``, JSON of ``paragraphs`` (analysis -> text) and ``verdicts`` (signature -> rows of
    arms).
    """
    worded = [gap for gap in spec["gaps"] if gap["words"]]
    gaps = [Gap(**{key: gap[key] for key in Gap._fields}) for gap in worded]
    tables = {gap["analysis"]: read_table(Path(inputs[gap["role"]]), COLUMNS) for gap in worded}
    signatures = read_table(Path(inputs["signatures"]))
    text = reading(tables, gaps, signatures, spec["claims"], spec["planted"])
    write_json(outputs["reading"], text)
    progress.say(f"read {len(tables)} tables")


def reading(
    tables: dict[str, pd.DataFrame],
    gaps: list[Gap],
    signatures: pd.DataFrame,
    claims: dict[str, dict[str, str]],
    planted: str,
) -> dict[str, Any]:
    """Return paragraphs and verdicts; raises `DataError` when a table has not the planted base."""
    truths = [gap for gap in gaps if gap.truth]
    bases = set(tables[truths[0].analysis]["base"])
    if planted not in bases:
        raise DataError(f"key planted: no base {planted!r}; {hint(planted, bases)}")
    paragraphs = {}
    for analysis in dict.fromkeys([*tables, *claims]):
        shown = [gap for gap in gaps if gap.analysis == analysis]
        sentences: list[str] = []
        for gap in shown:
            sentences += about(chosen(tables[analysis], gap), gap, planted)
        if shown and not shown[0].truth:
            sentences.append(_beside_truth(tables, shown, truths, planted))
        for name, claim in claims.get(analysis, {}).items():
            rows = signatures["signature"].str.split(":").str[0] == name
            sentences += verdict_words(signatures[rows], claim, planted)
        if sentences:
            paragraphs[analysis] = " ".join(sentences)
    rows = signatures.astype(object).where(signatures.notna(), None).to_dict("records")
    verdicts: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        verdicts.setdefault(row.pop("signature"), []).append(row)
    return {"paragraphs": paragraphs, "verdicts": verdicts}


def chosen(table: pd.DataFrame, gap: Gap) -> pd.DataFrame:
    """Return the gap's rows."""
    rows = (table["component"] == gap.component) & (table["measure"] == gap.measure)
    return table[rows & (table["contrast"] == "difference")]


def about(table: pd.DataFrame, gap: Gap, planted: str) -> Iterator[str]:
    """Yield the sentences on one gap: untrained, its change by training, and the other bases."""
    of_planted = table[table["base"] == planted]
    untrained = of_planted[of_planted["state"] == "base"]
    yield f"In the untrained {planted} base the gap of {gap.words} is {_where(untrained, gap)}."
    changed, still = [], []
    changes = of_planted[of_planted["state"] == "change"]
    for _, rows in changes.groupby(["method", "reward"], sort=True):
        if (rows["corrected"] <= ALPHA).any():
            changed.append(f"{arm_words(rows.iloc[0])} {_where(rows, gap)}")
        else:
            still.append(f"{arm_words(rows.iloc[0])} ({_nowhere(rows, gap)})")
    if changed:
        yield f"Its change by training is: {'; '.join(changed)}."
    if still:
        yield f"It is not shown to change by {listing(still)}."
    others = table[(table["base"] != planted) & (table["state"] != "change")]
    for base, rows in others.groupby("base", sort=True):
        count = len(rows[["method", "reward"]].drop_duplicates())
        arms = f"{count} arm{'s' if count > 1 else ''}"
        out = rows[rows["corrected"] <= ALPHA]
        if out.empty:
            yield f"In the {base} base ({arms}): at no block ({_nowhere(rows, gap)})."
        for _, layers in out.groupby(["method", "reward"], sort=True):
            yield f"In the {base} base, {arm_words(layers.iloc[0])}: {_where(layers, gap)}."


def _nowhere(rows: pd.DataFrame, gap: Gap) -> str:
    reach = rows[["low", "high"]].abs().to_numpy().max()
    smallest = p_value(rows["corrected"].min())
    return f"smallest corrected p = {smallest}, all intervals within ±{reach:.2g} {gap.unit}"


def _where(rows: pd.DataFrame, gap: Gap) -> str:
    """Say at which blocks a curve leaves its null."""
    out = rows[rows["corrected"] <= ALPHA]
    if out.empty:
        return f"at no block outside its null ({_nowhere(rows, gap)})"
    top = out.loc[out["value"].abs().idxmax()]
    most = "" if len(out) == 1 else f"most at {blocks([top['layer']])}, "
    zero = ", though the interval includes 0" if top["low"] <= 0 <= top["high"] else ""
    return (
        f"outside its null at {blocks(out['layer'])} ({most}{top['value']:+.3g} {gap.unit} "
        f"[{top['low']:+.3g}, {top['high']:+.3g}], p = {p_value(top['corrected'])}{zero})"
    )


def _beside_truth(
    tables: dict[str, pd.DataFrame], gaps: list[Gap], truths: list[Gap], planted: str
) -> str:
    """Say where the curves of the untrained base are largest, beside the causal ones."""

    def largest(gap: Gap) -> str:
        rows = chosen(tables[gap.analysis], gap)
        rows = rows[(rows["base"] == planted) & (rows["state"] == "base")]
        top = rows.loc[rows["value"].abs().idxmax()]
        return blocks([top["layer"]])

    mlp, attention = map(largest, truths)
    places = listing(list(dict.fromkeys(map(largest, gaps))))
    return (
        f"There the analysis is largest at {places}; ablation, at {mlp} (MLP) and {attention} "
        "(attention)."
    )
