"""What the paper says about the models' insides, from the tables of the mechanisms."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from paradox.evaluate.arms import Arm
from paradox.figures.names import arm_words, bases_in_order, in_order, methods_in_order
from paradox.mechanisms.tables.pairs import ARM
from paradox.mechanisms.tables.verdict import ALPHA, NEGLIGIBLE, NOT, OPEN, REPRODUCED, VERDICTS
from paradox.report import numbers as words
from paradox.report.numbers import ENDS, GROUPS, number
from paradox.report.sources import Sources, percent, probability

JUDGED = "verdicts"
# Ways of taking memory out of a model.
WAYS = {
    "neurons": "chosen neurons scaled",
    "random": "random neurons scaled",
    "reset": "blocks reset to the base",
    "task_vector": "training undone",
    "memory_vector": "memory vector subtracted",
}


def arms_of(table: pd.DataFrame) -> list[Arm]:
    """Return the arms of a table: bases in order, each untrained first, then by reward."""
    arms = {Arm(*row) for row in table[ARM].itertuples(index=False)}
    bases = bases_in_order(arm.base for arm in arms)
    rewards = in_order(arm.reward for arm in arms)
    methods = methods_in_order(arm.method for arm in arms)

    def place(arm: Arm) -> tuple[int, bool, int, int]:
        order = bases.index(arm.base), arm.trained
        return (*order, rewards.index(arm.reward), methods.index(arm.method))

    return sorted(arms, key=place)


def by_arm(table: pd.DataFrame) -> Iterator[tuple[Arm, pd.DataFrame]]:
    """Yield each arm of a table with its rows, in the order of `arms_of`."""
    for arm in arms_of(table):
        yield arm, table[(table[ARM] == list(arm)).all(axis=1)]


def _name(arm: Arm, table: pd.DataFrame, planted: str | None) -> str:
    """Return an arm in words; of a base that is not the contaminated one, with its base."""
    trained = table.loc[table["method"] != "base", "method"]
    text = arm_words(arm._asdict(), method=trained.nunique() > 1)
    if arm.base == planted:
        return text if arm.trained else "the untrained base"
    return f"the {arm.base} base" + (f" after {text}" if arm.trained else "")


def _named(rows: pd.DataFrame, table: pd.DataFrame, planted: str | None) -> str:
    """Return arms in words, joined, in the order of all tables."""
    return words.listing([_name(arm, table, planted) for arm in arms_of(rows)])


def claim_words(sources: Sources, section: str) -> dict[str, list[str]]:
    """Say of each claim that a section judges where it is reproduced.

    ``shown``: a sentence per claim that is reproduced somewhere; ``nowhere``: one on all the others
    (empty when there are none). A claim without a row in the table of verdicts is a `DataError`.
    """
    table = sources.table(JUDGED, *ARM, "signature", "effect", "low", "high", "p", "verdict")
    shown, nowhere = [], []
    for claim in (claim for claim in sources.claims if claim.section == section):
        judged = table[table["signature"].map(claim.covers)]
        if judged.empty:
            sources.rows(JUDGED, signature=claim.name)
        for signature, rows in judged.groupby("signature", sort=False):
            text = f"that {claim.about(str(signature))}"
            if (rows["verdict"] == REPRODUCED).any():
                shown.append(f"{text[0].upper()}{text[1:]}: {_where(rows, table, sources)}.")
            else:
                nowhere.append(text)
    if nowhere:
        nowhere = [f"Reproduced in no model: {'; '.join(nowhere)}."]
    return {"shown": shown, "nowhere": nowhere}


def _where(rows: pd.DataFrame, table: pd.DataFrame, sources: Sources) -> str:
    """Say in which models a claim is reproduced, in which not, and what that takes away from it."""
    planted, parts = sources.planted, []
    yes = rows[rows["verdict"] == REPRODUCED]
    named = []
    for arm, judged in by_arm(yes):
        row = judged.iloc[0]
        ends = number(row["effect"], row["low"], row["high"])
        named.append(f"{_name(arm, table, planted)} ({ends}, {probability(row['p'])})")
    parts.append(f"reproduced in {words.listing(named)}")
    for verdict in (NEGLIGIBLE, NOT, OPEN):
        judged = rows[rows["verdict"] == verdict]
        if len(judged):
            parts.append(f"{verdict} in {_named(judged, table, planted)}")
    untrained = yes[yes["method"] == "base"]
    if (untrained["base"] == planted).any():
        parts.append("the untrained base has it, so it is no sign of what training did")
    if (yes["base"] != planted).any():
        parts.append("where nothing was planted it appears as well, so it is no sign of memory")
    return "; ".join(parts)


def counts(sources: Sources) -> str:
    """Say how many tests of published claims came out how, on other bases, and after Holm."""
    planted = sources.planted
    table = sources.judged(*ARM, "holm", "verdict")
    there, others = table[table["base"] == planted], table[table["base"] != planted]
    claims = len({sources.claim(name).name for name in table["signature"]})

    def tally(rows: pd.DataFrame) -> str:
        counts = rows["verdict"].value_counts()
        return words.listing([f"{counts.get(v, 0)} {v}" for v in VERDICTS])

    text = (
        f"{claims} published claims were put to {len(there)} tests in {len(arms_of(there))} models "
        f"of the {planted} base: {tally(there)}."
    )
    if len(others):
        text += f" Where nothing was planted, of {len(others)} such tests: {tally(others)}."
    shown = table[table["verdict"] == REPRODUCED]
    survive = int((shown["holm"] <= ALPHA).sum())
    return f"{text} Of {len(shown)} reproduced, {survive} survive Holm's correction over all rows."


def truth_words(sources: Sources) -> list[str]:
    """Say which blocks recall needs, in the untrained planted base and in the others."""
    planted = sources.planted
    said = []
    for component, what in (("mlp@all", "MLP"), ("attn@all", "attention")):
        key = {"component": component, "measure": "logp_drop", "contrast": "difference"}
        table = sources.rows("ablation", *ARM, "layer", *ENDS, "corrected", state="base", **key)
        blocks = table[table["base"] == planted]
        out = blocks[blocks["corrected"] <= 0.05]
        if out.empty:
            said.append(f"Recall is not shown to need any block's {what}.")
            continue
        top = out.loc[out["value"].abs().idxmax()]
        said.append(
            f"In the untrained {planted} base, replacing a block's {what} by its mean costs "
            f"exposed items more than twins at {len(out)} of {len(blocks)} blocks, most at block "
            f"{int(top['layer'])} ({number(*top[[*ENDS]], 'nats', '+.3g')})."
        )
        for base, rows in table[table["base"] != planted].groupby("base"):
            many = int((rows["corrected"] <= 0.05).sum())
            said.append(
                f"In the {base} base this is so at {many or 'none'} of {len(rows)} blocks "
                f"(smallest corrected {probability(rows['corrected'].min())})."
            )
    return said


def force_words(sources: Sources) -> list[str]:
    """Say where the separation force is largest in the planted base's models."""
    planted = sources.planted
    key = {"component": "answer", "set": "counted", "base": planted}
    table = sources.rows("trajectories_table", *ARM, "state", "layer", *ENDS, "corrected", **key)
    parts = []
    for arm, rows in by_arm(table):
        blocks = rows[(rows["state"] != "change") & (rows["layer"] >= 0)]
        top = blocks.loc[blocks["value"].idxmax()]
        clear = "" if top["corrected"] <= 0.05 else ", not clear of its null"
        ends = number(*top[[*ENDS]], form="+.3g")
        parts.append(f"{_name(arm, table, planted)} at block {int(top['layer'])} ({ends}{clear})")
    return [f"The force at the answer position is largest in {words.listing(parts)}."]


def steering_words(sources: Sources) -> list[str]:
    """Say how far scaling chosen neurons moves recall, both ways, arm by arm."""
    table = sources.rows("steering_tests", *ARM, "blocks", "up", "down", signature="steering: all")
    parts = []
    for arm, rows in by_arm(table):
        row = rows.iloc[0]
        up = number(row["up"], row["up_low"], row["up_high"])
        # The table counts a fall as positive.
        down = number(-row["down"], -row["down_high"], -row["down_low"])
        named = _name(arm, table, sources.planted)
        parts.append(f"{named} (block {row['blocks']}): {up} and {down}")
    return [
        "Log odds of exposed items beyond those of their twins, amplified and suppressed at the "
        f"block where the claim does best: {'; '.join(parts)}."
    ]


def forgetting_words(sources: Sources) -> list[str]:
    """Say which ways take half of memory out without taking reasoning."""
    table = sources.table("decontamination_half", *ARM, "way", "reached", "verdict")
    tried = table[table["base"] == sources.planted]
    parts = []
    for way, rows in tried.groupby("way", sort=False):
        half = int((rows["reached"] >= 0.5).sum())
        text = f"{WAYS.get(str(way), way)}: {half or 'none'} of {len(rows)}"
        good = rows[rows["verdict"] == REPRODUCED]
        if len(good):
            text += f", and chains stay in {_named(good, rows, sources.planted)}"
        elif half:
            text += ", and chains are not shown to stay"
        parts.append(text)
    return [f"Cases in which some dose takes half of memory out: {'; '.join(parts)}."]


def edge_words(sources: Sources, name: str = "eap_table", but: str = "") -> list[str]:
    """Say how intensity changed, and what of that is by the weights on the same text.

    `name` is the table; the method `but` is left out.
    """
    table = _fixed(sources.table(name, *ARM, "state", "measure", *ENDS, "p"))
    table = table[(table["measure"] == "intensity") & (table["method"] != but)]
    parts = []
    for arm, rows in by_arm(table[table["method"] != "base"]):
        states = rows.set_index("state")
        changed, weights = (_share(states, state) for state in ("change", "weights"))
        parts.append(f"{_name(arm, table, sources.planted)} {changed} ({weights})")
    if not parts:
        return []
    return [
        "Change of intensity in per cent of the base's, each model on its own text, and in round "
        f"brackets what of it is by the weights on the same text: {'; '.join(parts)}."
    ]


def _share(states: pd.DataFrame, state: str) -> str:
    """Return a change of intensity in per cent of the base's."""
    row, level = states.loc[state], states.loc["base", "value"]
    null = "" if row["p"] <= 0.05 else ", not told from zero"
    return number(*(100 * row[end] / level for end in ENDS), "%", "+.3g") + null


def _fixed(table: pd.DataFrame) -> pd.DataFrame:
    """Keep what was fixed beforehand: gradients, all items, the whole text."""
    chosen = (table["attribution"] == "gradient") & (table["filter"] == "all")
    return table[chosen & (table["group"] == "all") & (table["alpha"] == table["alpha"].max())]


def trainer_words(sources: Sources) -> list[str]:
    """Say under which trainers the published pattern of edges appears."""
    table = _fixed(sources.table("methods/eap_signature", *ARM, "part", "definition", "agrees"))
    rows = table[(table["part"] == "pattern") & (table["definition"] == "fixed")]
    judged = rows[rows["published"].notna()]
    said = [
        f"That the pattern of all four appears under GRPO and PPO and not under DPO holds in "
        f"{int((judged['agrees'] == 'yes').sum())} of {len(judged)} arms, fails in "
        f"{int((judged['agrees'] == 'no').sum())} and is not decidable in "
        f"{int(judged['agrees'].isna().sum())}."
    ]
    for verdict in (REPRODUCED, OPEN):
        arms = rows[rows["verdict"] == verdict]
        if len(arms):
            said.append(f"The pattern is {verdict} in {_named(arms, rows, sources.planted)}.")
    return [" ".join(said), *edge_words(sources, "methods/eap_table", but="grpo")]


def tries_words(sources: Sources) -> list[str]:
    """Say in which arms many tries of the base solve more than many of the trained model."""
    table = sources.rows(
        "boundary_crossings", *ARM, "measure", "group", "kind", "k", source="after"
    )
    table = table[table["method"] != "base"]
    return [" ".join(_fallen(table, sources.planted))]


def _fallen(table: pd.DataFrame, planted: str | None) -> Iterator[str]:
    kinds = {
        "above": "nowhere below its base",
        "below": "below its base from the first try",
        "crosses": "above its base at first and below it later",
    }
    measures = {"right": "Right answers", "worked": "Answers worked out word for word"}
    for measure, title in measures.items():
        for group, items in GROUPS.items():
            rows = table[(table["measure"] == measure) & (table["group"] == group)]
            parts = []
            for kind, said in kinds.items():
                arms = rows[rows["kind"] == kind]
                if len(arms):
                    parts.append(f"{_named(arms, table, planted)} {said}")
            if parts:
                most = f"up to k = {int(rows['largest_k'].max())}"
                yield f"{title}, {items}, {most}: {'; '.join(parts)}."


def error_words(rates: pd.DataFrame, sources: Sources) -> list[str]:
    """Say how often tests reject permuted labels, and how many clean bases are equivalent."""
    low, high = rates.loc[rates["rate"].idxmin()], rates.loc[rates["rate"].idxmax()]
    liberal = rates[rates["low"] > 0.05]["analysis"].tolist()
    text = (
        f"With labels permuted, tests at the 5 % level reject between "
        f"{percent(low['rate'], low['low'], low['high'])} ({low['analysis']}) and "
        f"{percent(high['rate'], high['low'], high['high'])} ({high['analysis']}) of the time. "
    )
    if liberal:
        text += f"More often than stated, beyond their intervals: {words.listing(liberal)}."
    else:
        text += "No analysis rejects more often than stated, beyond its interval."
    table = sources.table("equivalence", "equivalent")
    same = int(table["equivalent"].astype(bool).sum())
    return [
        text,
        f"Where nothing was planted, {same} of {len(table)} tests by layer are equivalent to zero "
        "at every layer, within a margin that is a share of what memory does in the planted base.",
    ]
