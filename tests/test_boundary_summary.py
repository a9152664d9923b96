"""Summary, reading and figure of the capability boundary, from tables with planted effects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from told_fixture import summary as told

from paradox.errors import DataError
from paradox.files import read_json, write_table
from paradox.mechanisms.boundary import figure
from paradox.mechanisms.boundary import reading as boundary_reading
from paradox.mechanisms.boundary import summary as boundary_summary
from paradox.mechanisms.boundary.summary import Arm, Settings, verdicts
from paradox.mechanisms.tables.verdict import (
    CEILING,
    FLOOR,
    GUESSING,
    NO_GAP,
    NOT,
    OPEN,
    REPRODUCED,
)
from paradox.progress import Progress
from paradox.stats.bootstrap import Resampling

PAIRS, SAMPLES = 40, 32
QUIET = Progress("test", streams=())
SPEC = {"bootstrap": {"seed": 0, "resamples": 200}, "permutations": 199, "margin": 0.05}
SPEC |= {"chance": 1 / 13}
# Arm -> rates of right answers (of half of the pairs, of the others) and mean quantiles of the
# arm's samples and of the sharpened base's.
ARMS: dict[str, tuple[tuple[float, float], float, float]] = {
    "none": ((0.15, 0.15), 0.5, 0.5),
    "narrow": ((0.9, 0.0), 0.2, 0.4),  # better at once, worse in many tries; likelier texts
    "wide": ((0.5, 0.5), 0.4, 0.3),  # better everywhere; less likely than by sharpening
}


BASE = (0.15, 0.15)


def _table(
    reward: str,
    seed: int,
    method: str = "grpo",
    rates: tuple[float, float] | None = None,
    base: tuple[float, float] = BASE,
    samples: int = SAMPLES,
    pairs: int = PAIRS,
) -> pd.DataFrame:
    """Return a table of step ``boundary``; right answers and worked ones have the same rates."""
    of_arm, own, sharp = ARMS[reward]
    rates = rates or of_arm
    rng = np.random.default_rng([len(reward), seed, len(method)])
    same = np.random.default_rng(7)  # the base's samples are those of all arms
    rows = []
    for group in ("exposed", "twin"):
        for pair in range(pairs):
            rate = rates[pair % 2]
            by_source = {
                "base": (same.binomial(samples, base[pair % 2]), 0.5),
                "after": (rng.binomial(samples, rate), own),
                "matched": (rng.binomial(samples, rate), np.nan),
                "sharpened": (rng.binomial(samples, 0.15), sharp),
                "cold": (rng.binomial(samples, 0.15), 0.4),
            }
            for source, (right, quantile) in by_source.items():
                row = {"base": "contaminated", "method": "base" if reward == "none" else method}
                row |= {"reward": reward, "seed": seed, "step": 8, "item": f"{group}{pair}"}
                row |= {"group": group, "exposure": 128, "pair": f"p{pair}", "source": source}
                row |= {"temperature": 1.0, "samples": samples, "right": right, "worked": right}
                row |= {"tokens": 10.0, "entropy": 0.2, "nll": 0.3}
                for n, name in enumerate(boundary_summary.QUANTILES):
                    # Not every item has wrong samples.
                    gone = n == 2 and pair == 0
                    row[name] = np.nan if gone else quantile + 0.1 * rng.standard_normal()
                rows.append(row)
    return pd.DataFrame(rows)


def _summary(folder: Path, made: list[pd.DataFrame]) -> dict[str, Path]:
    """Return the step's tables of tables of arms and seeds."""
    for number, table in enumerate(made):
        write_table(folder / f"arm{number}.csv", table)
    paths = [folder / f"arm{number}.csv" for number in range(len(made))]
    outputs = {name: folder / f"{name}.csv" for name in boundary_summary.TABLES}
    boundary_summary.main(SPEC, {"tables": paths}, outputs, QUIET)
    return outputs


def _judged(signature: str, measure: str, **how: Any) -> set[tuple[str, str]]:
    """Return verdict and reason of three trainings; `how` goes to `_table`."""
    table = pd.concat([_table("wide", seed, **how) for seed in range(3)])
    if measure == "right":
        # What is only guessed is never worked out.
        table = table.assign(worked=0)
    settings = Settings(Resampling(0), 99, SPEC["margin"], SPEC["chance"])
    rows = list(verdicts(Arm(table, "wide"), settings))
    assert len(rows) == 2 * (2 * 5 + 2 * 2)
    chosen = (r for r in rows if (r["signature"], r["measure"]) == (signature, measure))
    return {(row["verdict"], row["reason"]) for row in chosen}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The summary of all arms, two seeds of each trained one."""
    folder = tmp_path_factory.mktemp("summary")
    made = [
        _table(reward, seed)
        for reward in ARMS
        for seed in ((0,) if reward == "none" else (0, 1, 2))
    ]
    return _summary(folder, made)


def _verdict(tables: dict[str, Path], signature: str, reward: str) -> set[str]:
    found = pd.read_csv(tables["verdicts"]).query("signature == @signature and reward == @reward")
    return set(found["verdict"])


def test_planted_signatures_are_found_and_others_are_not(tables: dict[str, Path]) -> None:
    """Each arm has the signatures that were put in; a base against itself has none."""
    want = {
        "crossing": {"none": {OPEN}, "narrow": {REPRODUCED}, "wide": {OPEN}},
        "matched_below": {"none": {OPEN}, "narrow": {REPRODUCED}, "wide": {OPEN}},
        "above_all": {"none": {NOT}, "narrow": {NOT}, "wide": {REPRODUCED}},
        "efficiency": {"none": {NOT}, "narrow": {OPEN}, "wide": {REPRODUCED}},
        "likelier": {"none": {NOT}, "narrow": {REPRODUCED}, "wide": {REPRODUCED}},
        "low_perplexity": {"none": {NOT}, "narrow": {REPRODUCED}, "wide": {NOT}},
    }
    for signature, by_reward in want.items():
        for reward, shown in by_reward.items():
            assert _verdict(tables, signature, reward) == shown, (signature, reward)


def test_p_and_interval_never_contradict_each_other(tables: dict[str, Path]) -> None:
    """p is at most .05 exactly where the interval is clear of zero."""
    rows = pd.read_csv(tables["verdicts"]).dropna(subset="p")
    assert len(rows) > 50 and ((rows["p"] <= 0.05) == (rows["low"] > 0)).all()
    for name in ("curves", "perplexity"):
        rows = pd.read_csv(tables[name]).dropna(subset="p")
        null = rows["null"] if "null" in rows else 0
        clear = (rows["low"] > null) | (rows["high"] < null)
        assert len(rows) > 50 and ((rows["p"] <= 0.05) == clear).all()


GUESSERS = (1 / 13, 1 / 13)


@pytest.mark.parametrize("signature", ["crossing", "covered", "efficiency", "matched_below"])
def test_two_guessers_decide_nothing(signature: str) -> None:
    """Guessing gives pass@64 = .994, whatever anyone knows; and nothing is worked out."""
    how: dict[str, Any] = {"rates": GUESSERS, "base": GUESSERS, "samples": 64}
    assert _judged(signature, "right", **how) == {(OPEN, GUESSING)}


@pytest.mark.parametrize(
    ("signature", "rates", "base", "verdict", "reason"),
    [
        # Base and arm solve everything; nothing; the arm solves nothing.
        ("crossing", (0.97, 0.97), (0.97, 0.97), OPEN, CEILING),
        ("covered", (0.5, 0.5), (0.97, 0.97), OPEN, CEILING),
        ("covered", (0.0, 0.0), (0.5, 0.0), OPEN, FLOOR),
        ("matched_below", (0.0, 0.0), (0.0, 0.0), OPEN, FLOOR),
        ("efficiency", (0.97, 0.97), (0.97, 0.97), OPEN, CEILING),
        ("efficiency", (0.5, 0.0), (0.0, 0.0), OPEN, NO_GAP),
        # Room: solved by the arm only are nearly none; half of the items.
        ("covered", (0.97, 0.001), (0.5, 0.0), REPRODUCED, ""),
        ("covered", (0.5, 0.5), (0.5, 0.0), NOT, ""),
        # The first try falls; rises a little; goes most of the way.
        ("crossing", (0.1, 0.0), (0.3, 0.0), NOT, ""),
        ("efficiency", (0.1, 0.0), (0.3, 0.3), NOT, ""),
        ("efficiency", (0.3, 0.3), (0.1, 0.1), REPRODUCED, ""),
        ("efficiency", (0.9, 0.9), (0.1, 0.1), NOT, ""),
    ],
)
def test_room_comes_before_the_verdict(
    signature: str,
    rates: tuple[float, float],
    base: tuple[float, float],
    verdict: str,
    reason: str,
) -> None:
    """What could not come out otherwise is not decidable, what could is judged."""
    many: Any = {"pairs": 150} if verdict == REPRODUCED else {}
    assert _judged(signature, "worked", rates=rates, base=base, **many) == {(verdict, reason)}


def test_who_never_answers_is_passed_by_guessing() -> None:
    """A guesser above a base without answers has learned nothing."""
    how: dict[str, Any] = {"rates": GUESSERS, "base": (0.0, 0.0)}
    for signature in ("above_all", "efficiency"):
        assert _judged(signature, "right", **how) == {(OPEN, GUESSING)}


def test_methods_are_alike_or_not(tmp_path: Path) -> None:
    """Each method's gap is compared with those of the methods before it, never with imitation's."""
    made = [_table("wide", seed, method) for seed in range(3) for method in ("grpo", "ppo", "sft")]
    made += [_table("wide", seed, "rloo", (0.8, 0.8)) for seed in range(3)]
    made += [_table("narrow", seed, method) for seed, method in ((0, "grpo"), (7, "rloo"))]
    rows = pd.read_csv(_summary(tmp_path, made)["verdicts"]).query("signature == 'alike'")
    judged = rows.groupby(["reward", "method"])["verdict"].unique().map(list).to_dict()
    assert judged == {
        ("narrow", "rloo"): [OPEN],
        ("wide", "ppo"): [REPRODUCED],
        ("wide", "rloo"): [NOT],
    }
    unlike = rows[(rows["reward"] == "narrow") & (rows["method"] == "rloo")]
    assert set(unlike["reason"]) == {boundary_summary.UNLIKE}


def test_crossing_and_gap(tables: dict[str, Path]) -> None:
    """.45 against 1 - .85^k: from k = 3.7 on; the gap is the base's last minus the first."""
    found = pd.read_csv(tables["crossings"]).query("source == 'after' and measure == 'right'")
    narrow = found[found["reward"] == "narrow"]
    assert (narrow["kind"] == "crosses").all()
    assert narrow["k_low"].lt(4.2).all() and narrow["k_high"].gt(3.2).all()
    assert narrow["gap"].to_numpy() == pytest.approx(1 - 0.85**SAMPLES - 0.45, abs=0.1)
    wide = found[found["reward"] == "wide"]
    assert (wide["kind"] == "above").all() and np.isinf(wide["k_low"]).all()
    assert narrow["ceiling"].isna().all() and wide["ceiling"].between(16, 32).all()


def test_coverage_adds_up(tables: dict[str, Path]) -> None:
    """Four cells are all items, and their margins are the curves."""
    cells = pd.read_csv(tables["coverage"])
    wide = cells.pivot(index=["reward", "measure", "group", "k"], columns="cell", values="value")
    assert wide.sum(axis=1).to_numpy() == pytest.approx(1)
    curves = pd.read_csv(tables["curves"])
    of = curves[curves["source"] == "after"].set_index(["reward", "measure", "group", "k"])["value"]
    after = wide["both"] + wide["after_only"]
    assert after.to_numpy() == pytest.approx(of.loc[after.index].to_numpy())


def test_exposed_minus_twins_is_tested(tables: dict[str, Path]) -> None:
    """No planted difference between the groups: the change does not differ."""
    curves = pd.read_csv(tables["curves"])
    rows = curves[(curves["group"] == "difference") & (curves["source"] == "after_minus_base")]
    # One in twenty by chance; 6 of them are tested here (arms by measures, two alike).
    assert rows.groupby(["reward", "measure"])["corrected"].min().min() > 0.005
    inside = rows["value"].between(rows["null_low"], rows["null_high"])
    assert (inside == (rows["corrected"] > 0.05)).all()
    assert rows["detectable"].gt(0).all() and rows["p"].between(0, 1).all()


def test_unmatched_entropies_are_no_control(tables: dict[str, Path], tmp_path: Path) -> None:
    """Where the base's entropy took a lower temperature, or was not reached, nothing is said."""
    assert _verdict(tables, "matched_below", "narrow") == {REPRODUCED}
    for source, column, value, signature in (
        ("matched", "temperature", 0.2, "matched_below"),
        ("matched", "entropy", 0.3, "matched_below"),
        ("sharpened", "entropy", 0.3, "low_perplexity"),
    ):
        table = _table("narrow", 0)
        table.loc[table["source"] == source, column] = value
        rows = pd.read_csv(_summary(tmp_path, [table])["verdicts"])
        rows = rows[rows["signature"] == signature]
        assert set(rows["verdict"]) == {OPEN}
        assert set(rows["reason"]) == {boundary_summary.UNMATCHED}


def test_malformed_tables_are_refused(tmp_path: Path) -> None:
    """A lacking twin and unequal numbers of samples are named with their arm."""
    good = _table("wide", 0)
    outputs = {name: tmp_path / f"{name}.csv" for name in boundary_summary.TABLES}
    uneven = good.assign(samples=good["samples"].where(good.index > 0, SAMPLES - 1))
    for bad, words in ((good.iloc[1:], "every one of 40 pairs"), (uneven, "differ in their")):
        write_table(tmp_path / "bad.csv", bad)
        with pytest.raises(DataError, match=f"contaminated/grpo/wide: .*{words}"):
            boundary_summary.main(SPEC, {"tables": [tmp_path / "bad.csv"]}, outputs, QUIET)


def test_reading_says_what_the_tables_say(tables: dict[str, Path], tmp_path: Path) -> None:
    """Arms stand with their crossings and verdicts, and the control with its false alarms."""
    outputs = {"reading": tmp_path / "reading.json"}
    boundary_reading.main(told("boundary_reading"), tables, outputs, QUIET)
    found: dict[str, Any] = read_json(outputs["reading"])
    text = found["paragraphs"]["boundary"]
    assert "narrow (grpo) falls below its base at k = " in text
    assert f"wide (grpo) is nowhere below its base up to k = {SAMPLES}" in text
    # The base does not even count as covering itself: it is at the ceiling.
    assert f"show 0 of 28 such signatures; not decidable are 12 of 28 (12 x {CEILING})" in text
    assert f"not decidable in 4 of 8 (4 x {CEILING})" in text
    assert {row["reward"] for row in found["verdicts"]["crossing"]} == set(ARMS)
    with pytest.raises(DataError, match="Did you mean 'contaminated'"):
        spec = told("boundary_reading") | {"planted": "contaminatd"}
        boundary_reading.main(spec, tables, outputs, QUIET)


def test_figure_is_the_same_each_time(tables: dict[str, Path], tmp_path: Path) -> None:
    """Trained arms are drawn, and equal tables give equal bytes."""
    drawn = []
    for name in ("one", "two"):
        outputs = {kind: tmp_path / f"{name}.{kind}" for kind in ("svg", "png", "csv")}
        figure.main({}, tables, outputs, QUIET)
        drawn.append([path.read_bytes() for path in outputs.values()])
    assert drawn[0] == drawn[1]
    table = pd.read_csv(tmp_path / "one.csv")
    assert set(table["reward"]) == {"narrow", "wide"}
    base = table[(table["panel"] == "pass") & (table["source"] == "base")]
    assert base["value"].between(base["null_low"], base["null_high"]).all()
