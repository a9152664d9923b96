"""Contrasts by layer against planted effects, and with nothing planted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from paradox.errors import DataError
from paradox.mechanisms.tables import by_layer as step
from paradox.mechanisms.tables.by_layer import contrasts
from paradox.mechanisms.tables.pairs import Groups, item_rows
from paradox.progress import Progress
from paradox.stats.bootstrap import Resampling

LAYERS, PAIRS = 4, 40
HOW = Resampling(0, 400)


@pytest.fixture(scope="module")
def items() -> pd.DataFrame:
    rows = [
        {"item": f"{group[0]}{n}", "group": group, "pair": f"p{n}", "exposure": exposure}
        for n in range(PAIRS)
        for group, exposure in (("exposed", 4 if n < 10 else 64), ("twin", 0))
    ]
    return pd.DataFrame(rows)


def table(
    items: pd.DataFrame, arm: tuple[str, str, str], seed: int, effect: float = 0, layer: int = 2
) -> pd.DataFrame:
    """Return noise with an effect on exposed items at one layer."""
    rng = np.random.default_rng(10 + seed if arm[1] != "base" else 5)
    values = rng.normal(size=(LAYERS, len(items)))
    values[layer] += effect * (items["group"] == "exposed").to_numpy()
    made = item_rows(items, "mlp", range(LAYERS), {"drop": values})
    for name, value in zip(("base", "method", "reward"), arm, strict=True):
        made[name] = value
    return made.assign(seed=seed, step=0)


def rows(found: pd.DataFrame, state: str, contrast: str = "difference") -> pd.DataFrame:
    return found[(found["state"] == state) & (found["contrast"] == contrast)].set_index("layer")


BASE, ARM = ("b", "base", "none"), ("b", "grpo", "format")


def test_a_planted_effect_is_found_at_its_layer_only(items: pd.DataFrame) -> None:
    made = [table(items, BASE, 0), *(table(items, ARM, seed, 2.0) for seed in (0, 1))]
    found = contrasts(made, ["drop"], Groups(items, 8), HOW, 400)
    after = rows(found, "after")
    assert after.loc[2, "value"] == pytest.approx(2, abs=0.7) and after.loc[2, "low"] > 1
    assert after["corrected"].idxmin() == 2 and after.loc[2, "corrected"] < 0.01
    assert (after.drop(2)["corrected"] > 0.05).all()
    change = rows(found, "change")
    expected = after["value"] - rows(found, "base")["value"].to_numpy()[-LAYERS:]
    np.testing.assert_allclose(change["value"], expected)
    assert (after["items"] == PAIRS - 10).all() and (after["replicates"] == 2).all()


def test_the_parts_are_means_and_give_the_difference(items: pd.DataFrame) -> None:
    made = table(items, BASE, 0, 1.0)
    groups = Groups(items, 8)
    found = contrasts([made], ["drop"], groups, HOW, 100)
    for contrast, names in (("exposed", groups.exposed), ("twin", groups.twin)):
        own = made[made["item"].isin(names)].groupby("layer")["drop"].mean()
        part = rows(found, "base", contrast)
        np.testing.assert_allclose(part["value"], own)
        assert part[["p", "null_low", "null_high"]].isna().all(axis=None)
    left, right = (rows(found, "base", name)["value"] for name in ("exposed", "twin"))
    np.testing.assert_allclose(left - right, rows(found, "base")["value"])


def test_a_base_against_itself_changes_nothing(items: pd.DataFrame) -> None:
    base = table(items, BASE, 0, 1.0)
    same = base.assign(method="grpo", reward="format")
    change = contrasts([base, same], ["drop"], Groups(items, 8), HOW, 100)
    change = change[change["state"] == "change"]
    assert not change[["value", "low", "high"]].to_numpy().any()
    assert (change["p"].dropna() == 1).all()


def test_permuted_labels_find_something_as_rarely_as_they_should(items: pd.DataFrame) -> None:
    hits = 0
    for draw in range(60):
        made = table(items, BASE, 0)
        made["drop"] = np.random.default_rng(draw).normal(size=len(made))
        found = contrasts([made], ["drop"], Groups(items, 8), Resampling(draw, 20), 99)
        base = rows(found, "base")
        outside = (base["value"] < base["null_low"]) | (base["value"] > base["null_high"])
        assert (outside == (base["corrected"] <= 0.05)).all()
        hits += base["corrected"].min() <= 0.05
    assert hits <= 9  # 3 are expected; more than 9 have a chance of .001


def test_items_without_twins_of_their_own_are_compared_in_groups(items: pd.DataFrame) -> None:
    alone = items.assign(pair=None, exposure=np.nan)
    groups = Groups(alone, 8)
    assert groups.pairs is None and len(groups.exposed) == len(groups.twin) == PAIRS
    made = table(alone, BASE, 0, 2.0)
    found = rows(contrasts([made], ["drop"], groups, HOW, 400), "base")
    assert found["corrected"].idxmin() == 2 and found.loc[2, "items"] == 2 * PAIRS


def test_the_step_writes_the_table(items: pd.DataFrame, tmp_path: Path) -> None:
    paths = []
    for number, made in enumerate((table(items, BASE, 0), table(items, ARM, 0, 2.0))):
        paths.append(tmp_path / f"{number}.csv")
        made.to_csv(paths[-1], index=False)
    full = items.assign(worked_documents=0, question="q", answer="a", worked="w", source="s")
    full.to_csv(tmp_path / "items.csv", index=False)
    bootstrap = {"seed": 0, "resamples": 50}
    spec = {"measures": ["drop"], "exposed_from": 8, "bootstrap": bootstrap, "permutations": 50}
    inputs = {"tables": paths, "items": tmp_path / "items.csv"}
    step.main(spec, inputs, {"table": tmp_path / "out.csv"}, Progress("by_layer"))
    found = pd.read_csv(tmp_path / "out.csv")
    assert len(found) == 3 * 3 * LAYERS and found["p"].notna().sum() == 3 * LAYERS


def _drop_items(made: pd.DataFrame) -> pd.DataFrame:
    return made[made["item"] != "e30"]


def _twice(made: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([made, made])


@pytest.mark.parametrize(
    ("change", "message"),
    [(_drop_items, "missing or not finite"), (_twice, "several rows")],
)
def test_tables_that_do_not_fit_are_named(items: pd.DataFrame, change: Any, message: str) -> None:
    made = [table(items, BASE, 0), change(table(items, ARM, 0))]
    with pytest.raises(DataError, match=f"b/grpo/format/mlp: .*{message}"):
        contrasts(made, ["drop"], Groups(items, 8), HOW, 20)


def test_a_missing_base_is_named(items: pd.DataFrame) -> None:
    with pytest.raises(DataError, match=r"b/base/none"):
        contrasts([table(items, ARM, 0)], ["drop"], Groups(items, 8), HOW, 20)


def test_both_groups_are_needed(items: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="0 exposed items"):
        Groups(items, 1000)
