"""Sentences that follow the numbers of ``summary.json``.

An effect is stated only when its interval leaves out zero, everything else as not shown, and "no
effect" only after an equivalence test. Sentences about a base start in lower case; `about` joins
them. `paradox.evaluate.summary` lists the names of the numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from paradox.errors import DataError, hint
from paradox.figures.names import arm_words, bases_in_order, in_order, label
from paradox.files import read_json

ENDS = ("value", "low", "high")
GROUPS = {"exposed": "exposed items", "twin": "twins"}


class Numbers:
    """The headline numbers (name -> value, low, high, n), and how they are printed."""

    def __init__(self, entries: dict[str, dict[str, Any]], source: str = "summary") -> None:
        self.entries, self.source = entries, source

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
        arms = [name.removeprefix(start) for name in self.entries if name.startswith(start)]
        order = in_order(arm.split("/")[-1] for arm in arms)
        return sorted(arms, key=lambda arm: (order.index(arm.split("/")[-1]), arm))

    def sides(self, names: dict[str, str]) -> dict[int, list[str]]:
        """Return the arms whose number lies above (1), below (-1) or not clear of zero (0).

        `names` are their numbers by arm; those that could not be estimated are left out.
        """
        sides: dict[int, list[str]] = {1: [], -1: [], 0: []}
        for arm, name in names.items():
            if self.has(name):
                sides[self.clear(name)].append(arm)
        return sides

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
        return self.interval(name, "points", "+.1f", 100)

    def share(self, name: str) -> str:
        """Print a share in per cent with its interval."""
        return self.interval(name, "%", ".1f", 100)

    def nats(self, name: str) -> str:
        """Print a difference of log-likelihoods with its interval."""
        return self.interval(name, "nats", "+.3f")

    def interval(self, name: str, unit: str = "", form: str = "+.2f", scale: float = 1) -> str:
        """Print a number, times `scale`, with its interval."""
        entry = self.entry(name)
        return number(*(scale * entry[key] for key in ENDS), unit, form)

    def count(self, name: str) -> str:
        """Print a whole number."""
        return f"{int(self.entry(name)['value'])}"

    def percent(self, name: str) -> str:
        """Print a share in per cent without interval."""
        return f"{100 * self.entry(name)['value']:.1f} %"


def number(value: float, low: float, high: float, unit: str = "", form: str = "+.2g") -> str:
    """Print an effect with its interval.

    >>> number(0.2349, 0.168, 0.308, "nats")
    '+0.23 nats [+0.17, +0.31]'
    """
    middle = f"{value:{form}} {unit}".strip()
    return f"{middle} [{low:{form}}, {high:{form}}]"


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
    said = []
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
        said.append(text + ".")
        if numbers.has(twin) and numbers.has("design/chance"):
            said.append(_chance_sentence(numbers, twin))
    text = f"sampled accuracy is {numbers.share(f'{start}/accuracy_exposed')} on exposed items"
    if numbers.has(f"{start}/accuracy_twin"):
        text += f" and {numbers.share(f'{start}/accuracy_twin')} on twins"
    difference = f"{start}/accuracy_difference"
    if numbers.has(difference):
        text += f", a difference of {numbers.points(difference)}"
        if not numbers.clear(difference):
            text += ", which is not told from zero"
    return [*said, text + "."]


def _chance_sentence(numbers: Numbers, twin: str) -> str:
    chance, entry = numbers.entry("design/chance")["value"], numbers.entry(twin)
    if entry["low"] <= chance <= entry["high"]:
        return "on twins this cannot be told from guessing."
    if entry["low"] > chance:
        return "on twins this lies above chance, so a right recall is not memory alone."
    return "on twins this lies below chance."


def did_sentences(numbers: Numbers, base: str) -> list[str]:
    """Say for which rewards exposed items gain more, or less, than their twins."""
    if not numbers.arms(base):
        return ["no arm of this base was trained."]
    names = _names(numbers, base, "did")
    sides = numbers.sides(names)
    if not any(sides.values()):
        return [
            "there are no twins to compare with, so a gain cannot be split into memory and skill."
        ]
    said = []
    for sign, more in ((1, "more"), (-1, "less")):
        if sides[sign]:
            listed = _with_points(numbers, names, sides[sign])
            said.append(f"exposed items gain {more} than twins under {listed}.")
    still = [arm for arm in sides[0] if numbers.unmoved(names[arm])]
    if still:
        said.append(f"nothing moves under {listing([*map(arm_label, still)])}.")
    nulls = [arm for arm in sides[0] if arm not in still]
    if nulls:
        listed = _with_points(numbers, names, nulls)
        said.append(f"no difference from twins is shown under {listed}.")
        said.append(_equivalence_sentence(numbers, base, nulls))
    return said


def _names(numbers: Numbers, base: str, family: str) -> dict[str, str]:
    return {arm: f"{family}/{base}/{arm}" for arm in numbers.arms(base)}


def _with_points(numbers: Numbers, names: dict[str, str], arms: Iterable[str]) -> str:
    return listing([f"{arm_label(arm)} ({numbers.points(names[arm])})" for arm in arms])


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
    said = []
    for group, words in GROUPS.items():
        names = _names(numbers, base, f"gain_{group}")
        sides = numbers.sides(names)
        for sign, verb in ((1, "rises"), (-1, "falls")):
            if sides[sign]:
                listed = _with_points(numbers, names, sides[sign])
                said.append(f"accuracy on {words} {verb} under {listed}.")
    return said or ["no arm shows a change of accuracy."]


def greedy_sentences(numbers: Numbers, base: str) -> list[str]:
    """Say what greedy decoding, the published protocol, shows on exposed items, and its ceiling."""
    names = _names(numbers, base, "greedy_gain_exposed")
    if not names:
        return ["no arm of this base was trained."]
    room = numbers.percent(f"greedy_room/{base}/{next(iter(names))}")
    return [
        f"by greedy decoding, the published protocol, {room} of exposed items are wrong before "
        f"training, which is all that could be gained; change by reward: "
        f"{_with_points(numbers, names, names)}."
    ]


def against_sentences(numbers: Numbers, base: str) -> list[str]:
    """Compare a base's DiDs with the ground-truth reward's and with the clean base's."""
    others = {
        "minus_ground_truth": "the ground-truth reward",
        "minus_clean": "the same reward on the clean base",
    }
    verdicts = {1: "is larger than that", -1: "is smaller than that", 0: "cannot be told from that"}
    said = []
    for family, other in others.items():
        names = _names(numbers, base, family)
        for sign, arms in numbers.sides(names).items():
            if arms:
                listed = _with_points(numbers, names, arms)
                said.append(f"the DiD {verdicts[sign]} of {other} for {listed}.")
    return said


def perplexity_sentences(numbers: Numbers, base: str) -> list[str]:
    """Say how the likelihood of fixed texts changed on exposed items against twins."""
    said = []
    for quantity, words in (("recall", "the recalled answer"), ("prompt", "the prompt")):
        names = {arm: f"nll/{base}/{arm}/{quantity}_difference" for arm in numbers.arms(base)}
        sides = numbers.sides(names)
        for sign, verb in ((-1, "likelier"), (1, "less likely")):
            if arms := sides[sign]:
                listed = listing([f"{arm_label(a)} ({numbers.nats(names[a])})" for a in arms])
                said.append(f"against twins, {words} of exposed items gets {verb} under {listed}.")
        if sides[0]:
            listed = listing([*map(arm_label, sides[0])])
            said.append(f"no change of {words} against twins is shown under {listed}.")
    return said or ["no change of fixed texts can be compared with twins."]


def recall_sentences(numbers: Numbers, base: str) -> list[str]:
    """Say how the share of answers given at once changed."""
    said = []
    for group, words in GROUPS.items():
        before = f"before/{base}/recall_share_{group}"
        names = {arm: f"after/{base}/{arm}/recall_share_{group}" for arm in numbers.arms(base)}
        after = [
            f"{arm_label(arm)} {numbers.share(name)}"
            for arm, name in names.items()
            if numbers.has(name)
        ]
        if after and numbers.has(before):
            said.append(
                f"{words} are answered at once in {numbers.share(before)} of samples "
                f"before training; after training: {listing(after)}."
            )
    return said or ["no arm of this base was trained."]
