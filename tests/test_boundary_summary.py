"""Summary, reading and figure of the capability boundary, from tables with planted effects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from told_fixture import summary as told

from paradox.errors import DataError
from paradox.files import read_json, write_table
from paradox.mechanisms.boundary import figure
from paradox.mechanisms.boundary import reading as boundary_reading
from paradox.mechanisms.boundary import summary as boundary_summary
from paradox.mechanisms.boundary.summary import Settings, p_values
from paradox.mechanisms.tables.verdict import NOT, OPEN, REPRODUCED
from paradox.progress import Progress
from paradox.stats.bootstrap import Resampling
from paradox.stats.passk import pass_at_k, powers

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


def _table(reward: str, seed: int) -> pd.DataFrame:
    """Return a table of step ``boundary``; right answers and worked ones have the same rates."""
    rates, own, sharp = ARMS[reward]
    rng = np.random.default_rng([len(reward), seed])
    same = np.random.default_rng(7)  # the base's samples are those of all arms
    rows = []
    for group in ("exposed", "twin"):
        for pair in range(PAIRS):
            rate = rates[pair % 2]
            by_source = {
                "base": (same.binomial(SAMPLES, 0.15), 0.5),
                "after": (rng.binomial(SAMPLES, rate), own),
                "matched": (rng.binomial(SAMPLES, rate), np.nan),
                "sharpened": (rng.binomial(SAMPLES, 0.15), sharp),
                "cold": (rng.binomial(SAMPLES, 0.15), 0.4),
            }
            for source, (right, quantile) in by_source.items():
                row = {"base": "contaminated", "method": "base" if reward == "none" else "grpo"}
                row |= {"reward": reward, "seed": seed, "step": 8, "item": f"{group}{pair}"}
                row |= {"group": group, "exposure": 128, "pair": f"p{pair}", "source": source}
                row |= {"temperature": 1.0, "samples": SAMPLES, "right": right, "worked": right}
                row |= {"tokens": 10.0, "entropy": 0.2, "nll": 0.3}
                for n, name in enumerate(boundary_summary.QUANTILES):
                    # Not every item has wrong samples.
                    gone = n == 2 and pair == 0
                    row[name] = np.nan if gone else quantile + 0.1 * rng.standard_normal()
                rows.append(row)
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The summary of all arms, two seeds of each trained one."""
    folder = tmp_path_factory.mktemp("summary")
    paths = []
    for reward in ARMS:
        for seed in (0,) if reward == "none" else (0, 1):
            paths.append(folder / f"{reward}{seed}.csv")
            write_table(paths[-1], _table(reward, seed))
    outputs = {name: folder / f"{name}.csv" for name in boundary_summary.TABLES}
    boundary_summary.main(SPEC, {"tables": paths}, outputs, QUIET)
    return outputs


def _verdict(tables: dict[str, Path], signature: str, reward: str) -> set[str]:
    found = pd.read_csv(tables["verdicts"]).query("signature == @signature and reward == @reward")
    return set(found["verdict"])


def test_planted_signatures_are_found_and_others_are_not(tables: dict[str, Path]) -> None:
    """Each arm has the signatures that were put in; a base against itself has none."""
    want: dict[str, tuple[set[str], set[str]]] = {
        "crossing": ({"narrow"}, {"wide"}),
        "matched_below": ({"narrow"}, {"wide"}),
        "above_all": ({"wide"}, {"narrow"}),
        "low_perplexity": ({"narrow"}, {"wide"}),
    }
    for signature, (shown, refuted) in want.items():
        for reward in ARMS:
            found = _verdict(tables, signature, reward)
            assert (found == {REPRODUCED}) == (reward in shown), (signature, reward)
            assert found == {NOT} or reward not in refuted
            assert found <= {NOT, OPEN, REPRODUCED}


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
    assert rows["detectable"].gt(0).all()


def test_permuted_labels_give_nominal_rates() -> None:
    """Base and arm swapped within items are told apart in 5 % of relabellings."""
    rng = np.random.default_rng(3)
    rates = np.stack([rng.beta(0.3, 1, PAIRS), rng.beta(2, 1, PAIRS)])
    ks = powers(SAMPLES)
    base, after = (
        pass_at_k(rng.binomial(SAMPLES, of[:, None]), SAMPLES, ks).swapaxes(1, 2) for of in rates
    )
    settings = Settings(Resampling(0, 50), 199, 0.05, 1 / 13)
    whole = p_values(after, base, np.zeros(PAIRS, dtype=bool), settings)
    assert whole["first"] < 0.05 and whole["any"] < 0.05
    runs = 300
    swapped = rng.integers(0, 2, (runs, PAIRS)) == 1
    found = pd.DataFrame(
        [p_values(after, base, of, settings, run) for run, of in enumerate(swapped)]
    )
    hits = (found <= 0.05).sum()
    low, high = stats.binom.ppf([0.001, 0.999], runs, 0.05)
    for name in ("first", "last", "any"):
        assert low <= hits[name] <= high, name
    assert hits["crossing"] <= high


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
        write_table(tmp_path / "cooled.csv", table)
        outputs = {name: tmp_path / f"{name}.csv" for name in boundary_summary.TABLES}
        boundary_summary.main(SPEC, {"tables": [tmp_path / "cooled.csv"]}, outputs, QUIET)
        assert _verdict(outputs, signature, "narrow") == {OPEN}


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
    assert "show 0 of 16 such signatures" in text
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
