"""Figures over layers, from small made-up tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from layers_fixture import ARM, ARMS, BASE, BLOCKS, CLEAN, contrast_table, probe_table, written
from told_fixture import figure as told

from paradox.errors import DataError
from paradox.figures import layers, style
from paradox.mechanisms.labels import figure as labels
from paradox.mechanisms.overview import memory_figure as memory
from paradox.mechanisms.partial_prompts import figure as partial_prompts
from paradox.mechanisms.patching import figure as patching
from paradox.mechanisms.probes import figure as probes
from paradox.progress import Progress
from paradox.study.mechanisms import FIGURES

OVER_LAYERS = [name for name, own in FIGURES.items() if own.step == "layer_figure"]
RISE = [0.0, 0.1, 0.5, 1.0, 1.0, 0.5]


def outputs(folder: Path) -> dict[str, Path]:
    return {end: folder / f"figure.{end}" for end in ("svg", "png", "csv")}


def panels(name: str) -> list[layers.Row]:
    return [layers.Row(**row) for row in told(name)["rows"]]


@pytest.mark.parametrize("name", OVER_LAYERS)
def test_a_figure_is_drawn_twice_alike(name: str, tmp_path: Path) -> None:
    part = panels(name)[1].component
    path = written(tmp_path, "table", contrast_table(name, {(part, "base"): RISE}))
    made = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        layers.main(told(name), {"table": path}, outputs(folder), Progress(name))
        made.append([outputs(folder)[end].read_bytes() for end in ("svg", "png", "csv")])
    assert made[0] == made[1]
    table = pd.read_csv(tmp_path / "a" / "figure.csv")
    assert table.loc[table["layer"] == BLOCKS - 1, "depth"].eq(1).all()
    assert set(table["reward"]) == {"none", "format"}


def test_markers_are_filled_outside_the_null_only(tmp_path: Path) -> None:
    path = written(tmp_path, "table", contrast_table("jsd", {("gate@all", "base"): RISE}))
    table = layers.data(path, panels("jsd"))
    with style.style():
        axes = layers.draw(table, panels("jsd")).axes
    points = {
        line.get_markerfacecolor(): line.get_ydata().tolist()
        for line in axes[0].lines
        if line.get_marker() == "o"
    }
    assert points.pop("white") == [0.0, 0.1]
    assert list(points.values()) == [[0.5, 1.0, 1.0, 0.5]]


def test_a_table_without_the_rows_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "table", contrast_table("jsd"))
    with pytest.raises(DataError, match="no rows of component and measure 'resid logp'"):
        layers.main(told("lens"), {"table": path}, outputs(tmp_path), Progress("lens"))


def test_memory_is_in_units_of_the_null(tmp_path: Path) -> None:
    inputs: dict[str, object] = {
        name: written(tmp_path, name, contrast_table(name, {("mlp@all", "change"): RISE}))
        for name in ("ablation", "lens", "attribution", "jsd")
    }
    areas = [0.5, 0.5, 0.6, 0.7, 0.9, 0.9, 0.8]
    inputs["probes"] = [
        written(tmp_path, arm[2] + arm[0], probe_table(arm, areas if arm != CLEAN else [0.5] * 7))
        for arm in ARMS
    ]
    force = dict.fromkeys(["low", "high"], 0.5) | {"null_low": -0.1, "null_high": 0.1}
    force |= {"corrected": 0.01, "component": "answer", "state": "base", "layer": BLOCKS - 1}
    rows = [force | {"set": "counted", "value": 0.3}, force | {"set": "128", "value": 9.0}]
    arm = dict(zip(("base", "method", "reward"), BASE, strict=True))
    inputs["trajectories"] = written(tmp_path, "force", pd.DataFrame(rows).assign(**arm))
    dose = force | {"component": "all", "measure": "odds_change", "contrast": "difference"}
    rows = [
        dose | {"dose": 0.0, "exposure": "counted", "value": -0.2},
        dose | {"dose": 2.0, "exposure": "counted", "value": 0.4},
        dose | {"dose": 0.0, "exposure": "128", "value": -0.8},
    ]
    inputs["steering_doses"] = written(tmp_path, "doses", pd.DataFrame(rows).assign(**arm))
    memory.main(told("memory"), inputs, outputs(tmp_path), Progress("memory"))
    table = pd.read_csv(tmp_path / "figure.csv")
    for label, units in (("Separation force", 3.0), ("Neurons suppressed", 2.0)):
        assert table.loc[table["label"] == label, "units"].tolist() == pytest.approx([units])
    truth = table[(table["label"] == "MLP ablated") & (table["state"] == "change")]
    assert truth["units"].tolist() == pytest.approx([value / 0.2 for value in RISE])
    probe = table[(table["label"] == "Probe") & (table["reward"] == ARM[2])]
    assert probe["units"].tolist() == pytest.approx([(area - 0.5) / 0.1 for area in areas])
    assert probe["depth"].tolist() == pytest.approx([n / BLOCKS for n in range(BLOCKS + 1)])
    arms = table[["base", "method", "reward"]].drop_duplicates()
    assert sorted(map(tuple, arms.to_numpy())) == sorted([BASE, ARM, CLEAN])


def probe_inputs(folder: Path) -> dict[str, Any]:
    tables = []
    for seed, area in ((0, 0.7), (1, 0.5)):
        for arm in ARMS:
            table = probe_table(arm, [0.5] * BLOCKS + [area]).assign(seed=seed)
            tables.append(written(folder, f"{arm[0]}{arm[2]}{seed}", table))
    change = probe_table(ARM, [0.5] * BLOCKS + [0.7]).assign(change=0.1, low=0.0, high=0.2)
    layers = change["layer"].replace("emb", "-1").astype(int)
    path = written(folder, "change", change.assign(layer=layers, replicates=2))
    return {"tables": tables, "changes": path}


def test_probes_count_only_where_every_seed_shows_it(tmp_path: Path) -> None:
    inputs = probe_inputs(tmp_path)
    probes.main({}, inputs, outputs(tmp_path), Progress("probes"))
    table = pd.read_csv(tmp_path / "figure.csv")
    areas = table[(table["quantity"] == "area") & (table["layer"] == BLOCKS - 1)]
    assert areas["value"].tolist() == pytest.approx([0.6] * len(areas))
    assert (areas["corrected"] > 0.05).all()
    assert set(table.loc[table["quantity"] == "change", "reward"]) == {"format"}


def test_patching_draws_total_effects_and_nulls(tmp_path: Path) -> None:
    arm = dict(zip(("base", "method", "reward"), ARM, strict=True))
    rows = [
        arm
        | {"kind": kind, "positions": positions, "direction": direction, "effect": effect}
        | {"source": source, "measure": measure, "minus": "none", "quantity": "change"}
        | {"contrast": "difference", "layer": layer, "value": 0.1 * layer, "low": 0.0, "high": 1}
        | {"p": 0.5, "corrected": 0.5, "null_low": -0.2, "null_high": 0.2}
        for kind in ("mlp_out", "attn_out")
        for positions in ("prompt", "all")
        for direction in ("denoise", "noise")
        for effect in ("total", "direct")
        for source in ("states", "states_noise", "other", "shift")
        for measure in ("gold_logp", "mode_logp")
        for layer in range(BLOCKS)
    ]
    path = written(tmp_path, "table", pd.DataFrame(rows))
    patching.main({}, {"table": path}, outputs(tmp_path), Progress("patching"))
    table = pd.read_csv(tmp_path / "figure.csv")
    assert len(table) == 4 * 2 * 2 * BLOCKS
    assert set(table["positions"]) == {"all"} and set(table["effect"]) == {"total"}
    written(tmp_path, "table", pd.DataFrame(rows).assign(effect="direct"))
    with pytest.raises(DataError, match="no total effects"):
        patching.main({}, {"table": path}, outputs(tmp_path), Progress("patching"))


def test_labels_draw_the_exposed_items_that_count(tmp_path: Path) -> None:
    arm = dict(zip(("base", "method", "reward"), ARM, strict=True))
    rows = [
        arm
        | {"rule": rule, "label": label, "level": level, "group": group, "items": 9}
        | {"replicates": 2, "share": 0.3, "low": 0.1, "high": 0.5, "unchanged": None}
        for rule in ("posterior", "any_of_4")
        for label in ("leakage", "stable", "degraded", "persistent", "ambiguous")
        for level, group in (("twin", "twin"), ("8", "exposed"), ("exposed", "exposed"))
    ]
    path = written(tmp_path, "confusion", pd.DataFrame(rows))
    labels.main({}, {"table": path}, outputs(tmp_path), Progress("labels"))
    table = pd.read_csv(tmp_path / "figure.csv")
    assert set(table["level"]) == {"twin", "exposed"} and len(table) == 2 * 5 * 2
    assert table["share"].tolist() == pytest.approx([0.3] * len(table))


def test_partial_prompts_draw_both_groups(tmp_path: Path) -> None:
    rows = [
        dict(zip(("base", "method", "reward"), arm, strict=True))
        | {"ratio": ratio, "measure": measure, "level": level, "p": p}
        | {"exposed": 0.5, "exposed_low": 0.4, "exposed_high": 0.6}
        | {"twin": 0.1, "twin_low": 0.0, "twin_high": 0.2}
        for arm in ARMS
        for ratio, p in ((0.3, 0.01), (0.5, None))
        for measure in ("exact", "edit", "lift")
        for level in ("8", "exposed")
    ]
    path = written(tmp_path, "partial", pd.DataFrame(rows))
    partial_prompts.main({}, {"table": path}, outputs(tmp_path), Progress("partial"))
    table = pd.read_csv(tmp_path / "figure.csv")
    assert len(table) == len(ARMS) * 2 * 2 * 2 and set(table["measure"]) == {"exact", "lift"}
    assert table.groupby("group")["value"].first().to_dict() == {"exposed": 0.5, "twin": 0.1}
    # Nothing varies, so nothing differs.
    exposed = table[table["group"] == "exposed"]
    assert exposed.groupby("ratio")["p"].first().to_dict() == {0.3: 0.01, 0.5: 1}
