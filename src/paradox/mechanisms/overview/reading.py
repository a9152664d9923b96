"""Step ``layer_reading``: what the tables over blocks say, in plain words, whichever way it falls.

A paragraph per analysis. Each statement is made from the numbers beside it: a *gap* (exposed
minus twins) is said to be at the blocks where its corrected p is at most .05, and nowhere else;
of the largest one the value, the 95 % interval and the corrected p follow. A gap that is nowhere
comes with its smallest corrected p and with how far its intervals reach, since finding nothing is
not the same as nothing. ``verdicts`` repeats step ``signatures``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from paradox.errors import DataError, hint
from paradox.files import read_table, write_json
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.verdict import ALPHA, NOT, OPEN, REPRODUCED
from paradox.progress import Progress

COLUMNS = [*ARM, "component", "measure", "state", "contrast", "layer", "value", "low", "high"]
COLUMNS += ["corrected"]


class Gap(NamedTuple):
    """A component and measure, and how its gap is called."""

    component: str
    measure: str
    words: str
    unit: str


TRUTH = "ablation"
GAPS = {
    TRUTH: [
        Gap("mlp@all", "logp_drop", "what recall loses without a block's MLP", "nats"),
        Gap("attn@all", "logp_drop", "what it loses without a block's attention", "nats"),
    ],
    "lens": [Gap("resid", "logp", "the gold answer's log-probability in the lens", "nats")],
    "attribution": [
        Gap("mlp", "logit", "what an MLP adds to the gold answer's logit", "logits"),
        Gap("attention", "logit", "what an attention adds to it", "logits"),
    ],
    "jsd": [
        Gap("gate@all", "excess", "the excess divergence without the gate's content", "bits"),
        Gap("up@all", "excess", "that without the up-projection's content", "bits"),
    ],
}
SIGNATURES = {
    TRUTH: {"anchor": "memory passes through the MLPs of middle blocks above all"},
    "lens": {"emergence": "the answer emerges in middle blocks"},
    "attribution": {"injection": "late MLPs inject the answer"},
    "jsd": {"adapters": "gate and up rise to an inner block and then decline"},
    "probes": {"probe_peak": "exposed items are told apart best at a middle block"},
    "patching": {"patching": "training changed recall through the MLPs of middle blocks"},
    "labels": {"leakage": "those called leakage are exposed more often than by chance"},
}


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write the reading.

    Parameters
    ----------
    spec
        ``planted``: name of the contaminated base; all other bases are controls.
    inputs
        ``ablation``, ``lens``, ``attribution`` and ``jsd``: contrast tables of step ``by_layer``;
        ``signatures``: the table of that step.
    outputs
        ``reading``: JSON of ``paragraphs`` (analysis -> text) and ``verdicts`` (signature ->
        list of arms with effect, interval, p and verdict).
    """
    tables = {name: read_table(Path(inputs[name]), COLUMNS) for name in GAPS}
    signatures = read_table(Path(inputs["signatures"]))
    write_json(outputs["reading"], reading(tables, signatures, spec["planted"]))
    progress.say(f"read {len(tables)} tables")


def reading(
    tables: dict[str, pd.DataFrame], signatures: pd.DataFrame, planted: str
) -> dict[str, Any]:
    """Return paragraphs and verdicts.

    Raises
    ------
    DataError
        When a table has not the planted base.
    """
    truth = tables[TRUTH]
    if planted not in set(truth["base"]):
        raise DataError(f"key planted: no base {planted!r}; {hint(planted, set(truth['base']))}")
    paragraphs = {}
    for analysis, claims in SIGNATURES.items():
        sentences: list[str] = []
        for gap in GAPS.get(analysis, []):
            sentences += about(chosen(tables[analysis], gap), gap, planted)
        if analysis in GAPS and analysis != TRUTH:
            sentences.append(_beside_truth(tables, analysis, planted))
        for name, claim in claims.items():
            own = signatures["signature"].str.split(":").str[0] == name
            sentences += verdict_words(signatures[own], claim, planted)
        if sentences:
            paragraphs[analysis] = " ".join(sentences)
    rows = signatures.astype(object).where(signatures.notna(), None).to_dict("records")
    verdicts: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        verdicts.setdefault(row.pop("signature"), []).append(row)
    return {"paragraphs": paragraphs, "verdicts": verdicts}


def chosen(table: pd.DataFrame, gap: Gap) -> pd.DataFrame:
    """Return the gap's rows."""
    own = (table["component"] == gap.component) & (table["measure"] == gap.measure)
    return table[own & (table["contrast"] == "difference")]


def about(table: pd.DataFrame, gap: Gap, planted: str) -> Iterator[str]:
    """Yield the sentences on one gap: untrained, its change by training, and the other bases."""
    own = table[table["base"] == planted]
    untrained = own[own["state"] == "base"]
    yield f"In the untrained {planted} base the gap of {gap.words} is {_where(untrained, gap)}."
    changed, still = [], []
    for arm, rows in own[own["state"] == "change"].groupby(["method", "reward"], sort=True):
        if (rows["corrected"] <= ALPHA).any():
            changed.append(f"{_arm(arm)} {_where(rows, gap)}")
        else:
            still.append(f"{_arm(arm)} ({_nowhere(rows, gap)})")
    if changed:
        yield f"Its change by training is: {'; '.join(changed)}."
    if still:
        yield f"It is not shown to change by {_and(still)}."
    others = table[(table["base"] != planted) & (table["state"] != "change")]
    for base, rows in others.groupby("base", sort=True):
        count = len(rows[["method", "reward"]].drop_duplicates())
        arms = f"{count} arm{'s' if count > 1 else ''}"
        out = rows[rows["corrected"] <= ALPHA]
        if out.empty:
            yield f"In the {base} base ({arms}): at no block ({_nowhere(rows, gap)})."
        for arm, of in out.groupby(["method", "reward"], sort=True):
            yield f"In the {base} base, {_arm(arm)}: {_where(of, gap)}."


def _arm(arm: tuple[str, ...]) -> str:
    method, reward = arm
    return "untrained" if method == "base" else f"{reward} ({method})"


def _nowhere(rows: pd.DataFrame, gap: Gap) -> str:
    reach = rows[["low", "high"]].abs().to_numpy().max()
    smallest = _p(rows["corrected"].min())
    return f"smallest corrected p = {smallest}, all intervals within ±{reach:.2g} {gap.unit}"


def _where(rows: pd.DataFrame, gap: Gap) -> str:
    """Say at which blocks a curve leaves its null."""
    out = rows[rows["corrected"] <= ALPHA]
    if out.empty:
        return f"at no block outside its null ({_nowhere(rows, gap)})"
    top = out.loc[out["value"].abs().idxmax()]
    most = "" if len(out) == 1 else f"most at {_blocks([top['layer']])}, "
    zero = ", though the interval includes 0" if top["low"] <= 0 <= top["high"] else ""
    return (
        f"outside its null at {_blocks(out['layer'])} ({most}{top['value']:+.3g} {gap.unit} "
        f"[{top['low']:+.3g}, {top['high']:+.3g}], p = {_p(top['corrected'])}{zero})"
    )


def _blocks(layers: Iterable[int]) -> str:
    """Return layers in words.

    >>> _blocks([-1, 0, 1, 2, 5]), _blocks([3])
    ('the embedding and blocks 0-2 and 5', 'block 3')
    """
    numbers = sorted(int(layer) for layer in layers)
    runs: list[list[int]] = []
    for number in (n for n in numbers if n >= 0):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    many = sum(map(len, runs)) > 1
    text = f"block{'s' if many else ''} {_and(parts)}" if parts else ""
    return _and([name for name in ("the embedding" if -1 in numbers else "", text) if name])


def _and(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]


def _beside_truth(tables: dict[str, pd.DataFrame], analysis: str, planted: str) -> str:
    """Say where the curves of the untrained base are largest, beside the ablation."""

    def largest(name: str) -> list[str]:
        found = []
        for gap in GAPS[name]:
            rows = chosen(tables[name], gap)
            rows = rows[(rows["base"] == planted) & (rows["state"] == "base")]
            top = rows.loc[rows["value"].abs().idxmax()]
            found.append(_blocks([top["layer"]]))
        return found

    mlp, attention = largest(TRUTH)
    own = _and(list(dict.fromkeys(largest(analysis))))
    return (
        f"There the analysis is largest at {own}; ablation, at {mlp} (MLP) and {attention} "
        "(attention)."
    )


def verdict_words(rows: pd.DataFrame, claim: str, planted: str) -> Iterator[str]:
    """Yield the sentences on a published signature, arms grouped by verdict."""
    rows = rows[rows["state"] != "change"]
    own, others = rows[rows["base"] == planted], rows[rows["base"] != planted]
    if own.empty:
        return
    parts = []
    for verdict in (REPRODUCED, NOT, OPEN):
        arms = [_verdict_arm(row) for _, row in own[own["verdict"] == verdict].iterrows()]
        if arms:
            parts.append(f"{verdict} for {', '.join(arms)}")
    yield f"The published signature, that {claim}: {'; '.join(parts)}."
    if len(others):
        shown = int((others["verdict"] == REPRODUCED).sum())
        yield f"In other bases it is reproduced in {shown} of {len(others)}."


def _verdict_arm(row: pd.Series) -> str:
    part = row["signature"].partition(": ")[2]
    who = _arm((row["method"], row["reward"])) + (f" by {part}" if part else "")
    if pd.isna(row["effect"]):
        return f"{who} (nothing to measure)"
    ends = f"[{row['low']:+.3g}, {row['high']:+.3g}]"
    return f"{who} ({row['effect']:+.3g} {ends}, p = {_p(row['p'])})"


def _p(value: float) -> str:
    """Return a p-value with two significant digits.

    >>> _p(0.0004998), _p(1.0)
    ('.0005', '1')
    """
    return f"{value:.2g}".removeprefix("0")
