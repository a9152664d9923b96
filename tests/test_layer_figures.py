"""Figures over layers, from small made-up tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from layers_fixture import ARM, ARMS, BASE, BLOCKS, CLEAN, contrast_table, probe_table, written

from paradox.errors import DataError
from paradox.figures import layers, memory, style
from paradox.progress import Progress

RISE = [0.0, 0.1, 0.5, 1.0, 1.0, 0.5]


def outputs(folder: Path) -> dict[str, Path]:
    return {end: folder / f"figure.{end}" for end in ("svg", "png", "csv")}


@pytest.mark.parametrize("name", list(layers.FIGURES))
def test_a_figure_is_drawn_twice_alike(name: str, tmp_path: Path) -> None:
    part = layers.FIGURES[name][1].component
    path = written(tmp_path, "table", contrast_table(name, {(part, "base"): RISE}))
    made = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        layers.main({"figure": name}, {"table": path}, outputs(folder), Progress(name))
        made.append([outputs(folder)[end].read_bytes() for end in ("svg", "png", "csv")])
    assert made[0] == made[1]
    table = pd.read_csv(tmp_path / "a" / "figure.csv")
    assert table.loc[table["layer"] == BLOCKS - 1, "depth"].eq(1).all()
    assert set(table["reward"]) == {"none", "format"}


def test_markers_are_filled_outside_the_null_only(tmp_path: Path) -> None:
    path = written(tmp_path, "table", contrast_table("jsd", {("gate@all", "base"): RISE}))
    table = layers.data(path, layers.FIGURES["jsd"])
    with style.style():
        axes = layers.draw(table, layers.FIGURES["jsd"]).axes
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
        layers.main({"figure": "lens"}, {"table": path}, outputs(tmp_path), Progress("lens"))
    with pytest.raises(DataError, match=r"no figure 'lense'.*lens"):
        layers.main({"figure": "lense"}, {"table": path}, outputs(tmp_path), Progress("lens"))


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
    memory.main({}, inputs, outputs(tmp_path), Progress("memory"))
    table = pd.read_csv(tmp_path / "figure.csv")
    truth = table[(table["label"] == "MLP ablated") & (table["state"] == "change")]
    assert truth["units"].tolist() == pytest.approx([value / 0.2 for value in RISE])
    probe = table[(table["label"] == "Probe") & (table["reward"] == ARM[2])]
    assert probe["units"].tolist() == pytest.approx([(area - 0.5) / 0.1 for area in areas])
    assert probe["depth"].tolist() == pytest.approx([n / BLOCKS for n in range(BLOCKS + 1)])
    arms = table[["base", "method", "reward"]].drop_duplicates()
    assert sorted(map(tuple, arms.to_numpy())) == sorted([BASE, ARM, CLEAN])
