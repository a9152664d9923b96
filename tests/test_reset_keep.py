"""Reset and keep: against whole passes, planted changes, and the tests of their summary."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from families import FAMILIES, tiny
from test_rerun import made
from told_fixture import summary as told

from paradox.mechanisms.model.access import Access
from paradox.mechanisms.model.recalls import Recall
from paradox.mechanisms.model.weights import ATTENTION, BOTH, MLP, REST, Change, Mix, Unit
from paradox.mechanisms.reset_keep import figure
from paradox.mechanisms.reset_keep import measure as reset_keep
from paradox.mechanisms.reset_keep.block_sets import (
    How,
    Sets,
    above_zero,
    best_of,
    detectable,
    read_sets,
)
from paradox.mechanisms.reset_keep.reading import paragraph
from paradox.mechanisms.reset_keep.reweighted import MEASURES, Variant, outcomes, variant
from paradox.mechanisms.reset_keep.summary import (
    ANCHOR,
    ANCHOR_SETS,
    WINDOW,
    anchor,
    arm_rows,
    over_sets,
)
from paradox.mechanisms.tables.pairs import Groups
from paradox.models import load_model, load_tokenizer, save_model
from paradox.progress import Progress
from paradox.provenance.manifest import write_manifest
from paradox.seeds import keyed_rng
from paradox.stats.bootstrap import Resampling
from paradox.tasks import load_task


def alone(change: Change, one: Variant, prompt: Recall, scaffold: int) -> list[float]:
    """Return the measures of one item by a whole pass of the whole model."""
    mixes: dict[Unit, Any] = dict(zip(change.every, [*one.units, one.rest], strict=True))
    ids = prompt.prompt + prompt.gold
    with change.mixed(mixes), torch.no_grad():
        logits = change.model(input_ids=torch.tensor([ids[:-1]]), use_cache=False).logits[0]
    logp = logits.log_softmax(-1)
    scored = [float(logp[n - 1, ids[n]]) for n in range(1, len(ids))]
    answer, first = len(prompt.gold), len(prompt.prompt) - 1
    right = logits[first:].argmax(-1).tolist() == prompt.gold
    return [
        float(np.mean(scored[-answer:])),
        float(np.mean(scored[-answer - scaffold : -answer])),
        float(right),
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_shared_passes_equal_whole_ones(family: str) -> None:
    base = tiny(family)
    change = Change(base, tiny(family, seed=1))
    prompts, scaffolds = made([6, 8, 5], answers=2), [2, 1, 3]
    variants = [
        variant(change, 0.0),
        variant(change, 1.0),
        variant(change, 0.0, change.units(MLP, [1]), Mix(1.0)),
        variant(change, 1.0, change.units(ATTENTION, [0, 2]), Mix(-0.5)),
        variant(change, 1.0, change.units(BOTH, [2]), Mix(1.0, -1.0, ("x",))),
        variant(change, 0.0, [REST], Mix(1.0)),
    ]
    assert [one.rest for one in variants] == [0, 1, 0, 1, 1, 1]
    found = outcomes(Access(base), change, variants, prompts, scaffolds, 2)
    for one, (row, prompt) in itertools.product(variants, enumerate(prompts)):
        expected = alone(change, one, prompt, scaffolds[row])
        np.testing.assert_allclose(found[one][:, row], expected, atol=2e-4, rtol=2e-4)


@pytest.fixture()
def planted(task_spec: dict[str, Any], tiny_checkpoint: Path, tmp_path: Path) -> Any:
    """Return the inputs of an arm whose training changed the MLP of block 1 only."""
    first = next(path.parent for path in tiny_checkpoint.rglob("config.json"))
    model, tokenizer = load_model(first), load_tokenizer(first)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.model.layers[1].mlp.parameters():
            parameter += 0.5 * torch.randn_like(parameter)
    save_model(model, tokenizer, tmp_path / "arm" / "step")
    write_manifest(tmp_path / "arm" / "manifest.json", {4: tmp_path / "arm" / "step"}, {})
    load_task(task_spec).items(0).to_csv(tmp_path / "items.csv", index=False)
    arm = {"base": "b", "method": "grpo", "reward": "format", "seed": 0}
    how = {"batch_size": 3, "dtype": "float32", "widths": [1, 2], "doses": [0.5], "sets": 9}
    spec = {"arm": arm, "task": task_spec, "seed": 0, "exposed_from": 16}
    spec["reset_keep"] = how | {"pairs": 3, "dose_pairs": 2}
    inputs = {"manifest": tmp_path / "arm" / "manifest.json", "items": tmp_path / "items.csv"}
    inputs["base"] = tiny_checkpoint / "manifest.json"
    return spec, inputs, {n: tmp_path / f"{n}.parquet" for n in ("table", "profile")}


def test_a_planted_change_is_found_in_both_directions(planted: Any) -> None:
    spec, inputs, outputs = planted
    reset_keep.main(spec, inputs, outputs, Progress("t"))
    table, profile = (pd.read_parquet(outputs[name]) for name in ("table", "profile"))
    moved = profile[profile["change_norm"] > 0]
    assert set(zip(moved["block"], moved["part"], strict=True)) == {(1, MLP)}
    assert not table.duplicated(["item", "component", "layer"]).any()
    parts = table["component"].str.split(":", expand=True)
    for measure in MEASURES:
        gap = table[f"{measure}_source"] - table[f"{measure}_target"]
        full = parts[3].eq(parts[2].map({"reset": "0", "keep": "1"})) & parts[4].eq("weights")
        hit = full & table["blocks"].str.split().map(lambda names: "1" in names)
        hit &= parts[0].isin([MLP, BOTH])
        assert set(parts[2][hit]) == {"reset", "keep"}
        np.testing.assert_allclose(table.loc[hit, f"{measure}_change"], gap[hit], atol=1e-6)
        missed = full & ~hit
        assert missed.any() and not table.loc[missed, f"{measure}_change"].any()
    assert (table["gold_logp_source"] != table["gold_logp_target"]).all()
    noise = table[parts[4] == "weights_noise"]
    assert (noise.loc[noise["norm"] > 0, "gold_logp_change"] != 0).all()
    counts = table.groupby(parts[3])["item"].nunique()
    assert counts["0.5"] == 2 * 2 and counts["0"] == 2 * 3


def test_sets_are_all_or_some_and_never_windows() -> None:
    assert len(reset_keep.windows(6, 3)) + len(reset_keep.other_sets(6, 3, 60, 0)) == 20
    some = reset_keep.other_sets(30, 3, 60, 0)
    assert len(set(some)) == 60 and not set(some) & set(reset_keep.windows(30, 3))
    assert reset_keep.other_sets(6, 1, 60, 0) == []


# --- the summary --------------------------------------------------------------------------

BLOCKS, PAIRS = 28, 40


def how(groups: Any = None, permutations: int = 199) -> How:
    return How(groups, Resampling(0, 200), permutations, 0.1, 0.1)


def arm_table(
    effects: dict[int, float], seeds: int = 2, most: int = 60
) -> tuple[pd.DataFrame, Groups]:
    """Return a table in which a set's progress is the sum of what its blocks do, and noise."""
    pairs = [f"p{n}" for n in range(PAIRS)]
    items = pd.DataFrame(
        {
            "item": [f"e{n}" for n in range(PAIRS)] + [f"t{n}" for n in range(PAIRS)],
            "group": ["exposed"] * PAIRS + ["twin"] * PAIRS,
            "exposure": [64] * PAIRS + [0] * PAIRS,
            "pair": pairs * 2,
        }
    )
    sets = {"3": reset_keep.windows(BLOCKS, 3), "sets3": reset_keep.other_sets(BLOCKS, 3, most, 0)}
    tables = []
    for direction, kind, seed in itertools.product(("reset", "keep"), sets, range(seeds)):
        sign, dose = (-1, 0) if direction == "reset" else (1, 1)
        name = f"mlp:{kind}:{direction}:{dose}:weights"
        blocks = [" ".join(map(str, one)) for one in sets[kind]]
        rng = keyed_rng(name, seed)
        known = np.array([sum(effects.get(n, 0.0) for n in one) for one in sets[kind]])
        layers = np.arange(len(blocks))
        change = 0.05 * rng.standard_normal((len(layers), 2 * PAIRS))
        change[:, :PAIRS] += sign * known[:, None]
        norm = 1 + 0.1 * rng.random(len(layers))
        table = reset_keep.item_rows(items, name, layers, {"gold_logp_change": change})
        gap = np.where(table["group"] == "exposed", sign * 1.0, 0.01)
        table["gold_logp_target"], table["gold_logp_source"] = -2.0, -2.0 + gap
        table["blocks"], table["norm"] = np.repeat(blocks, 2 * PAIRS), norm.repeat(2 * PAIRS)
        tables.append(table.assign(seed=seed, base="b", method="grpo", reward="format"))
    # Says how many blocks there are.
    whole = tables[-1][tables[-1]["layer"] == 0].assign(component="mlp:all:keep:1:weights")
    tables.append(whole.assign(blocks=" ".join(map(str, range(BLOCKS)))))
    return pd.concat(tables, ignore_index=True), Groups(items, 1)


def verdicts(effects: dict[int, float]) -> pd.DataFrame:
    table, groups = arm_table(effects, most=560)
    rows = [row for name, row in arm_rows(table, ["gold_logp"], how(groups)) if name == "verdicts"]
    return pd.DataFrame(rows).set_index(["claim", "direction"])


def test_planted_windows_are_found() -> None:
    found = verdicts({18: 0.2, 19: 0.3, 20: 0.2})
    row = found.loc[(ANCHOR, "reset")]
    assert row["verdict"] == "reproduced" and row["blocks"] == "18 19 20 / 21 22 23"
    assert row["effect"] == pytest.approx(0.7, abs=0.05)
    for direction in ("reset", "keep"):
        for claim in (WINDOW, ANCHOR_SETS):
            row = found.loc[(claim, direction)]
            assert row["verdict"] == "reproduced" and row["blocks"] == "18 19 20"
            assert row["smallest"] < 0.05
    other = verdicts({21: 0.2, 22: 0.3, 23: 0.2})
    assert other.loc[(ANCHOR, "reset")]["verdict"] == "not reproduced"
    nothing = verdicts({})
    assert set(nothing["verdict"]) == {"not reproduced"}


def test_windows_say_what_they_are_compared_with() -> None:
    table, groups = arm_table({18: 0.2, 19: 0.3, 20: 0.2})
    made = pd.DataFrame(
        row for name, row in arm_rows(table, ["gold_logp"], how(groups)) if name == "windows"
    )
    rows = made[made["direction"] == "reset"].set_index(["contrast", "layer"])
    hit, missed = rows.loc[("exposed", 18)], rows.loc[("exposed", 2)]
    assert hit["value"] == pytest.approx(0.7, abs=0.05) and hit["share"] == pytest.approx(0.7, 0.1)
    assert hit["sets"] == 61 and hit["p_sets"] == pytest.approx(1 / 61)
    assert missed["p_sets"] > 0.05 and missed["low"] < 0.05
    assert hit["per_norm"] == pytest.approx(hit["value"] / hit["norm"])
    twins = rows.loc["twin"]
    assert (twins["p_equivalent"] <= 0.05).all()
    np.testing.assert_allclose(twins["gap"], 0.01)


def test_relabelled_pairs_are_found_as_often_as_stated() -> None:
    table, groups = arm_table({18: 0.2, 21: 0.15}, seeds=1)
    rows = table[table["component"] == "mlp:3:reset:0:weights"]
    sets = read_sets(rows, "gold_logp", groups)
    runs, rng = 300, keyed_rng("relabelled")
    found = []
    for _ in range(runs):
        swapped = sets.relabelled(rng.integers(0, 2, PAIRS) == 1)
        row = anchor(swapped, (18, 21), how(groups))
        found.append((row["p_difference"], row["p"]))
    difference, whole = (np.array(found) <= 0.05).mean(axis=0)
    # Four standard errors of .05 in 300 runs.
    assert abs(difference - 0.05) < 0.05 and whole <= difference
    assert anchor(sets, (18, 21), how(groups))["p_difference"] <= 0.05


def test_the_best_of_many_sets_is_compared_with_the_best_of_as_many() -> None:
    rng = keyed_rng("sets")
    ps = []
    for _ in range(600):
        values = rng.standard_normal(86)
        ps.append(best_of(values, 26, values[:26].max()))
    assert abs((np.array(ps) <= 0.31).mean() - 0.31) < 0.08
    assert best_of(np.arange(20), 4, 19) == pytest.approx(0.2)


def test_what_is_called_detectable_is_found_in_four_of_five_studies() -> None:
    rng = keyed_rng("power")
    pairs = 60
    least = detectable(rng.standard_normal((4000, 1)), 1.6449) * np.sqrt(4000 / pairs)
    hits = [above_zero(least + rng.standard_normal((pairs, 1)), how()) <= 0.05 for _ in range(300)]
    assert abs(np.mean(hits) - 0.8) < 0.1


def test_a_window_is_chosen_and_tested_on_different_pairs() -> None:
    table, groups = arm_table({18: 0.3})
    rows = table[table["component"] == "mlp:3:keep:1:weights"]
    sets: Sets = read_sets(rows, "gold_logp", groups)
    assert over_sets(sets, sets, how(groups))["items"] == PAIRS // 2


def test_figure_and_words_follow_the_numbers(tmp_path: Path) -> None:
    table, groups = arm_table({18: 0.2, 19: 0.3, 20: 0.2}, seeds=1)
    rows: dict[str, list[dict[str, Any]]] = {"windows": [], "doses": [], "verdicts": []}
    for name, row in arm_rows(table, ["gold_logp"], how(groups)):
        rows[name].append({"base": "b", "method": "grpo", "reward": "format", **row})
    windows, claims = pd.DataFrame(rows["windows"]), pd.DataFrame(rows["verdicts"])
    windows["excess"] = windows["value"]
    windows.to_csv(tmp_path / "windows.csv", index=False)
    outputs = {end: tmp_path / f"figure.{end}" for end in ("svg", "png", "csv")}
    figure.main({}, {"table": tmp_path / "windows.csv"}, outputs, Progress("t"))
    drawn = pd.read_csv(outputs["csv"])
    assert drawn.loc[drawn["value"].idxmax(), "depth"] == pytest.approx(20 / 28)
    text = paragraph(claims, windows, told("reset_keep_reading")["claims"])
    assert "reproduced for format (grpo), reset 18 19 20 / 21 22 23 (+0.7" in text
    assert "differ clearly on exposed items in 1 of 1 arms (format)" in text
