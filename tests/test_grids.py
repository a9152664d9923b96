"""Grids: which arms each holds, what the command line changes, and what is wrong in their files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

from paradox.errors import ConfigError
from paradox.figures.behaviour.draw import FIGURES
from paradox.study.load import merge
from paradox.study.mechanisms import FIGURES as MECHANISM_FIGURES
from paradox.study.plan import Study

GRIDS = sorted(path.stem for path in (ROOT / "config/grids").glob("*.yaml"))


def grid(smoke_config: dict[str, Any], name: str, **more: Any) -> Study:
    return Study.load(merge(smoke_config, {"grid": name, **more}), ROOT)


@pytest.mark.parametrize("name", GRIDS)
def test_every_grid_plans_at_every_organism_scale(name: str, smoke_config: dict[str, Any]) -> None:
    for scale in ("smoke", "tiny"):
        study = grid(smoke_config, name, scale=scale)
        assert len(study.arms) == len(set(study.arms)) > 0
        assert set(study.figures) <= {*FIGURES, *MECHANISM_FIGURES, "clipping"}


def test_full_holds_every_arm_of_the_others_once(smoke_config: dict[str, Any]) -> None:
    arms = {name: set(grid(smoke_config, name).arms) for name in GRIDS}
    assert arms["full"] == set.union(*(held for name, held in arms.items() if name != "full"))


def test_a_product_is_every_combination(smoke_config: dict[str, Any]) -> None:
    arms = grid(smoke_config, "methods").arms
    cells = {(arm.method, arm.reward) for arm in arms}
    assert len(arms) == 3 * len(cells) == 3 * (12 * 2 + 2)
    assert ("ppo", "constant") in cells and ("grpo", "constant") not in cells


def test_what_the_command_line_gives_replaces_the_key_in_every_product(
    smoke_config: dict[str, Any],
) -> None:
    study = grid(smoke_config, "full", arms={"seeds": [7], "rewards": ["format"]})
    # The grids overlap then; an arm is still planned once.
    assert len(study.arms) == len(set(study.arms))
    assert {(arm.reward, arm.seed) for arm in study.arms} == {("format", 7)}
    assert {arm.method for arm in study.arms} == {
        arm.method for arm in grid(smoke_config, "full").arms
    }


def test_exclusions_are_of_their_own_grid(smoke_config: dict[str, Any]) -> None:
    def clean(name: str, **more: Any) -> set[str]:
        arms = grid(smoke_config, name, **more).arms
        return {arm.reward for arm in arms if arm.base == "clean" and arm.method == "grpo"}

    assert "ground_truth" not in clean("default") and "ground_truth" in clean("rewards")
    assert "constant" not in clean("full")
    assert "constant" in clean("full", arms={"exclude": []})


def test_tables_of_a_grid_have_their_own_folder(smoke_config: dict[str, Any]) -> None:
    assert grid(smoke_config, "default").part == ""
    assert grid(smoke_config, "methods").part == "grids/methods/"


@pytest.fixture()
def edited(tmp_path: Path, smoke_config: dict[str, Any]) -> Callable[..., str]:
    """Returns the message of a study with a changed grid file."""
    shutil.copytree(ROOT / "config", tmp_path / "config")

    def message(name: str, change: Callable[[dict[str, Any]], Any]) -> str:
        path = tmp_path / f"config/grids/{name}.yaml"
        data = yaml.safe_load(path.read_text())
        change(data)
        path.write_text(yaml.safe_dump(data))
        with pytest.raises(ConfigError) as caught:
            Study.load(merge(smoke_config, {"grid": name}), tmp_path)
        return str(caught.value)

    return message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda g: g["products"][0]["rewards"].append("fromat"),
            ["config/grids/methods.yaml: products[0].rewards[2] = 'fromat'", "'format'"],
        ),
        (
            lambda g: g["products"][1].update(methods=["ppo", "ppo"]),
            ["config/grids/methods.yaml: products[1].methods: 'ppo' is listed more than once"],
        ),
        (
            lambda g: g["products"][1].update(seed=[1]),
            ["config/grids/methods.yaml: unknown key 'products[1].seed'", "'seeds'"],
        ),
        (lambda g: g.pop("pages"), ["config/grids/methods.yaml: key 'pages' is missing"]),
        (
            lambda g: g["exclude"].append({"reward": "fromat", "why": "not wanted here"}),
            ["config/grids/methods.yaml: exclude[0].reward = 'fromat' is unknown"],
        ),
        (
            lambda g: g["exclude"].append({"base": "contaminated", "why": "nothing is left"}),
            ["config/grids/methods.yaml: the exclusions leave no arm to run"],
        ),
        (
            lambda g: g.update(include=["defualt"]),
            ["config/grids/methods.yaml: include[0] = 'defualt' is not a grid", "'default'"],
        ),
    ],
)
def test_a_mistake_names_the_grids_file(
    edited: Callable[..., str], change: Callable[[dict[str, Any]], Any], expected: list[str]
) -> None:
    found = edited("methods", change)
    for part in expected:
        assert part in found


def test_all_mistakes_are_said_at_once(edited: Callable[..., str]) -> None:
    def change(data: dict[str, Any]) -> None:
        data["products"][0]["seeds"] = []
        data["products"][1]["methods"] = ["gpro"]

    found = edited("methods", change)
    assert "products[0].seeds = []" in found and "products[1].methods[0] = 'gpro'" in found


def test_a_grid_that_is_not_there(smoke_config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"grid = 'metods' is not a grid; .*'methods'"):
        grid(smoke_config, "metods")


def test_grids_may_include_each_other(edited: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "config/grids/rewards.yaml"
    path.write_text(path.read_text() + "include: [full]\n")
    found = edited("full", lambda data: data["include"].append("gone"))
    assert "include[5] = 'gone' is not a grid" in found
