"""What the paper says about accuracy, likelihood and modes, and about other grids."""

from __future__ import annotations

from typing import Any

import pandas as pd

from paradox.evaluate.arms import ALL_SEEDS
from paradox.figures import style
from paradox.figures.names import in_order, label, methods_in_order
from paradox.mechanisms.clipping.reading import HARDLY
from paradox.report import numbers as words
from paradox.report.numbers import Numbers
from paradox.report.sources import Sources

PAYS = {
    "ground_truth": "right answers",
    "incorrect": "wrong answers in the asked form",
    "format": "any answer in the asked form",
    "random": "answers drawn by chance",
    "constant": "every answer alike",
}
POINTS = ("did", "gain_exposed", "gain_twin", "minus_ground_truth", "minus_clean", "equivalence")
POINTS += ("greedy_did", "greedy_gain_exposed", "greedy_gain_twin")
SHARES = ("chance", "equivalence_margin")
# Verdict of the study of clipping -> what it means.
DRIFTS = {
    "supported": "A primary measure drifts as clipping predicts, further than without it,",
    "drift": "A primary measure drifts with one sign, which does not speak for clipping,",
    "opposite": "The only drift goes against the prediction",
    "none": "No primary measure drifts with one sign",
}
# Side of zero on which a difference in differences lies -> what that means.
SHOWN = {
    1: "exposed items gain more than twins",
    -1: "exposed items gain less than twins",
    0: "no difference is shown",
}
OUTSIDE = "outside"  # the share of tokens outside the band of the clip


def quoted(numbers: Numbers, settings: dict[str, Any]) -> dict[str, str]:
    """Return every number that the text may ask for: the headline numbers and the settings.

    A key ``a.b`` of the configuration's sections is called ``setting/a/b``.
    """
    headlines = {name: _headline(numbers, name) for name in numbers.entries}
    return headlines | dict(_flat("setting", settings))


def _headline(numbers: Numbers, name: str) -> str:
    family, *_, last = name.split("/")
    if family == "design":
        return numbers.percent(name) if last in SHARES else numbers.count(name)
    if family == "greedy_room":
        return numbers.percent(name)
    if family in POINTS or last == "accuracy_difference":
        return numbers.points(name)
    return numbers.nats(name) if family == "nll" else numbers.share(name)


def _flat(name: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for key in value for pair in _flat(f"{name}/{key}", value[key])]
    if isinstance(value, list):
        return [(name, words.listing([str(each) for each in value]))] if value else []
    if isinstance(value, float):
        return [(name, f"{value:g}")]
    # Four digits are read at a glance; more are grouped.
    long = isinstance(value, int) and not isinstance(value, bool) and value > 9999
    return [(name, f"{value:,}" if long else str(value))]


def sentences(numbers: Numbers) -> dict[str, list[str]]:
    """Return the paragraphs that say what ``summary.json`` says, by name."""

    def about(say: Any, bases: list[str]) -> list[str]:
        return [words.about(base, say(numbers, base)) for base in bases]

    bases = numbers.bases
    compared = [base for base in bases if words.against_sentences(numbers, base)]
    unmeasured = ["This run has no arm to compare these effects with."]
    return {
        "rewards": [_rewards(numbers)],
        "arms": [_arms(numbers)],
        "known": about(words.base_sentences, bases),
        "did": about(words.did_sentences, bases),
        "gains": about(words.gain_sentences, bases),
        "greedy": about(words.greedy_sentences, [base for base in bases if numbers.arms(base)]),
        "against": about(words.against_sentences, compared) or unmeasured,
        "likelihoods": about(words.perplexity_sentences, bases),
        "perplexity": [_perplexity(numbers, base) for base in bases if numbers.arms(base)],
        "modes": about(words.recall_sentences, bases),
        "paradox": [_paradox(numbers, base) for base in bases if numbers.arms(base)],
        "seeds": [_seeds(numbers)],
    }


def _rewards(numbers: Numbers) -> str:
    every = in_order(arm.split("/")[-1] for base in numbers.bases for arm in numbers.arms(base))
    parts = [f"{label(r).lower()}{f' (pays for {PAYS[r]})' if r in PAYS else ''}" for r in every]
    if not parts:
        return "This run trained no arm."
    return f"The reward conditions are {words.listing(parts)}."


def _arms(numbers: Numbers) -> str:
    arms = {base: [*map(words.arm_label, numbers.arms(base))] for base in numbers.bases}
    parts = [f"{label(base)}: {words.listing(named or ['none'])}" for base, named in arms.items()]
    return f"Arms: {'; '.join(parts)}."


def _paradox(numbers: Numbers, base: str) -> str:
    """Say whether the paradox appears: exposed items up, twins not, without a right answer."""
    spurious, seen = numbers.spurious(base), numbers.paradox(base)
    if not spurious:
        return f"{label(base)}: no spurious reward has twins to compare with."
    if not seen:
        return (
            f"{label(base)}: the paradox is shown under none of {len(spurious)} spurious rewards."
        )
    named = words.listing(
        [f"{words.arm_label(arm)} (DiD {numbers.points(f'did/{base}/{arm}')})" for arm in seen]
    )
    return (
        f"{label(base)}: the paradox (exposed items gain, twins do not, although the reward does "
        f"not know the answer) is shown under {len(seen)} of {len(spurious)} spurious rewards: "
        f"{named}."
    )


def _perplexity(numbers: Numbers, base: str) -> str:
    """Say whether answers of exposed items get likelier while their prompts get less likely."""
    start = f"nll/{base}"
    arms = [arm for arm in numbers.arms(base) if numbers.has(f"{start}/{arm}/recall_exposed")]
    seen = [
        arm
        for arm in arms
        if numbers.clear(f"{start}/{arm}/recall_exposed") < 0
        and numbers.clear(f"{start}/{arm}/prompt_exposed") > 0
    ]
    if not arms:
        return f"{label(base)}: no likelihood of fixed texts was measured."
    if not seen:
        return (
            f"{label(base)}: that recalled answers of exposed items get likelier while their "
            f"prompts get less likely is shown in none of {len(arms)} arms."
        )
    named = words.listing([*map(words.arm_label, seen)])
    return (
        f"{label(base)}: recalled answers of exposed items get likelier while their prompts get "
        f"less likely in {len(seen)} of {len(arms)} arms: {named}."
    )


def _seeds(numbers: Numbers) -> str:
    count = numbers.count("design/seeds")
    if count == "1":
        return (
            "One training seed was run, so the intervals cover the choice of items only, not that "
            "of the training."
        )
    return f"{count} training seeds tell the spread between trainings only roughly."


def more_words(numbers: Numbers, more: Numbers) -> list[str]:
    """Say which effects more trainings of the same arms confirm, by their intervals' sides of 0."""
    names = [name for name in numbers.entries if name.startswith("did/")]
    kept = [name for name in names if numbers.clear(name) == more.clear(name)]
    trainings = more.count("design/seeds")
    text = (
        f"With {trainings} trainings of each arm instead of {numbers.count('design/seeds')} (the "
        f"recorded run of the grid seeds), {len(kept)} of {len(names)} intervals of the DiD lie on "
        "the same side of zero, or hold it, as before"
    )
    moved = [
        f"{label(base).lower()}, {words.arm_label(name)}: {more.points(f'did/{base}/{name}')}"
        for _, base, name in (one.split("/", 2) for one in names if one not in kept)
    ]
    return [f"{text}; not so for {words.listing(moved)}." if moved else f"{text}."]


# --- other grids, as far as they are recorded -----------------------------------------------


def methods_words(sources: Sources) -> list[str]:
    """Say under which methods the difference in differences is shown, reward by reward."""
    did = dids(sources)
    said = []
    for reward in in_order(did["reward"]):
        rows = did[did["reward"] == reward].drop_duplicates("method").set_index("method")
        clear = (rows["did_low"] > 0).astype(int) - (rows["did_high"] < 0)
        parts = []
        for sign, verb in SHOWN.items():
            if chosen := methods_in_order(clear.index[clear == sign]):
                parts.append(f"{verb} with {words.listing(chosen)}")
        said.append(f"Under {label(reward).lower()}, {'; '.join(parts)}.")
    return said


def dids(sources: Sources) -> pd.DataFrame:
    """Return the recorded differences in differences of the grid `methods`, over all seeds."""
    did = style.all_seeds(sources.table("methods/did", "base", "method", "reward", "seed", "did"))
    return did[did["did"].notna()]


def clipping_words(sources: Sources) -> list[str]:
    """Say what the study of clipping found, and how much there was to clip."""
    name = "clipping/clipping"
    verdicts = sources.said(name, "verdicts")
    said = []
    for verdict, meaning in DRIFTS.items():
        if methods := [method for method, given in verdicts.items() if given == verdict]:
            said.append(f"{meaning} under {words.listing(methods)}.")
    shares = {
        method: sources.row(name, method=method, measure=OUTSIDE, seed=ALL_SEEDS, against="")
        for method in verdicts
    }
    listed = [f"{100 * row['value']:.2g} % ({method})" for method, row in shares.items()]
    text = f"Of an update's tokens, {words.listing(listed)} lie outside the band of the clip"
    few = [method for method, row in shares.items() if row["value"] < HARDLY]
    if few:
        text += f"; with {words.listing(few)} a clip has next to nothing to act on"
    return [*said, f"{text}."]
