"""Signatures of patching on made-up tables: by sign, against twins, with and without a gap."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from paradox.mechanisms.patching.signature import (
    NOT_MEASURED,
    patching,
    patching_drop,
    patching_mlp,
)
from paradox.mechanisms.tables import signatures as computed
from paradox.mechanisms.tables.pairs import Groups, item_rows
from paradox.mechanisms.tables.verdict import NO_BLOCK, NO_GAP, NOT, OPEN, REPRODUCED

PAIRS, SEEDS = 40, 3
MIDDLE = [0.0, 0.3, 0.4, 0.6, 0.1, 0.0]
LATE = [0.0, 0.0, 0.0, 0.1, 0.5, 0.6]
FLAT = [0.1] * 6
ITEMS = pd.DataFrame(
    {"item": f"{group[0]}{n:02}", "group": group, "pair": f"p{n}", "exposure": exposure}
    for n in range(PAIRS)
    for group, exposure in (("exposed", 64), ("twin", 0))
)


def arm(
    exposed: list[float], twin: list[float], attention: list[float], gap: float, seed: int
) -> pd.DataFrame:
    """Return a table in which an MLP carries these shares of each item's gap, per block."""
    rng = np.random.default_rng(seed)
    is_exposed = (ITEMS["group"] == "exposed").to_numpy()
    gaps = gap + rng.normal(scale=0.4, size=len(ITEMS))
    shares = np.where(is_exposed, np.array(exposed)[:, None], np.array(twin)[:, None])
    made = []
    for direction, sign in (("denoise", 1), ("noise", -1)):
        for kind, share in (("mlp_out", shares), ("attn_out", np.array(attention)[:, None])):
            for source, part in (("states", 1.0), ("states_noise", 0.0)):
                noise = rng.normal(scale=0.1, size=(len(exposed), len(ITEMS)))
                columns: dict[str, Any] = {}
                for measure in ("gold_logp", "mode_logp"):
                    columns[f"{measure}_change"] = part * sign * share * gaps + noise
                    columns[f"{measure}_target"] = np.zeros_like(noise)
                    columns[f"{measure}_source"] = np.tile(sign * gaps, (len(exposed), 1))
                name = f"{kind}:prompt:{direction}:total:{source}"
                made.append(item_rows(ITEMS, name, range(len(exposed)), columns))
    keys = {"base": "contaminated", "method": "grpo", "reward": "format", "seed": seed, "step": 1}
    return pd.concat(made, ignore_index=True).assign(**keys)


def verdict(
    folder: Path,
    signature: Callable[[computed.Given], computed.Rows],
    exposed: list[float],
    twin: list[float] | None = None,
    attention: list[float] | None = None,
    gap: float = 2.0,
    items: pd.DataFrame = ITEMS,
) -> tuple[str, str]:
    blocks = len(exposed)
    paths = [folder / f"{seed}.parquet" for seed in range(SEEDS)]
    for seed, path in enumerate(paths):
        rest = twin or [0.0] * blocks, attention or [0.0] * blocks
        arm(exposed, *rest, gap, seed).to_parquet(path)
    given = computed.Given(
        "s", paths, computed.Tester(Groups(items, 8), 0), "contaminated", "clean", 0.1
    )
    rows = list(signature(given))
    assert [row["signature"] for row in rows] == ["s: gold_logp", "s: mode_logp"]
    assert rows[0]["replicates"] in (SEEDS, 0)
    return rows[0]["verdict"], rows[0]["reason"]


@pytest.mark.parametrize("gap", [2.0, -2.0])
def test_middle_blocks_that_carry_what_training_changed(tmp_path: Path, gap: float) -> None:
    # The share has a sign of its own: training may have raised recall or lowered it.
    assert verdict(tmp_path, patching, MIDDLE, gap=gap) == (REPRODUCED, "")


def test_late_blocks_twins_alike_and_exposed_less_are_not_it(tmp_path: Path) -> None:
    assert verdict(tmp_path, patching, LATE) == (NOT, "")
    assert verdict(tmp_path, patching, MIDDLE, MIDDLE) == (NOT, "")
    assert verdict(tmp_path, patching, MIDDLE, [2 * share for share in MIDDLE]) == (NOT, "")
    assert verdict(tmp_path, patching, [-share for share in MIDDLE]) == (NOT, "")


@pytest.mark.parametrize("signature", [patching, patching_drop, patching_mlp])
def test_without_a_gap_there_is_no_share(
    tmp_path: Path, signature: Callable[[computed.Given], computed.Rows]
) -> None:
    assert verdict(tmp_path, signature, MIDDLE, gap=0.0) == (OPEN, NO_GAP)


def test_scales_that_patch_all_positions_only_are_not_judged(tmp_path: Path) -> None:
    table = arm(MIDDLE, FLAT, FLAT, 2.0, 0)
    table["component"] = table["component"].str.replace(":prompt:", ":all:")
    table.to_parquet(tmp_path / "all.parquet")
    test = computed.Tester(Groups(ITEMS, 8), 0)
    given = computed.Given("s", [tmp_path / "all.parquet"], test, "contaminated", "clean", 0.1)
    for row in patching(given):
        assert (row["verdict"], row["reason"]) == (OPEN, NOT_MEASURED)


def test_items_without_twins_of_their_own_are_compared_as_groups(tmp_path: Path) -> None:
    items = ITEMS.assign(pair=None)
    assert verdict(tmp_path, patching, MIDDLE, items=items) == (REPRODUCED, "")
    assert verdict(tmp_path, patching, MIDDLE, MIDDLE, items=items) == (NOT, "")


def test_a_drop_right_after_the_anchor(tmp_path: Path) -> None:
    assert verdict(tmp_path, patching_drop, MIDDLE) == (REPRODUCED, "")
    assert verdict(tmp_path, patching_drop, LATE) == (NOT, "")
    assert verdict(tmp_path, patching_drop, FLAT) == (NOT, "")
    # Of five blocks none is at the published depth.
    assert verdict(tmp_path, patching_drop, MIDDLE[:5]) == (OPEN, NO_BLOCK)


def test_mlps_have_to_carry_more_than_attention(tmp_path: Path) -> None:
    assert verdict(tmp_path, patching_mlp, MIDDLE, attention=FLAT) == (REPRODUCED, "")
    assert verdict(tmp_path, patching_mlp, FLAT, attention=MIDDLE) == (NOT, "")
