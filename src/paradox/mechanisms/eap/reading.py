"""Step ``eap_reading``: what the tables of edge attribution say, in plain words.

All is about gradients (not integrated), the largest alpha and the definitions fixed beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from paradox.figures.names import arm_words
from paradox.files import read_table, write_json
from paradox.mechanisms.eap.cells import ALL, SIMILAR
from paradox.mechanisms.eap.metrics import NODES
from paradox.mechanisms.eap.null import SIGNS
from paradox.mechanisms.eap.summary import PATTERN, PUBLISHED, REDUNDANCY
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.sentences import by_verdict, effect_words, p_value
from paradox.mechanisms.tables.verdict import ALPHA, OPEN, REPRODUCED
from paradox.mechanisms.tables.words import CHANGE, GRADIENT, TEXT, WEIGHTS
from paradox.progress import Progress

TEXTS = {CHANGE: "own text", WEIGHTS: "the same text"}
OTHERS = {
    NODES: "the entropy of nodes' outputs rises",
    REDUNDANCY: "intensity moves the way accuracy on unseen questions does",
}


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write ``paragraphs`` (``eap`` -> text) and ``verdicts`` (the rows of ``pattern``) as JSON."""
    tables = {name: read_table(Path(inputs[name])) for name in ("table", "signature", "ablation")}
    text = Path(inputs["methods"]).read_text(encoding="utf-8")
    # Without two methods of one base and reward, this table is empty.
    empty = text.count("\n") < 2
    tables["methods"] = pd.DataFrame() if empty else read_table(Path(inputs["methods"]))
    write_json(outputs["reading"], reading(tables))
    progress.say(f"read {len(tables)} tables")


def reading(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """Return the paragraph and the verdicts."""
    signature, table = _chosen(tables["signature"]), _chosen(tables["table"])
    sentences = list(_signature(signature)) + list(_parts(table)) + list(_passing(table))
    if len(tables["methods"]):
        sentences += _methods(_chosen(tables["methods"]))
    sentences += _ablation(tables["ablation"])
    whole = tables["signature"][tables["signature"]["part"] == PATTERN]
    rows = whole.astype(object).where(whole.notna(), None).to_dict("records")
    return {"paragraphs": {"eap": " ".join(sentences)}, "verdicts": rows}


def _chosen(table: pd.DataFrame) -> pd.DataFrame:
    rows = table[table["attribution"] == GRADIENT]
    return rows[rows["alpha"] == rows["alpha"].max()]


def _number(row: Any, scale: float = 1.0, unit: str = "") -> str:
    value, low, high = (scale * row[name] for name in ("value", "low", "high"))
    return f"{value:+.3g}{unit} [{low:+.3g}, {high:+.3g}]"


def _signature(table: pd.DataFrame) -> Iterator[str]:
    rows = table[(table["group"] == ALL) & (table["filter"] == ALL)]
    rows = rows[rows["definition"] == "fixed"]
    whole = rows[rows["part"] == PATTERN]
    shown = rows[rows["part"].isin(SIGNS) & (rows["verdict"] == REPRODUCED)]

    def words(row: pd.Series) -> str:
        parts = ", ".join(shown.loc[(shown[ARM] == list(row[ARM])).all(axis=1), "part"])
        why = f", {row['reason']}" if row["verdict"] == OPEN else ""
        least = f"least of {row['least']} on {TEXTS[row['state']]}{why}"
        named = f"; {parts or 'none'} of the four, {least}" if row["verdict"] != REPRODUCED else ""
        return f"{arm_words(row, base=True)}{named}"

    def numbers(row: pd.Series) -> str:
        why = f"; {row['reason']}" if row["verdict"] == OPEN else ""
        ends = f"{effect_words(row[['effect', 'low', 'high']])} on {TEXTS[row['state']]}"
        return f"{arm_words(row, base=True)} ({ends}{why})"

    yield (
        "The published signature (intensity, complexity and diversity of the edges' scores up, "
        "kurtosis down, on each model's own text and by the weights on the same text): "
        f"{_sentences(by_verdict(whole, words, ' / '))}"
    )
    for part, claim in OTHERS.items():
        others = rows[rows["part"] == part]
        if len(others):
            yield f"That {claim}: {_sentences(by_verdict(others, numbers))}"
    claimed = whole[whole["published"].notna() & (whole["published"] != "")]
    if len(claimed):
        counts = claimed["agrees"].fillna("").value_counts()
        yes, no = (int(counts.get(name, 0)) for name in ("yes", "no"))
        yield (
            "That it appears under GRPO and PPO and not under DPO holds in "
            f"{yes} of {len(claimed)} arms of these methods, fails in {no} and is not decidable "
            f"in {len(claimed) - yes - no}."
        )


def _sentences(parts: list[str]) -> str:
    return " ".join(f"{part[0].upper()}{part[1:]}." for part in parts)


def _parts(table: pd.DataFrame) -> Iterator[str]:
    """Yield how much of the change of intensity is the weights' and the text's."""
    chosen = table[(table["group"] == ALL) & (table["filter"] == ALL)]
    intensity = chosen[chosen["measure"] == "intensity"]
    arms = []
    for _, rows in intensity[intensity["method"] != "base"].groupby(ARM, sort=True):
        by_state = rows.set_index("state")
        if WEIGHTS not in by_state.index:
            continue
        scale = 100 / by_state.loc["base", "value"]
        parts = [
            f"{_number(by_state.loc[state], scale, ' %')} {name}"
            for state, name in ((WEIGHTS, "by the weights"), (TEXT, "by the text"))
        ]
        change = _number(by_state.loc[CHANGE], scale, " %")
        arms.append(f"{arm_words(rows.iloc[0], base=True)} {change}: {', '.join(parts)}")
    if arms:
        yield f"Change of intensity, {'; '.join(arms)}."


def _passing(table: pd.DataFrame) -> Iterator[str]:
    """Yield how many items the published filters leave."""
    # A filter that leaves too few items has no rows.
    trained = table[(table["method"] != "base") & (table["measure"] == "intensity")]
    trained = trained[trained["state"] == CHANGE]
    parts = []
    for _, rows in trained.groupby(ARM, sort=True):
        counts = rows[rows["filter"] == SIMILAR].set_index("group")["items"]
        exposed, twin = (int(counts.get(group, 0)) for group in ("exposed", "twin"))
        parts.append(f"{arm_words(rows.iloc[0], base=True)} {exposed} and {twin}")
    if parts:
        yield (
            "Exposed items and twins that pass the published filters (both right, similar length; "
            f"0: fewer than can be analysed): {'; '.join(parts)}."
        )


def _methods(table: pd.DataFrame) -> Iterator[str]:
    """Yield how methods differ of which the paper says different things."""
    claims = [table[name].map(PUBLISHED) for name in ("method", "other")]
    chosen = table[claims[0].notna() & claims[1].notna() & (claims[0] != claims[1])]
    chosen = chosen[(chosen["filter"] == ALL) & chosen["measure"].isin(SIGNS)]
    if chosen.empty:
        return
    parts = [
        f"{row['measure']} ({'same text' if row['state'] == WEIGHTS else 'own text'}) of "
        f"{row['method']} minus {row['other']} ({row['reward']}, {row['base']}) {_number(row)}, "
        f"p = {p_value(row['p'])}"
        for _, row in chosen[chosen["p"] <= ALPHA].iterrows()
    ]
    among = f"{len(chosen)} comparisons between methods of which the paper says different things"
    result = f"{len(parts)} have p <= .05: {'; '.join(parts)}" if parts else "none has p <= .05"
    yield f"Of {among} {result}."


def _ablation(table: pd.DataFrame) -> Iterator[str]:
    """Yield whether cutting edges does what their scores say."""
    chosen = table[(table["method"] == "base") & (table["weights"] == "base")]
    for base, rows in chosen.groupby("base", sort=True):
        size = rows.loc[rows["kind"] == "top", "size"].min()
        sized = rows[rows["size"] == size].set_index(["kind", "quantity"])
        if pd.notna(size):
            yield (
                f"In the untrained {base} base, cutting the {size} edges that score highest on "
                f"other items changes the loss by {_number(sized.loc['top', 'actual'])} nats "
                f"({_number(sized.loc['top', 'predicted'])} predicted), as many random ones by "
                f"{_number(sized.loc['random', 'actual'])}."
            )
        one = rows[rows["kind"] == "single"]
        if len(one):
            yield (
                "Over edges cut one by one, predicted and actual changes have the rank "
                f"correlation {_number(one.iloc[0])} ({int(one.iloc[0]['n'])} edges)."
            )
