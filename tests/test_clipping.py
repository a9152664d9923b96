"""The study of clipping: measures, planted drifts, false positives, errors."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import clipping_fixture as fabricated
import numpy as np
import pandas as pd
import pytest
import yaml
from clipping_fixture import METHODS, SEEDS, SPEC, outputs, write_study
from scipy import stats

from paradox.errors import DataError
from paradox.mechanisms.clipping import figure
from paradox.mechanisms.clipping import summary as clipping
from paradox.mechanisms.clipping.bias import Method
from paradox.mechanisms.clipping.drift import agreement, blocks, drift, read_curves, toward_prior
from paradox.mechanisms.clipping.reading import reading
from paradox.progress import Progress
from paradox.report.blocks import clipping_block
from paradox.stats.signs import flip_test, seed_mean, sign_test
from paradox.study.clipping import clipping_base, clipping_runs, clipping_spec
from paradox.study.plan import Study

ROOT = Path(__file__).parents[1]
QUIET = Progress("test", streams=(open("/dev/null", "w"),))

# --- measures -----------------------------------------------------------------------------


def test_each_seed_has_its_own_samples_of_the_base() -> None:
    base = np.arange(32.0).reshape(2, 16)
    parts = blocks(base, 5)
    assert [part.shape for part in parts] == [(2, 3)] * 5
    assert len({value for part in parts for value in part.flat}) == 30
    with pytest.raises(DataError, match="9 seeds need"):
        blocks(base[:, :8], 9)


def test_drift_toward_the_prior_by_hand() -> None:
    # Two items, 4 samples: the first half gives the sides (+, -), the other the change.
    base = np.array([[1, 1, 1, 0], [0, 0, 1, 0]], dtype=float)
    after = np.array([[1.0, 0.5], [0.0, 0.25]])
    # Seed 0: item 0 +(1 - 1), item 1 -(0 - 1); seed 1: +(.5 - 0), -(.25 - 0).
    assert toward_prior(base, after).tolist() == [0.5, 0.125]
    assert drift(base, after).tolist() == [0.5 - 0.5, 0.375 - 0.5]


def test_agreement_of_halves() -> None:
    assert agreement(np.array([[1, 1, 1, 1], [0, 0, 1, 1], [1, 0, 1, 1]], dtype=float)) == 0.5


STUDIES = 400
SHARES = np.random.default_rng(5).uniform(0.35, 0.65, 128)


def _simulated(number: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a base's samples and shares after 8 trainings that move all items at random."""
    rng = np.random.default_rng([9, number])
    base = (rng.random((len(SHARES), 16)) < SHARES[:, None]).astype(float)
    moved = np.clip(SHARES[:, None] + rng.normal(0, noise, len(SEEDS)), 0, 1)
    return base, rng.binomial(16, moved) / 16


def _limit(chance: float) -> float:
    """The most rejections that a test of this size gives with a probability of .999."""
    return float(stats.binom.ppf(0.999, STUDIES, chance))


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("measure", [toward_prior, drift])
def test_no_drift_gives_nominal_false_positives(measure: Any, noise: float) -> None:
    values = np.array([measure(*_simulated(number, noise)) for number in range(STUDIES)])
    means = values.mean(axis=1)
    assert abs(means.mean()) < 4 * means.std() / math.sqrt(STUDIES)
    signs = sum(sign_test(row).p <= 0.05 for row in values)
    flips = sum(flip_test(row) <= 0.05 for row in values)
    missed = sum(not seed_mean(row).low <= 0 <= seed_mean(row).high for row in values)
    # 8 seeds: 2 of 256 patterns of signs, 12 of 256 flips.
    assert signs <= _limit(2 / 256)
    assert flips <= _limit(12 / 256)
    assert stats.binom.ppf(0.001, STUDIES, 0.05) <= missed <= _limit(0.05)


def test_what_the_splits_are_for() -> None:
    """The same measures without the splits find drifts that are not there."""
    shared, biased = [], []
    for number in range(100):
        base, after = _simulated(number, 0.0)
        shared.append(sign_test(after.mean(axis=0) - base.mean()).p <= 0.05)
        before = base.mean(axis=1)
        side = np.sign(before - 0.5)[:, None]
        biased.append((side * (after - before[:, None])).mean())
    assert sum(shared) > 10 * 100 * 2 / 256
    assert np.mean(biased) < -0.02


def test_curves_weigh_rows_by_updates(tmp_path: Path) -> None:
    table = fabricated._curves({"method": "grpo_onpolicy", "reward": "random", "seed": 0}, 0.0)
    table["band/probability"] = table["step"] / 100
    table["band/below_neg_high"] = 0.25
    table.to_csv(tmp_path / "train.csv", index=False)
    found = read_curves(tmp_path / "train.csv", 4)
    assert found.change["probability"] == pytest.approx(0.145 - 0.025)
    assert found.shares["below_neg_high"] == pytest.approx(4.0)
    # Rows of four updates each count four times.
    table[table["step"] % 4 == 0].to_csv(tmp_path / "train.csv", index=False)
    found = read_curves(tmp_path / "train.csv", 4)
    assert found.change["probability"] == pytest.approx(0.16 - 0.04)
    assert found.shares["below_neg_high"] == pytest.approx(4.0)
    assert found.share("below", "high") == pytest.approx(4.0)
    table.assign(entropy=np.nan).to_csv(tmp_path / "train.csv", index=False)
    with pytest.raises(DataError, match=r"entropy.*16 fields"):
        read_curves(tmp_path / "train.csv", 4)


# --- the step -----------------------------------------------------------------------------


def run(folder: Path, planted: dict[str, float], noise: float) -> tuple[pd.DataFrame, dict]:
    made = outputs(folder)
    clipping.main(SPEC, write_study(folder, planted, noise), made, QUIET)
    table = pd.read_csv(made["table"], keep_default_na=False, na_values=[""])
    return table, json.loads(made["reading"].read_text())


def row(table: pd.DataFrame, method: str, measure: str, against: str = "") -> pd.Series:
    chosen = (table["method"] == method) & (table["measure"] == measure)
    chosen &= (table["against"].fillna("") == against) & (table["seed"] == "all")
    assert chosen.sum() == 1
    return table[chosen].iloc[0]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, dict]:
    folder = tmp_path_factory.mktemp("planted")
    return run(folder, {"grpo": 0.08, "grpo_tightclip": 0.12}, noise=0.01)


@pytest.fixture(scope="module")
def none(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, dict]:
    return run(tmp_path_factory.mktemp("none"), {}, noise=0.1)


def test_the_page_quotes_the_primaries(planted: tuple[pd.DataFrame, dict]) -> None:
    table, said = planted
    lines = clipping_block(table, said["text"]).split("\n")
    own = row(table, "grpo_tightclip", "direct")
    mean = f"{own['value']:+.3f} [{own['low']:+.3f}, {own['high']:+.3f}]"
    assert any(line.startswith(f"| `grpo_tightclip` | `direct` | {mean} |") for line in lines)
    # Each method, and each less those before it, times the primaries.
    assert sum(line.startswith("| `") for line in lines) == 3 * (4 + 3 + 2 + 1)
    assert " ".join(lines).strip().endswith(said["text"])


def test_planted_drift_is_found_with_its_sign(planted: tuple[pd.DataFrame, dict]) -> None:
    table, said = planted
    low, high = (row(table, "grpo_noclip", "toward_prior")[end] for end in ("low", "high"))
    assert low < 0 < high
    for method, size in (("grpo", 0.08), ("grpo_tightclip", 0.12)):
        found = row(table, method, "toward_prior")
        # Of 8 samples of a share of .2, 4.6 % stand at one half and 1 % on the wrong side.
        assert found["low"] < 0.93 * size < found["high"]
        assert found["value"] == pytest.approx(0.93 * size, abs=0.03)
        assert (found["positive"], found["negative"], found["predicted"]) == (8, 0, 1)
        assert found["sign_p"] == pytest.approx(2 / 256)
        assert found["holm_p"] <= 0.05 and found["detectable"] == pytest.approx(0.972, abs=1e-3)
        assert said["verdicts"][method] == "supported"
    assert row(table, "grpo_noclip", "toward_prior", "grpo")["value"] < -0.02
    assert row(table, "grpo_noclip", "toward_prior", "grpo")["predicted"] == -1
    assert row(table, "grpo_tightclip", "toward_prior", "grpo")["predicted"] == 1
    assert row(table, "grpo_onpolicy", "toward_prior", "grpo_noclip")["predicted"] == 0
    assert "further than under grpo_noclip and grpo_onpolicy" in said["text"]
    assert row(table, "grpo", "entropy")["value"] == pytest.approx(-0.08 * 12 / 16, abs=0.01)


def test_a_drift_the_other_way_is_not_support(tmp_path: Path) -> None:
    table, said = run(tmp_path, {"grpo": -0.08}, noise=0.0)
    assert row(table, "grpo", "toward_prior")["negative"] == 8
    assert said["verdicts"]["grpo"] == "opposite"
    assert "drift toward the prior and" in said["text"]
    assert "drifted against the prediction" in said["text"]


def test_a_drift_of_all_methods_is_not_clippings(tmp_path: Path) -> None:
    _, said = run(tmp_path, dict.fromkeys(METHODS, 0.08), noise=0.0)
    assert set(said["verdicts"].values()) == {"drift"}
    assert "does not need clipping" in said["text"]
    assert "not shown to differ from grpo_noclip and grpo_onpolicy" in said["text"]


def test_noise_is_read_as_noise(none: tuple[pd.DataFrame, dict]) -> None:
    table, said = none
    assert set(said["verdicts"].values()) == {"none"}
    assert "what a weak drift by clipping would look like" in said["text"]
    base = row(table, "base", "direct")["value"]
    expected = math.sqrt(base * (1 - base) / (2 * fabricated.ITEMS * 16))
    assert row(table, "base", "direct_error")["value"] == pytest.approx(expected)
    assert row(table, "grpo", "direct")["low"] < 0 < row(table, "grpo", "direct")["high"]


def test_a_base_near_one_half_predicts_no_direction() -> None:
    error = {"direct_error": 0.006}
    assert "direct" not in clipping.predicted({"direct": 0.504} | error)
    assert clipping.predicted({"direct": 0.515} | error)["direct"] == 1
    assert clipping.predicted({"direct": 0.485} | error)["direct"] == -1


def test_shares_and_bias(none: tuple[pd.DataFrame, dict]) -> None:
    table, _ = none
    # .001 of the tokens in 6 of 8 kinds over 16 updates.
    assert row(table, "grpo", "below_pos_high")["value"] == pytest.approx(0.016)
    assert row(table, "grpo", "above_pos_high")["value"] == 0
    assert math.isnan(row(table, "grpo", "below_pos_high")["sign_p"])
    assert row(table, "grpo", "outside")["value"] == pytest.approx(0.006)
    strength = row(table, "base", "mu")["value"]
    assert row(table, "grpo", "bias")["value"] == pytest.approx(strength * 0.002)
    assert row(table, "grpo", "bias_low")["value"] == pytest.approx(0, abs=1e-12)
    # The same tokens leave the band of .2 where there is no clip, and nothing pushes them.
    assert row(table, "grpo_noclip", "outside")["value"] == pytest.approx(0.006)
    assert row(table, "grpo_noclip", "bias")["value"] == 0
    unclipped = row(table, "grpo_onpolicy", "bias")
    assert (unclipped["ties"], unclipped["sign_p"]) == (8, 1)


def test_holm_is_over_the_primaries_of_a_method(planted: tuple[pd.DataFrame, dict]) -> None:
    table, _ = planted
    primary = table[(table["seed"] == "all") & table["primary"]]
    assert set(primary["measure"]) == set(clipping.PRIMARY)
    for _, rows in primary.groupby(["method", "against"], dropna=False):
        assert rows["holm_p"].min() == pytest.approx(min(1, 3 * rows["sign_p"].min()))
    others = table[(table["seed"] == "all") & ~table["primary"]]
    assert others["holm_p"].isna().all()
    # 4 methods and 6 pairs, each seed and "all".
    counts = table[table["method"] != "base"].groupby("measure").size()
    assert (counts == 10 * (len(SEEDS) + 1)).all()


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    inputs = write_study(tmp_path, {"grpo": 0.05}, 0.01)
    texts = []
    for name in "ab":
        made = outputs(tmp_path / name)
        clipping.main(SPEC, inputs, made, QUIET)
        texts.append([path.read_bytes() for path in made.values()])
    assert texts[0] == texts[1]


def test_reading_says_when_a_primary_has_no_direction(none: tuple[pd.DataFrame, dict]) -> None:
    table, said = none
    assert "too near one half" not in said["text"]
    methods = [Method(**how) for how in SPEC["methods"]]
    aimless = table["measure"].eq("direct") & table["against"].isna()
    table = table.assign(predicted=table["predicted"].mask(aimless, 0))
    # Even a drift of one sign then speaks for no account.
    table = table.assign(holm_p=table["holm_p"].mask(aimless, 0.01))
    found = reading(table, methods, clipping.PRIMARY)
    assert "too near one half to predict a direction for the share of direct" in found["text"]
    assert found["verdicts"]["grpo"] == "none"
    assert found["verdicts"]["grpo_noclip"] == "drift"


# --- figure and plan ----------------------------------------------------------------------


def test_figure_draws_the_tables_numbers(tmp_path: Path) -> None:
    run(tmp_path, {"grpo": 0.08}, noise=0.01)
    table = tmp_path / "clipping.csv"
    drawn = []
    for name in "ab":
        made = {end: tmp_path / name / f"clipping.{end}" for end in ("svg", "png", "csv")}
        figure.main({}, {"table": table}, made, QUIET)
        drawn.append([path.read_bytes() for path in made.values()])
    assert drawn[0] == drawn[1]
    plotted, whole = pd.read_csv(made["csv"]), pd.read_csv(table)
    drifts = plotted[plotted["panel"] == "drift"]
    assert list(dict.fromkeys(drifts["measure"])) == clipping.PRIMARY
    assert len(drifts) == len(clipping.PRIMARY) * len(METHODS) * (len(SEEDS) + 1)
    shares = plotted[(plotted["panel"] == "share") & (plotted["method"] == "grpo")]
    # The fixture's .001 of an update's tokens, not the sum over the run.
    assert shares.set_index("measure")["value"]["below_pos_low"] == pytest.approx(0.001)
    factors = plotted[plotted["panel"] == "factor"]
    strength = whole.loc[whole["measure"] == "mu", "value"].iloc[0]
    low, high = (factors[factors["measure"] == f"factor_{name}"] for name in ("low", "high"))
    assert (low["value"].max(), low["value"].min()) == (strength, -strength)
    assert (high["value"].max(), high["value"].min()) == (strength, 0)
    assert high["x"].max() == pytest.approx(1 / 0.9)


def test_plan_takes_methods_that_differ_in_clipping_only() -> None:
    methods = ["grpo", "grpo_noclip", "dr_grpo", "grpo_onpolicy", "rloo", "grpo_v32"]
    arms = {"methods": methods, "rewards": ["random", "format"], "seeds": [0, 3]}
    given = yaml.safe_load((ROOT / "config/config.yaml").read_text()) | {"scale": "tiny"}
    study = Study.load(given | {"arms": given["arms"] | arms}, ROOT)
    spec = json.loads(clipping_spec(study))
    assert [how["name"] for how in spec["methods"]] == [methods[i] for i in (0, 1, 3)]
    assert [how["epsilon"] for how in spec["methods"]] == [0.2, 1e8, 0.2]
    assert [how["updates_per_rollout"] for how in spec["methods"]] == [4, 4, 1]
    assert (spec["seeds"], spec["base"], spec["group"]) == ([0, 3], "contaminated", 8)
    assert (spec["gamma"], spec["exposed_from"]) == (0.5, 128)
    runs = clipping_runs(study, "train.csv")
    assert len(runs) == 6 and runs[0].endswith("runs/contaminated/grpo/random/s0/train.csv")
    assert clipping_base(study, "x") == ["results/tiny/runs/contaminated/base/none/s0/x"]


def test_plan_without_such_arms_is_empty() -> None:
    given = yaml.safe_load((ROOT / "config/config.yaml").read_text()) | {"scale": "tiny"}
    study = Study.load(given | {"arms": given["arms"] | {"rewards": ["format"]}}, ROOT)
    assert clipping_spec(study) == "{}"
    assert clipping_runs(study, "x") == clipping_base(study, "x") == []


# --- errors -------------------------------------------------------------------------------


def test_missing_methods_and_seeds_are_all_named(tmp_path: Path) -> None:
    inputs = write_study(tmp_path, {})
    dropped = "contaminated/grpo_noclip/random/s3"
    for name in ("evaluations", "curves"):
        inputs[name] = [path for path in inputs[name] if dropped not in str(path)]
    more = {"name": "grpo_tigthclip"} | METHODS["grpo"]
    spec = SPEC | {"methods": [*SPEC["methods"], more]}
    with pytest.raises(DataError) as caught:
        clipping.main(spec, inputs, outputs(tmp_path), QUIET)
    text = str(caught.value)
    assert f"{dropped}: no results" in text
    assert "grpo_tigthclip" in text and "Did you mean 'grpo_tightclip'?" in text


def test_missing_or_old_curves_are_named(tmp_path: Path) -> None:
    inputs = write_study(tmp_path, {})
    made = outputs(tmp_path)
    fewer = [path for path in inputs["curves"] if "grpo/random/s1" not in str(path)]
    with pytest.raises(DataError, match=r"grpo/random/s1/train.csv: found 0, needed 1"):
        clipping.main(SPEC, inputs | {"curves": fewer}, made, QUIET)
    old = inputs["curves"][0]
    pd.read_csv(old).drop(columns="band/probability").to_csv(old, index=False)
    with pytest.raises(DataError, match=r"s0/train.csv(.|\n)*column 'band/probability'"):
        clipping.main(SPEC, inputs, made, QUIET)


def test_samples_of_another_base_are_refused(tmp_path: Path) -> None:
    inputs = write_study(tmp_path, {})
    samples = pd.read_parquet(inputs["samples"])
    kept = inputs["samples"].with_name("kept.parquet")
    shutil.copy(inputs["samples"], kept)
    flipped = samples.assign(mode=samples["mode"].replace({"recall": "reason"}))
    flipped.to_parquet(inputs["samples"])
    with pytest.raises(DataError, match="of different runs"):
        clipping.main(SPEC, inputs, outputs(tmp_path), QUIET)
    pd.read_parquet(kept).iloc[:-1].to_parquet(inputs["samples"])
    with pytest.raises(DataError, match="1 items lack samples"):
        clipping.main(SPEC, inputs, outputs(tmp_path), QUIET)
