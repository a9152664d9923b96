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
from paradox.mechanisms.reset_keep.block_sets import How, Sets, best_of, read_sets, sides
from paradox.mechanisms.reset_keep.reading import paragraph
from paradox.mechanisms.reset_keep.reweighted import MEASURES, Variant, outcomes, variant
from paradox.mechanisms.reset_keep.summary import (
    ALONE,
    ANCHOR_SETS,
    HURTS,
    NO_BLOCK,
    NONE_KEPT,
    WINDOW,
    arm_rows,
    over_sets,
)
from paradox.mechanisms.tables.pairs import Groups
from paradox.mechanisms.tables.verdict import NO_GAP, NOT_THERE, TOO_FEW
from paradox.models import load_model, load_tokenizer, save_model
from paradox.progress import Progress
from paradox.provenance.manifest import write_manifest
from paradox.seeds import keyed_rng
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


def how(groups: Any = None) -> How:
    return How(groups, 0, 0.1, 0.1)


def arm_table(
    effects: dict[int, float],
    seeds: int = 3,
    most: int = 60,
    blocks: int = BLOCKS,
    width: int = 3,
    gap: float = 1.0,
) -> tuple[pd.DataFrame, Groups]:
    """Return a table in which a set's progress is the sum of what its blocks do, and noise.

    Training raised recall of exposed items by `gap`.
    """
    pairs = [f"p{n}" for n in range(PAIRS)]
    items = pd.DataFrame(
        {
            "item": [f"e{n}" for n in range(PAIRS)] + [f"t{n}" for n in range(PAIRS)],
            "group": ["exposed"] * PAIRS + ["twin"] * PAIRS,
            "exposure": [64] * PAIRS + [0] * PAIRS,
            "pair": pairs * 2,
        }
    )
    sets = {f"{width}": reset_keep.windows(blocks, width)}
    sets |= {f"sets{width}": reset_keep.other_sets(blocks, width, most, 0)}
    sets |= {"all": [tuple(range(blocks))]}
    tables = []
    kinds = [kind for kind in sets if sets[kind]]
    for direction, kind, seed in itertools.product(("reset", "keep"), kinds, range(seeds)):
        sign, dose = (-1, 0) if direction == "reset" else (1, 1)
        name = f"mlp:{kind}:{direction}:{dose}:weights"
        named = [" ".join(map(str, one)) for one in sets[kind]]
        rng = keyed_rng(name, seed)
        known = np.array([sum(effects.get(n, 0.0) for n in one) for one in sets[kind]])
        layers = np.arange(len(named))
        change = 0.05 * rng.standard_normal((len(layers), 2 * PAIRS))
        change[:, :PAIRS] += sign * known[:, None]
        norm = 1 + 0.1 * rng.random(len(layers))
        table = reset_keep.item_rows(items, name, layers, {"gold_logp_change": change})
        table["gold_logp_target"] = -2.0
        table["gold_logp_source"] = -2.0 + np.where(table["group"] == "exposed", sign * gap, 0.01)
        table["blocks"], table["norm"] = np.repeat(named, 2 * PAIRS), norm.repeat(2 * PAIRS)
        tables.append(table.assign(seed=seed, base="b", method="grpo", reward="format"))
    return pd.concat(tables, ignore_index=True), Groups(items, 1)


def verdicts(effects: dict[int, float], most: int = 560, **kind: Any) -> pd.DataFrame:
    table, groups = arm_table(effects, most=most, **kind)
    rows = [row for name, row in arm_rows(table, ["gold_logp"], how(groups)) if name == "verdicts"]
    return pd.DataFrame(rows).set_index(["claim", "direction"])


def test_planted_windows_are_found() -> None:
    found = verdicts({18: 0.2, 19: 0.3, 20: 0.2, 25: 0.2})
    row = found.loc[(HURTS, "reset")]
    assert row["verdict"] == "reproduced" and row["blocks"] == "18 19 20 / 21 22 23"
    assert row["effect"] == pytest.approx(0.7, abs=0.05)
    row = found.loc[(ALONE, "keep")]
    assert row["verdict"] == "reproduced" and row["effect"] == pytest.approx(0.2, abs=0.05)
    for direction in ("reset", "keep"):
        for claim in (WINDOW, ANCHOR_SETS):
            row = found.loc[(claim, direction)]
            assert row["verdict"] == "reproduced" and row["blocks"] == "18 19 20"
            assert row["smallest"] < 0.05
    other = verdicts({21: 0.2, 22: 0.3, 23: 0.2})
    assert other.loc[(HURTS, "reset")]["verdict"] == "not reproduced"
    assert other.loc[(ANCHOR_SETS, "reset")]["verdict"] == "not reproduced"


def test_without_effects_nothing_is_found() -> None:
    nothing = verdicts({})
    decided = nothing.drop(index=(ALONE, "keep"))
    assert set(decided["verdict"]) == {"not reproduced"}
    # Nothing falls short of what recovers nothing.
    assert nothing.loc[(ALONE, "keep"), "reason"] == NONE_KEPT


def test_the_anchor_alone_may_suffice() -> None:
    found = verdicts({18: 0.2, 19: 0.3, 20: 0.2})
    assert found.loc[(ALONE, "keep"), ["verdict", "blocks"]].tolist() == [
        "not reproduced",
        "18 19 20",
    ]


def test_an_effect_below_its_margin_is_negligible() -> None:
    row = verdicts({19: 0.05}, most=60, seeds=8).loc[(HURTS, "reset")]
    assert row["verdict"] == "present but negligible" and row["p"] <= 0.05


def test_what_no_data_could_decide_is_not_decidable() -> None:
    lowered = verdicts({19: 0.3}, gap=-1.0)
    for claim in ((HURTS, "reset"), (ALONE, "keep")):
        assert lowered.loc[claim, ["verdict", "reason"]].tolist() == ["not decidable", NOT_THERE]
    # Six blocks: the named one is one of six, whatever it does.
    few = verdicts({3: 0.5}, blocks=6, width=1)
    for direction in ("reset", "keep"):
        row = few.loc[(ANCHOR_SETS, direction)]
        assert (row["verdict"], row["reason"]) == ("not decidable", TOO_FEW)
        assert row["p_sets"] == row["smallest"] == pytest.approx(1 / 6)
    assert few.loc[(HURTS, "reset"), ["verdict", "blocks"]].tolist() == ["reproduced", "3 / 4"]
    assert verdicts({}, gap=0.0).loc[(HURTS, "reset"), "reason"] == NO_GAP
    none = verdicts({0: 0.5}, blocks=2, width=1)
    assert none["reason"].tolist() == [NO_BLOCK, NO_BLOCK]


def test_p_and_interval_agree_and_verdicts_follow_the_rule() -> None:
    found = verdicts({19: 0.3})
    for claim in ((HURTS, "reset"), (ALONE, "keep")):
        row = found.loc[claim]
        assert (row["p"] <= 0.05) == (row["low"] > 0) and row["replicates"] == 3
    assert sides(28, [1]) == ((20,), (21,)) and sides(30, [3]) == ((19, 20, 21), (22, 23, 24))


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
    assert (rows["detectable"] > 0).all() and set(made["replicates"]) == {3}


def test_the_best_of_many_sets_is_compared_with_the_best_of_as_many() -> None:
    rng = keyed_rng("sets")
    ps = []
    for _ in range(600):
        values = rng.standard_normal(86)
        ps.append(best_of(values, 26, values[:26].max()))
    assert abs((np.array(ps) <= 0.31).mean() - 0.31) < 0.08
    assert best_of(np.arange(20), 4, 19) == pytest.approx(0.2)


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
