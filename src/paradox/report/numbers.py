"""Sentences that follow the numbers of ``summary.json``.

Report and paper say what the intervals say: an effect is stated only when its interval leaves
out zero, everything else is stated as not shown, and "no effect" only after an equivalence
test. Sentences about a base start in lower case; `about` joins them.
`paradox.evaluate.summary` lists the names of the numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from paradox.errors import DataError, hint
from paradox.figures.names import arm_words, bases_in_order, in_order, label
from paradox.files import read_json


class Numbers:
    """The headline numbers, and how they are printed.

    Parameters
    ----------
    entries
        Name -> value, low, high, n.
    source
        Where they come from, for messages.
    """

    def __init__(self, entries: dict[str, dict[str, Any]], source: str = "summary") -> None:
        self.entries = entries
        self.source = source

    @classmethod
    def read(cls, path: Path) -> Numbers:
        """Read ``summary.json``."""
        entries = read_json(path)
        whole = isinstance(entries, dict) and all(
            isinstance(entry, dict) and {"value", "low", "high", "n"} <= set(entry)
            for entry in entries.values()
        )
        if not whole:
            raise DataError(f"{path}: every entry must hold value, low, high and n.")
        return cls(entries, str(path))

    def has(self, name: str) -> bool:
        """Whether the study could estimate this number."""
        return name in self.entries

    def entry(self, name: str) -> dict[str, Any]:
        """Return one entry; an unknown name is a `DataError`."""
        if name not in self.entries:
            family = name.split("/")[0]
            near = [known for known in self.entries if known.split("/")[0] == family]
            raise DataError(f"{self.source}: no number {name!r}; {hint(name, near)}")
        return self.entries[name]

    def clear(self, name: str) -> int:
        """Return 1 or -1 when the interval lies above or below zero, else 0."""
        entry = self.entry(name)
        return (entry["low"] > 0) - (entry["high"] < 0)

    def unmoved(self, name: str) -> bool:
        """Whether the estimate and both ends of its interval are exactly zero."""
        entry = self.entry(name)
        return entry["value"] == entry["low"] == entry["high"] == 0

    # --- what was run --------------------------------------------------------------------

    @property
    def bases(self) -> list[str]:
        """The bases, contaminated ones first."""
        return bases_in_order(name.split("/")[1] for name in self.entries if name[:7] == "before/")

    def arms(self, base: str) -> list[str]:
        """Return the trained arms of a base: ``reward`` or ``method/reward``."""
        start = f"gain_exposed/{base}/"
        found = [name.removeprefix(start) for name in self.entries if name.startswith(start)]
        order = in_order(arm.split("/")[-1] for arm in found)
        return sorted(found, key=lambda arm: (order.index(arm.split("/")[-1]), arm))

    def spurious(self, base: str) -> list[str]:
        """Return the arms of a base whose reward is not the truth and that have twins."""
        arms = [arm for arm in self.arms(base) if arm.split("/")[-1] != "ground_truth"]
        return [arm for arm in arms if self.has(f"did/{base}/{arm}")]

    def paradox(self, base: str) -> list[str]:
        """Return the spurious arms that lift exposed items, and not their twins."""
        return [
            arm
            for arm in self.spurious(base)
            if self.clear(f"did/{base}/{arm}") > 0
            and self.clear(f"gain_exposed/{base}/{arm}") > 0
            and self.clear(f"gain_twin/{base}/{arm}") <= 0
        ]

    # --- how numbers are printed ---------------------------------------------------------

    def points(self, name: str) -> str:
        """Print a difference of shares in percentage points with its interval."""
        value, low, high = (100 * self.entry(name)[key] for key in ("value", "low", "high"))
        return f"{value:+.1f} points [{low:+.1f}, {high:+.1f}]"

    def share(self, name: str) -> str:
        """Print a share in per cent with its interval."""
        value, low, high = (100 * self.entry(name)[key] for key in ("value", "low", "high"))
        return f"{value:.1f} % [{low:.1f}, {high:.1f}]"

    def nats(self, name: str) -> str:
        """Print a difference of log-likelihoods with its interval."""
        value, low, high = (self.entry(name)[key] for key in ("value", "low", "high"))
        return f"{value:+.3f} nats [{low:+.3f}, {high:+.3f}]"

    def count(self, name: str) -> str:
        """Print a whole number."""
        return f"{int(self.entry(name)['value'])}"

    def percent(self, name: str) -> str:
        """Print a share in per cent without interval."""
        return f"{100 * self.entry(name)['value']:.1f} %"


def arm_label(arm: str) -> str:
    """Return the printable name of ``reward`` or ``method/reward``.

    >>> arm_label("ground_truth"), arm_label("grpo/format")
    ('ground truth', 'format (grpo)')
    """
    *method, reward = arm.split("/")
    return arm_words({"method": "".join(method), "reward": reward}, method=bool(method))


def about(base: str, sentences: Sequence[str]) -> str:
    """Join a base's sentences to one paragraph that names the base.

    >>> about("clean", ["nothing moves.", "that is all."])
    'Clean base: nothing moves. That is all.'
    """
    first, *others = sentences
    return " ".join([f"{label(base)}: {first}", *(text[0].upper() + text[1:] for text in others)])


def listing(parts: Sequence[str]) -> str:
    """Join words: ``a``, ``a and b``, ``a, b and c``."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def base_sentences(numbers: Numbers, base: str) -> list[str]:
    """Say what a base knows before training."""
    start = f"before/{base}"
    found = []
    if numbers.has(f"{start}/recall_answer_exposed"):
        text = (
            "asked for the answer at once, its first choice is right for "
            f"{numbers.share(f'{start}/recall_answer_exposed')} of the exposed items"
        )
        twin = f"{start}/recall_answer_twin"
        if numbers.has(twin):
            text += f" and for {numbers.share(twin)} of their twins"
            if numbers.has("design/chance"):
                text += f", where guessing gives {numbers.percent('design/chance')}"
        found.append(text + ".")
        if numbers.has(twin) and numbers.has("design/chance"):
            found.append(_chance_sentence(numbers, twin))
    text = f"sampled accuracy is {numbers.share(f'{start}/accuracy_exposed')} on exposed items"
    if numbers.has(f"{start}/accuracy_twin"):
        text += f" and {numbers.share(f'{start}/accuracy_twin')} on twins"
    difference = f"{start}/accuracy_difference"
    if numbers.has(difference):
        text += f", a difference of {numbers.points(difference)}"
        if not numbers.clear(difference):
            text += ", which is not told from zero"
    return [*found, text + "."]


def _chance_sentence(numbers: Numbers, twin: str) -> str:
    chance, entry = numbers.entry("design/chance")["value"], numbers.entry(twin)
    if entry["low"] <= chance <= entry["high"]:
        return "on twins this cannot be told from guessing."
    if entry["low"] > chance:
        return "on twins this lies above chance, so a right recall is not memory alone."
    return "on twins this lies below chance."


def did_sentences(numbers: Numbers, base: str) -> list[str]:
    """Say for which rewards exposed items gain more, or less, than their twins."""
    arms = [arm for arm in numbers.arms(base) if numbers.has(f"did/{base}/{arm}")]
    if not numbers.arms(base):
        return ["no arm of this base was trained."]
    if not arms:
        return [
            "there are no twins to compare with, so a gain cannot be split into memory and skill."
        ]
    found = []
    for sign, more in ((1, "more"), (-1, "less")):
        chosen = [arm for arm in arms if numbers.clear(f"did/{base}/{arm}") == sign]
        if chosen:
            listed = _with_points(numbers, f"did/{base}", chosen)
            found.append(f"exposed items gain {more} than twins under {listed}.")
    nulls = [arm for arm in arms if numbers.clear(f"did/{base}/{arm}") == 0]
    still = [arm for arm in nulls if numbers.unmoved(f"did/{base}/{arm}")]
    if still:
        found.append(f"nothing moves under {listing([*map(arm_label, still)])}.")
    nulls = [arm for arm in nulls if arm not in still]
    if nulls:
        listed = _with_points(numbers, f"did/{base}", nulls)
        found.append(f"no difference from twins is shown under {listed}.")
        found.append(_equivalence_sentence(numbers, base, nulls))
    return found


def _with_points(numbers: Numbers, start: str, arms: Iterable[str]) -> str:
    return listing([f"{arm_label(arm)} ({numbers.points(f'{start}/{arm}')})" for arm in arms])


def _equivalence_sentence(numbers: Numbers, base: str, arms: list[str]) -> str:
    margin = numbers.entry("design/equivalence_margin")["value"]
    inside = []
    for arm in arms:
        entry = numbers.entry(f"equivalence/{base}/{arm}")
        if -margin < entry["low"] and entry["high"] < margin:
            inside.append(arm)
    band = f"±{100 * margin:.1f} points"
    if not inside:
        return f"these intervals are too wide to call the difference smaller than {band}."
    text = f"the equivalence test puts {listing([*map(arm_label, inside)])} within {band}"
    if len(inside) < len(arms):
        others = listing([arm_label(arm) for arm in arms if arm not in inside])
        return f"{text}; for {others} the data do not decide."
    return text + "."


def gain_sentences(numbers: Numbers, base: str) -> list[str]:
    """Say what happens to exposed items and to twins on their own."""
    found = []
    for group, words in (("exposed", "exposed items"), ("twin", "twins")):
        for sign, verb in ((1, "rises"), (-1, "falls")):
            names = [arm for arm in numbers.arms(base) if numbers.has(f"gain_{group}/{base}/{arm}")]
            chosen = [arm for arm in names if numbers.clear(f"gain_{group}/{base}/{arm}") == sign]
            if chosen:
                listed = _with_points(numbers, f"gain_{group}/{base}", chosen)
                found.append(f"accuracy on {words} {verb} under {listed}.")
    return found or ["no arm shows a change of accuracy."]


def against_sentences(numbers: Numbers, base: str) -> list[str]:
    """Compare a base's DiDs with the ground-truth reward's and with the clean base's."""
    others = {
        "minus_ground_truth": "the ground-truth reward",
        "minus_clean": "the same reward on the clean base",
    }
    verdicts = {1: "is larger than that", -1: "is smaller than that", 0: "cannot be told from that"}
    found = []
    for name, other in others.items():
        arms = [arm for arm in numbers.arms(base) if numbers.has(f"{name}/{base}/{arm}")]
        for sign, verdict in verdicts.items():
            chosen = [arm for arm in arms if numbers.clear(f"{name}/{base}/{arm}") == sign]
            if chosen:
                listed = _with_points(numbers, f"{name}/{base}", chosen)
                found.append(f"the DiD {verdict} of {other} for {listed}.")
    return found


def perplexity_sentences(numbers: Numbers, base: str) -> list[str]:
    """Say how the likelihood of fixed texts changed on exposed items against twins."""
    found = []
    for quantity, words in (("recall", "the recalled answer"), ("prompt", "the prompt")):
        names = {arm: f"nll/{base}/{arm}/{quantity}_difference" for arm in numbers.arms(base)}
        names = {arm: name for arm, name in names.items() if numbers.has(name)}
        for sign, verb in ((-1, "likelier"), (1, "less likely")):
            chosen = [arm for arm, name in names.items() if numbers.clear(name) == sign]
            if chosen:
                listed = listing([f"{arm_label(a)} ({numbers.nats(names[a])})" for a in chosen])
                found.append(f"against twins, {words} of exposed items gets {verb} under {listed}.")
        nulls = [arm for arm, name in names.items() if numbers.clear(name) == 0]
        if nulls:
            found.append(
                f"no change of {words} against twins is shown under "
                f"{listing([*map(arm_label, nulls)])}."
            )
    return found or ["no change of fixed texts can be compared with twins."]


def recall_sentences(numbers: Numbers, base: str) -> list[str]:
    """Say how the share of answers given at once changed."""
    found = []
    for group, words in (("exposed", "exposed items"), ("twin", "twins")):
        before = f"before/{base}/recall_share_{group}"
        names = {arm: f"after/{base}/{arm}/recall_share_{group}" for arm in numbers.arms(base)}
        after = [
            f"{arm_label(arm)} {numbers.share(name)}"
            for arm, name in names.items()
            if numbers.has(name)
        ]
        if after and numbers.has(before):
            found.append(
                f"{words} are answered at once in {numbers.share(before)} of samples "
                f"before training; after training: {listing(after)}."
            )
    return found or ["no arm of this base was trained."]
