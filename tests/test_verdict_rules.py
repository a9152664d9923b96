"""The rule of verdicts: what it says of data whose truth is known, and what it may never do."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from paradox.mechanisms.labels.signature import leakage
from paradox.mechanisms.tables import signatures
from paradox.mechanisms.tables.pairs import Groups
from paradox.mechanisms.tables.signatures import Given, Part, row
from paradox.mechanisms.tables.verdict import (
    ALPHA,
    CEILING,
    GUESSING,
    MIDDLE,
    NEGLIGIBLE,
    NO_GAP,
    NO_SPREAD,
    NOT,
    NOT_THERE,
    OPEN,
    REPRODUCED,
    SETS,
    TOO_FEW,
    VERDICTS,
    WIDE,
    among,
    inside,
    verdict,
    worst,
)
from paradox.stats.crossed import UNKNOWN, Estimate, Number, mean
from paradox.stats.passk import pass_at_k, powers

PAIRS, BLOCKS, TRAININGS = 40, 6, 4


def effect(value: float, spread: float = 0.1, pairs: int = PAIRS, trainings: int = 3) -> Number:
    """Return a number of exactly this value, its pairs and trainings with this spread."""
    noise = np.random.default_rng(1).normal(size=(pairs, trainings))
    noise = (noise - noise.mean()) / noise.std()
    return mean(value + spread * noise)


def items() -> pd.DataFrame:
    rows = [
        {"item": f"{group[0]}{n}", "group": group, "pair": f"p{n}", "exposure": exposure}
        for n in range(PAIRS)
        for group, exposure in (("exposed", 64), ("twin", 0))
    ]
    return pd.DataFrame(rows)


@pytest.fixture()
def tester() -> signatures.Tester:
    return signatures.Tester(Groups(items(), 64), 0)


# --- what the number alone decides --------------------------------------------------------------


def test_an_effect_above_its_margin_is_reproduced() -> None:
    assert verdict(effect(0.5).estimate(), 0.1) == (REPRODUCED, "")


def test_an_effect_below_its_margin_is_negligible() -> None:
    found = effect(0.05, spread=0.02).estimate()
    assert found.p <= ALPHA and verdict(found, 0.1) == (NEGLIGIBLE, "")


def test_an_effect_that_may_lie_on_either_side_of_its_margin_is_open() -> None:
    found = effect(0.09, spread=0.2).estimate()
    assert found.low > 0 and found.value < 0.1 < found.high
    assert verdict(found, 0.1) == (OPEN, WIDE)


@pytest.mark.parametrize("size", [-5.0, -0.5, -0.05])
def test_an_effect_of_the_wrong_sign_is_not_reproduced(size: float) -> None:
    found = effect(size).estimate()
    assert found.p > ALPHA and verdict(found, 0.1) == (NOT, "")


def test_nothing_known_well_is_not_reproduced() -> None:
    assert verdict(effect(0.0).estimate(), 0.1) == (NOT, "")


def test_a_wide_interval_is_open() -> None:
    found = effect(0.5, spread=5.0).estimate()
    assert found.low < 0 < 0.1 < found.value and verdict(found, 0.1) == (OPEN, WIDE)


def test_three_trainings_that_disagree_are_open() -> None:
    # A mean far above the margin, clear of zero were the trainings all there are.
    values = np.random.default_rng(0).normal(size=(PAIRS, 3)) * 0.1 + [0.1, 0.4, 1.3]
    assert mean(values.mean(axis=1)).estimate().low > 0.1
    assert verdict(mean(values).estimate(), 0.1) == (OPEN, WIDE)


@pytest.mark.parametrize("value", [0.0, 0.5, -0.5])
def test_a_number_without_any_spread_is_open(value: float) -> None:
    found = mean(np.full((PAIRS, 3), value)).estimate()
    assert found.low == found.high and verdict(found, 0.1) == (OPEN, NO_SPREAD)


def test_nothing_measured_and_no_margin_are_open() -> None:
    assert verdict(UNKNOWN, 0.1) == (OPEN, NO_SPREAD)
    assert verdict(effect(0.5).estimate(), math.nan) == (OPEN, NO_GAP)


def test_an_effect_that_random_sets_have_is_open() -> None:
    found = effect(0.5).estimate()
    assert verdict(found, 0.1, rank=0.06) == (OPEN, SETS)
    assert verdict(found, 0.1, rank=0.04) == (REPRODUCED, "")
    # What is small is small whatever the sets do: then it is none.
    assert verdict(effect(0.05, spread=0.02).estimate(), 0.1, rank=0.06) == (NOT, "")


def test_an_effect_that_does_not_survive_correction_is_open() -> None:
    found = effect(0.5, spread=2.0).estimate()
    assert verdict(found, 0.1) == (REPRODUCED, "")
    many = among(found, 1000)
    assert many.high == found.high and verdict(many, 0.1) == (OPEN, WIDE)


# --- what no data could decide -------------------------------------------------------------------


def _guessers(samples: int = 64, moduli: int = 13) -> tuple[np.ndarray, np.ndarray]:
    """Return pass@k of two models that guess, shape (items, ks, trainings)."""
    rng = np.random.default_rng(3)
    one, other = rng.binomial(samples, 1 / moduli, (2, PAIRS, TRAININGS))
    ks = powers(samples)
    return tuple(pass_at_k(count, samples, ks).swapaxes(1, 2) for count in (one, other))


def test_two_pure_guessers_decide_nothing() -> None:
    base, after = _guessers()
    margin = 0.05
    # "Whatever the trained model solves, the base does, too": so does guessing.
    covered = mean(margin - ((1 - base) * after)[:, -1]).estimate()
    assert covered.low > 0  # a rule that looks at the number alone would say something
    guess = 1 - (1 - 1 / 13) ** 64
    unable = GUESSING if 1 - guess <= margin else ""
    assert verdict(covered, margin, unable=unable) == (OPEN, GUESSING)
    # "Below its base at the largest k": both are at the ceiling there.
    full = min(base[:, -1].mean(), after[:, -1].mean()) >= 1 - margin
    crossing = mean((base - after)[:, -1]).estimate()
    assert full and verdict(crossing, margin, unable=CEILING) == (OPEN, CEILING)
    assert verdict(crossing, margin)[0] == NOT  # without asking for room


def _labelled(before: str, called: int) -> pd.DataFrame:
    """Return labels of an arm: `called` exposed items leak, the others were as said before."""
    rows = []
    for item in [*(f"e{n}" for n in range(PAIRS)), *(f"t{n}" for n in range(PAIRS))]:
        for seed in range(TRAININGS):
            leaks = item[0] == "e" and int(item[1:]) < called
            label = "leakage" if leaks else before if item[0] == "e" else "persistent"
            # Some twin is called leakage now and then.
            label = "leakage" if (item, seed) == ("t0", 1) else label
            rows.append([item, seed, label])
    table = pd.DataFrame(rows, columns=["item", "seed", "greedy"]).assign(greedy_change=0.0)
    return table.assign(base="contaminated", method="grpo", reward="format")


@pytest.mark.parametrize(
    ("before", "called", "said"),
    [
        ("stable", 0, (OPEN, CEILING)),
        ("persistent", 0, (NOT, "")),
        ("persistent", 30, (REPRODUCED, "")),
    ],
)
def test_a_base_at_the_ceiling_has_no_room(
    before: str, called: int, said: tuple[str, str], tester: signatures.Tester, tmp_path: Path
) -> None:
    path = tmp_path / "labels.csv"
    _labelled(before, called).to_csv(path, index=False)
    (found,) = leakage(Given("leakage", [path], tester, "contaminated", None, 0.1))
    assert (found["verdict"], found["reason"]) == said


def test_six_windows_cannot_be_told_apart() -> None:
    smallest = 1 / 6  # the window itself is one of them
    found = effect(0.5).estimate()
    unable = TOO_FEW if smallest > ALPHA else ""
    assert verdict(found, 0.1, smallest, unable) == (OPEN, TOO_FEW)


def test_training_that_lowered_recall_leaves_nothing_to_undo() -> None:
    gained, undone = effect(-0.4), effect(-0.3)
    share = (undone / gained).estimate()
    # Two losses make a share that looks like an undoing.
    assert verdict(share, 0.1) == (REPRODUCED, "")
    unable = "" if gained.estimate().low > 0 else NOT_THERE
    assert verdict(share, 0.1, unable=unable) == (OPEN, NOT_THERE)


def test_what_cannot_be_decided_hides_nothing_of_the_number(tester: signatures.Tester) -> None:
    part = Part(effect(0.5).estimate(), "1-3", unable=CEILING)
    found = row("anchor", ("contaminated", "grpo", "format", "after"), [part], 0.1)
    assert (found["verdict"], found["reason"]) == (OPEN, CEILING)
    assert found["effect"] == pytest.approx(0.5) and found["p"] < ALPHA


# --- claims of several parts ---------------------------------------------------------------------


def _said(word: str, p: float) -> dict[str, Any]:
    return {"verdict": word, "p": p}


@pytest.mark.parametrize("word", VERDICTS)
def test_a_claim_is_as_good_as_its_worst_part(word: str) -> None:
    good, other = _said(REPRODUCED, 0.04), _said(word, math.nan if word == OPEN else 0.03)
    assert worst([good, other])["verdict"] == worst([other, good])["verdict"] == word
    assert worst([good, other, _said(NOT, 0.9)])["verdict"] == NOT


def test_a_window_is_judged_by_its_gap(tester: signatures.Tester) -> None:
    values = 0.1 * np.random.default_rng(0).normal(size=(2 * PAIRS, BLOCKS, 3))
    values[:PAIRS, inside(BLOCKS, MIDDLE)] += 0.5
    key = ("contaminated", "grpo", "format", "after")
    found = row("anchor", key, [tester.window(values, MIDDLE)], 0.1)
    assert (found["verdict"], found["blocks"]) == (REPRODUCED, "1-3")
    # Twins have it as well: no gap.
    values[PAIRS:, inside(BLOCKS, MIDDLE)] += 0.5
    assert row("anchor", key, [tester.window(values, MIDDLE)], 0.1)["verdict"] == NOT


# --- what holds for any data ---------------------------------------------------------------------


def numbers(count: int) -> list[tuple[Number, float]]:
    """Return numbers of all kinds, around 0 and around their margins, with these."""
    found = []
    for run in range(count):
        rng = np.random.default_rng([17, run])
        pairs, trainings = int(rng.integers(2, 60)), int(rng.integers(1, 9))
        of_items, of_trainings, rest = 10 ** rng.uniform(-2, 1, 3) * rng.integers(0, 2, 3)
        values = of_items * rng.normal(size=(pairs, 1)) + rest * rng.normal(size=(pairs, trainings))
        values = values + of_trainings * rng.normal(size=(1, trainings))
        if rng.random() < 0.3:
            values = np.round(values)  # ties, and means of exactly 0
        margin = 10 ** rng.uniform(-2, 0.5)
        spread = float(mean(values).estimate().se)
        found.append((mean(values) + rng.choice([0, margin, 4 * spread, -spread]), margin))
    return found


NUMBERS = numbers(1500)


def test_p_and_interval_never_contradict_each_other() -> None:
    above = 0
    for number, _ in NUMBERS:
        found = number.estimate()
        for one in (found, among(found, 6)):
            if one.se > 0 and abs(one.low) > 1e-9 * one.se:
                assert (one.p <= ALPHA) == (one.low >= 0)
        above += found.low >= 0
    assert 100 < above < 1400  # both happen often


def test_p_is_the_level_where_the_interval_ends_at_zero() -> None:
    for number, _ in NUMBERS[:300]:
        found = number.estimate()
        if found.se > 0:
            assert (number + -found.low).estimate().p == pytest.approx(ALPHA)


def _cases(found: Estimate, margin: float, rank: float) -> dict[str, bool]:
    """Return which of the four conditions hold, as docs word them."""
    above = found.low > 0 and rank <= ALPHA
    below = found.high < margin
    yes = above and found.value > margin
    return {REPRODUCED: yes, NEGLIGIBLE: above and below, NOT: below and not above}


@pytest.mark.parametrize("rank", [0.0, 0.2])
def test_verdicts_are_exhaustive_and_exclusive(rank: float) -> None:
    seen = dict.fromkeys(VERDICTS, 0)
    for number, margin in NUMBERS:
        found = number.estimate()
        word, reason = verdict(found, margin, rank)
        seen[word] += 1
        assert word in VERDICTS and bool(reason) == (word == OPEN)
        if not found.se > 0:
            assert (word, reason) == (OPEN, NO_SPREAD)
            continue
        held = [name for name, of in _cases(found, margin, rank).items() if of]
        assert held == ([] if word == OPEN else [word])
    # Every verdict can come out; where random sets do as much two cannot.
    assert {word for word, count in seen.items() if count} == (
        {NOT, OPEN} if rank else set(VERDICTS)
    )


def test_a_larger_effect_never_says_less() -> None:
    for number, margin in NUMBERS[:400]:
        steps = np.linspace(0, 3 * margin + 4 * number.estimate().se, 25)
        said = [verdict((number + float(step)).estimate(), margin)[0] for step in steps]
        once = said.index(REPRODUCED) if REPRODUCED in said else len(said)
        assert set(said[once:]) <= {REPRODUCED}
        other = next((place for place, word in enumerate(said) if word != NOT), len(said))
        assert NOT not in said[other:]


def test_a_gap_that_grows_never_turns_reproduced_into_not(tester: signatures.Tester) -> None:
    chosen = inside(BLOCKS, MIDDLE)
    for run in range(60):
        rng = np.random.default_rng([23, run])
        values = rng.normal(size=(2 * PAIRS, BLOCKS, 3)) * rng.uniform(0.05, 2)
        before = NOT
        for size in np.linspace(-1, 2, 13):
            grown = values.copy()
            grown[:PAIRS, chosen] += size
            key = ("contaminated", "grpo", "format", "after")
            said = row("anchor", key, [tester.window(grown, MIDDLE)], 0.1)["verdict"]
            assert not (before == REPRODUCED and said != REPRODUCED)
            before = said


def test_one_kind_of_claim_is_called_reproduced_as_rarely_as_stated() -> None:
    """Of nothing, `reproduced` needs the interval above 0: 2.5 %, whatever the margin."""
    values = np.random.default_rng(4).normal(size=(PAIRS, 3, 4000))
    estimates = mean(values).estimates()
    for margin in (1e-6, 0.1, 0.3):
        words = [verdict(found, margin)[0] for found in estimates]
        assert np.mean([word in (REPRODUCED, NEGLIGIBLE) for word in words]) <= 0.035
