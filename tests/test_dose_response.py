"""Steering over all arms: effects that are planted, error rates, and trade-offs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from told_fixture import summary as told

from paradox.mechanisms.decontamination import figure as trade_figure
from paradox.mechanisms.decontamination import reading as trade_reading
from paradox.mechanisms.decontamination import summary as tradeoff
from paradox.mechanisms.decontamination.summary import at_half
from paradox.mechanisms.steering import figure
from paradox.mechanisms.steering import reading as steering_reading
from paradox.mechanisms.steering import summary as dose_response
from paradox.mechanisms.steering.summary import (
    NOT_STEERED,
    Side,
    at_some_block,
    both_above,
    unchanged,
    whole_curves,
)
from paradox.mechanisms.tables.verdict import CEILING, FLOOR, NO_GAP, TOO_FEW, WIDE
from paradox.progress import Progress
from paradox.stats.crossed import mean
from paradox.stats.layers import max_test
from paradox.stats.rates import false_positives

DOSES = [0.2, 0.5, 1, 2, 3]
LAYERS, SETS, PAIRS = 3, 40, 12
BASE, CLEAN = ("contaminated", "base", "none"), ("clean", "base", "none")
ARM = ("contaminated", "grpo", "format")
KEY = ["base", "method", "reward"]


@pytest.fixture(scope="module")
def items() -> pd.DataFrame:
    rows = []
    for n in range(2 * PAIRS):
        exposure = 16 if n < PAIRS else 128
        for group, name in (("exposed", f"e{n}"), ("twin", f"t{n}")):
            seen = exposure if group == "exposed" else 0
            rows.append([name, group, seen, 0, f"p{n}", "1 + 1", "2", " 2", "organism"])
    names = ["item", "group", "exposure", "worked_documents", "pair", "question", "answer"]
    return pd.DataFrame(rows, columns=[*names, "worked", "source"])


def arm_tables(items: pd.DataFrame, arm: tuple[str, ...], up: float, down: float) -> Any:
    """Return the tables of one arm in which block 1 steers exposed items by so much."""
    rng = np.random.default_rng(len("".join(arm)))
    key = dict(zip(KEY, arm, strict=True)) | {"seed": 0, "step": 0}
    rows, sets, side = [], [], []
    usual = {row.item: 5.0 * (row.group == "exposed") for row in items.itertuples()}
    for layer in range(LAYERS):
        for row in items.itertuples():
            own = layer == 1 and row.group == "exposed"
            noise = rng.normal(size=2)
            for dose in DOSES:
                slope = (up if dose > 1 else down) * own + 0.1 * noise[int(dose > 1)]
                change = slope * abs(dose - 1)
                about = {"item": row.item, "group": row.group, "exposure": row.exposure}
                rows.append({**key, **about, "component": f"all:{dose:g}", "layer": layer})
                rows[-1] |= {"odds": usual[row.item] + change, "odds_change": change}
                rows[-1] |= {"logp_change": change / 9, "correct": 1.0 * own, "correct_change": 0.0}
        for number in range(-1, SETS):
            for dose in (0.2, 3.0):
                size = (up if dose > 1 else down) * (layer == 1) * (number == -1)
                gap = size * abs(dose - 1) + 0.02 * rng.normal()
                about = {"component": "all", "layer": layer, "set": number}
                for measure in ("odds", "logp", "correct"):
                    sets.append({**key, **about, "measure": measure, "dose": dose})
                    sets[-1] |= {"exposed": gap, "twin": 0.0}
            for measure in ("monotone", "switched"):
                sets.append({**key, **about, "measure": measure, "dose": np.nan})
                sets[-1] |= {"exposed": 0.5, "twin": 0.5}
            for dose in DOSES if number < 1 else ():
                for item in ("t1", "t2", "t3"):
                    about = {"what": "chain", "layer": layer, "set": number, "dose": dose}
                    loss = -0.1 * abs(dose - 1) - 0.01 * rng.random() * (dose != 1)
                    side.append({**key, **about, "item": item, "logp": loss, "correct": 1.0})
    return pd.DataFrame(rows), pd.DataFrame(sets), pd.DataFrame(side)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, items: pd.DataFrame) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("doses")
    items.to_csv(folder / "items.csv", index=False)
    inputs: dict[str, Any] = {"tables": [], "sets": [], "side": []}
    # The base is steered down only, the trained arm both ways, the clean base not at all.
    for arm, up, down in ((BASE, -0.5, -0.5), (ARM, 0.5, -0.5), (CLEAN, 0.0, 0.0)):
        for role, table in zip(inputs, arm_tables(items, arm, up, down), strict=True):
            inputs[role].append(folder / f"{'-'.join(arm)}-{role}.parquet")
            table.to_parquet(inputs[role][-1])
    rates = {"relabellings": 60, "permutations": 99, "exposures": [128], "sizes": [8]}
    spec = {"exposed_from": 128, "bootstrap": {"seed": 0, "resamples": 200}, "permutations": 500}
    spec |= {"bases": {"planted": "contaminated", "clean": "clean"}, "margin_share": 0.02}
    spec |= {"null_doses": [0.2, 3], "error_rates": rates | {"margin_share": 0.1}}
    outputs = {name: folder / f"{name}.csv" for name in ("doses", "tests", "side", "rates")}
    inputs["items"] = folder / "items.csv"
    dose_response.main(spec, inputs, outputs, Progress("dose_response"))
    return outputs


def test_only_steering_both_ways_is_reproduced(made: dict[str, Path]) -> None:
    tests = pd.read_csv(made["tests"])
    steered = tests[tests["signature"] == "steering: all"].set_index(["base", "method"])
    found = steered.loc[("contaminated", "grpo")]
    assert (found["verdict"], found["blocks"]) == ("reproduced", 1)
    assert found["down"] == pytest.approx(0.4, abs=0.1) and found["items"] == PAIRS
    assert found["up_p_sets"] <= 0.05 and found["down_p"] <= 0.05
    down_only = steered.loc[("contaminated", "base")]
    assert down_only["verdict"] == "not reproduced" and down_only["p"] > 0.5
    assert steered.loc[("clean", "base"), "verdict"] != "reproduced"
    assert steered["margin"].eq(0.02 * 5).all()
    arms = tests.groupby("signature")["base"].count()
    assert set(arms) == {3} and len(arms) == 5
    clean = tests[tests["signature"] == "steering_clean: all"].set_index(["base", "method"])
    assert clean.loc[("contaminated", "grpo"), "reason"] == WIDE
    assert clean.loc[("contaminated", "base"), "reason"] == NOT_STEERED


def side(values: np.ndarray, chosen: float, sets: int = 40, **more: Any) -> Side:
    """Return a side with these values (pairs, seeds, blocks), among random sets of nothing."""
    random = np.random.default_rng(1).normal(0, 0.01, (sets, values.shape[2]))
    against = max_test(np.full(values.shape[2], chosen), random, two_sided=False)
    return Side(mean(values, "pairs"), against, **{"margin": 0.1} | more)


def test_a_claim_holds_where_all_its_sides_do_at_one_block() -> None:
    noise = np.random.default_rng(0).normal(0, 0.03, (2, 24, 3, 4))
    up, down = noise
    up[..., 1] += 0.5
    assert at_some_block({"up": side(up, 0.5)}, [0, 1, 2, 3])["verdict"] == "reproduced"
    # The other side has its effect at another block.
    down[..., 2] += 0.5
    row = at_some_block({"up": side(up, 0.5), "down": side(down, 0.5)}, [0, 1, 2, 3])
    assert row["verdict"] == "not reproduced"
    down[..., 1] += 0.4
    both = {"up": side(up, 0.5), "down": side(down, 0.5)}
    row = at_some_block(both, [0, 1, 2, 3])
    assert (row["verdict"], row["blocks"]) == ("reproduced", "1")
    assert row["p"] >= 4 * row["down_p"] and row["replicates"] == 3
    # Random neurons do as much; too few of them are known; nothing could rise; the wrong sign.
    like_random = at_some_block({"up": side(up, 0.0)}, [0, 1, 2, 3])
    assert like_random["verdict"] == "not decidable"
    assert at_some_block({"up": side(up, 0.5, sets=9)}, [0, 1, 2, 3])["reason"] == TOO_FEW
    full = at_some_block({"up": side(up, 0.5, unable=CEILING)}, [0, 1, 2, 3])
    assert (full["verdict"], full["reason"]) == ("not decidable", CEILING)
    assert at_some_block({"up": side(-up, 0.5)}, [0, 1, 2, 3])["verdict"] == "not reproduced"
    small = at_some_block({"up": side(noise[0] + 0.0, 0.5, margin=0.8)}, [0, 1, 2, 3])
    assert small["verdict"] == "present but negligible"


def worked(loses: float, right: float = 1.0, chains: int = 200) -> pd.DataFrame:
    """Return chains of which a dose of 3 loses a share, and one of .2 hardly any."""
    rng = np.random.default_rng(2)
    usual = rng.random((chains, 3)) < right
    lost = {3.0: usual & (rng.random((chains, 3)) >= loses)}
    lost |= {1.0: usual, 0.2: usual & (rng.random((chains, 3)) >= 0.01)}
    columns = pd.MultiIndex.from_product([lost, range(3)], names=["dose", "seed"])
    return pd.DataFrame(np.hstack(list(lost.values())) * 1.0, columns=columns)


def test_no_effect_on_clean_questions_is_shown_and_not_assumed() -> None:
    ends = (3.0, 0.2)
    same = unchanged(worked(0.02), ends, 0.1, "")
    assert same["verdict"] == "reproduced" and same["effect"] == pytest.approx(0.08, abs=0.02)
    assert unchanged(worked(0.4), ends, 0.1, "")["verdict"] == "not reproduced"
    # Where nothing changes, the number of chains says how sure that is.
    assert unchanged(worked(0), (3.0, 3.0), 0.1, "")["verdict"] == "reproduced"
    assert unchanged(worked(0, chains=12), (3.0, 3.0), 0.1, "")["verdict"] == "not decidable"
    # A few chains leave it open, and what is never right cannot be lost.
    assert unchanged(worked(0.05, chains=12), ends, 0.1, "")["verdict"] == "not decidable"
    assert unchanged(worked(0.4, right=0.03), ends, 0.1, "")["reason"] == FLOOR
    assert unchanged(worked(0.02), ends, 0.1, NOT_STEERED)["reason"] == NOT_STEERED


def test_doses_stand_beside_random_sets(made: dict[str, Path]) -> None:
    doses = pd.read_csv(made["doses"])
    own = doses[(doses["method"] == "grpo") & (doses["measure"] == "odds_change")]
    own = own[(own["state"] == "after") & (own["contrast"] == "difference")]
    counted = own[own["exposure"] == "counted"].set_index(["dose", "layer"])
    assert counted.loc[(3, 1), "value"] == pytest.approx(1, abs=0.15)
    assert counted.loc[(3, 1), "corrected_sets"] == pytest.approx(1 / (SETS + 1))
    assert counted.loc[(3, 0), "corrected_sets"] > 1 / (SETS + 1)
    assert counted.loc[(2, 1), ["random", "p_sets"]].isna().all()
    assert set(own["exposure"]) == {"counted", "16", "128"}
    assert set(doses["measure"]) >= {"trend", "rise", "monotone", "switched", "logp_change"}


def test_side_effects_are_divided_by_only_where_there_are_any(made: dict[str, Path]) -> None:
    side = pd.read_csv(made["side"])
    chosen = side[(side["method"] == "grpo") & (side["neurons"] == "chosen") & (side["dose"] == 3)]
    row = chosen.set_index("layer").loc[1]
    assert row["value"] == pytest.approx(-0.205, abs=0.006)
    assert row["specificity"] == pytest.approx(1 / 9 / row["value"], rel=0.1)
    assert side[side["neurons"] == "random"]["specificity"].isna().all()


def test_error_rates_are_as_stated(made: dict[str, Path]) -> None:
    rates = pd.read_csv(made["rates"])
    false = rates[(rates["kind"] == "false_positive") & (rates["measure"] != "all")]
    assert set(false["measure"]) == {"intersection", "trend"}
    assert false["verdict"].ne("liberal").all()
    power = rates[(rates["kind"] == "power") & (rates["measure"] == "intersection")]
    assert power[power["method"] == "grpo"]["rate"].max() > 0.9
    assert power[power["method"] == "base"]["rate"].max() < 0.1


def test_the_intersection_rejects_no_more_often_than_stated() -> None:
    rng = np.random.default_rng(3)
    # One side always differs, the other never does: the worst case of an intersection.
    sides = rng.normal(size=(16, 2, 2))
    sides[:, 0, 0] += 6
    runs = rng.normal(size=(300, 16, 2, 2)) + np.array([[6, 0], [0, 0]])
    # p is twice the tail.
    assert both_above(runs, rng).mean() < 0.05
    assert false_positives(both_above, sides, 0, runs=200) < 20


def test_the_figure_shows_depth_doses_and_exposures(made: dict[str, Path], tmp_path: Path) -> None:
    outputs = {name: tmp_path / f"f.{name}" for name in ("svg", "png", "csv")}
    inputs = {name: made[name] for name in ("doses", "tests")}
    figure.main({}, inputs, outputs, Progress("figure"))
    drawn = pd.read_csv(outputs["csv"])
    assert set(drawn["row"]) == {"depth", "dose", "exposure"} and outputs["svg"].stat().st_size


# --- decontamination ----------------------------------------------------------------------


def arm_trade(arm: tuple[str, ...], keeps: float, remembers: bool = True) -> pd.DataFrame:
    """Return a table in which neurons remove dose / 4 of memory, random ones a tenth of that.

    Of the chains, neurons leave a share `keeps` at the largest dose.
    """
    rng, rows = np.random.default_rng(0), []
    shares = {"none": 0.0, "neurons": 1.0, "random": 0.1}
    for way, share in shares.items():
        for dose in (1, 2, 3) if way != "none" else (0,):
            key = dict(zip(KEY, arm, strict=True)) | {"seed": 0, "way": way, "dose": float(dose)}
            key |= {"alpha": 0.0 if way != "none" else 1.0}
            for n in range(20):
                size = (1 - share * dose / 4) * 2 * remembers + 0.01 * rng.normal()
                lost = way == "neurons" and n < round(20 * (1 - keeps) * dose / 3)
                for what, item, group, logp, correct in (
                    ("recall", f"e{n}", "exposed", size - 2.5, 1),
                    ("recall", f"t{n}", "twin", -2.5, 0),
                    ("at_once", f"e{n}", "exposed", -1, 0),
                    ("at_once", f"t{n}", "twin", -1, 0),
                    ("chain", f"t{n}", "twin", -1, 1 - lost),
                    ("text", f"d{n}", None, -1 - 0.1 * (way == "neurons") * dose, 0),
                ):
                    row = {"what": what, "item": item, "group": group, "logp": logp}
                    rows.append({**key, **row, "pair": f"p{n}", "correct": correct})
    return pd.DataFrame(rows)


def test_trade_offs(made: dict[str, Path], tmp_path: Path) -> None:
    paths = []
    for arm, keeps, remembers in ((BASE, 1, True), (ARM, 0, True), (CLEAN, 1, False)):
        paths.append(tmp_path / f"{'-'.join(arm)}.parquet")
        arm_trade(arm, keeps, remembers).to_parquet(paths[-1])
    spec = {"bootstrap": {"seed": 0, "resamples": 300}, "margin_share": 0.3}
    outputs = {name: tmp_path / f"{name}.csv" for name in ("points", "half")}
    tradeoff.main(spec, {"tables": paths}, outputs, Progress("tradeoff"))
    points = pd.read_csv(outputs["points"]).set_index(["base", "method", "way", "dose"])
    own = points.loc[("contaminated", "grpo", "neurons")]
    np.testing.assert_allclose(own["removed"], [0.25, 0.5, 0.75], atol=0.01)
    np.testing.assert_allclose(own["chain"], [0.35, 0.65, 1], atol=1e-9)
    np.testing.assert_allclose(own["text"], [0.1, 0.2, 0.3], atol=1e-9)
    assert own["corrected"].max() <= 0.05
    assert points.loc["clean", "removed"].isna().all()
    table = pd.read_csv(outputs["half"]).set_index(["base", "method", "way"])
    half, clean = table["verdict"], table.loc[("clean", "base", "neurons")]
    assert half[("contaminated", "base", "neurons")] == "reproduced"
    assert half[("contaminated", "grpo", "neurons")] == "not reproduced"
    assert half[("contaminated", "base", "random")] == "not reproduced"
    assert (clean["verdict"], clean["reason"]) == ("not decidable", NO_GAP)
    assert table.loc[("contaminated", "base", "neurons"), "tried"] == 3
    drawn = {name: tmp_path / f"f.{name}" for name in ("svg", "png", "csv")}
    trade_figure.main({}, {"points": outputs["points"]}, drawn, Progress("figure"))
    assert pd.read_csv(drawn["csv"]).groupby("base")["removed"].count()["clean"] == 0
    inputs = {name: made[name] for name in ("doses", "tests", "side")}
    reading = {"reading": tmp_path / "reading.json"}
    steering_reading.main(told("steering_reading"), inputs, reading, Progress("reading"))
    words = json.loads(reading["reading"].read_text())["paragraphs"]
    trade_reading.main(told("decontamination_reading"), outputs, reading, Progress("reading"))
    said = json.loads(reading["reading"].read_text())
    words |= said["paragraphs"]
    assert len(said["verdicts"]["decontamination"]) == len(half)
    assert "reproduced for contaminated base, format (grpo) (block 1," in words["steering"]
    assert "Where nothing was planted: not" in words["steering"]
    assert "neurons at alpha 0 +0.6" in words["decontamination"]
    assert "random at alpha 0 removes +0.07" in words["decontamination"]
    assert "In clean base, untrained: no gap" in words["decontamination"]


def test_half_is_between_doses() -> None:
    removed = np.array([[0.4, 0.6], [0.6, 0.2], [0.1, 0.3]])
    cost = np.array([[1.0, 2.0], [1.0, 0.0], [5.0, 5.0]])
    np.testing.assert_allclose(at_half(removed, cost), [1.5, 5 / 6, np.nan])


def test_curves_of_items_are_of_all_doses(items: pd.DataFrame) -> None:
    table = arm_tables(items, ARM, 0.5, -0.5)[0]
    whole = whole_curves(table, [0.2, 3]).set_index(["item", "layer"])
    assert whole.loc[("e1", 1), "trend"] == pytest.approx(1)
    assert whole.loc[("e1", 1), "rise"] == pytest.approx(1.4, abs=0.6)
    assert whole.loc[("e1", 1), ["monotone", "switched"]].tolist() == [1, 0]
