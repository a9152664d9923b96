"""Shares of a gap: planted ones are found, empty ones are left empty, nulls are subtracted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from paradox.errors import DataError
from paradox.mechanisms.tables import recovery as step
from paradox.mechanisms.tables.pairs import Groups, item_rows
from paradox.mechanisms.tables.recovery import How, summaries
from paradox.progress import Progress
from paradox.stats.ratios import ratio_test

LAYERS, PAIRS = 4, 30


@pytest.fixture(scope="module")
def items() -> pd.DataFrame:
    rows = [
        {"item": f"{group[0]}{n:02}", "group": group, "pair": f"p{n}", "exposure": exposure}
        for n in range(PAIRS)
        for group, exposure in (("exposed", 64), ("twin", 0))
    ]
    return pd.DataFrame(rows)


def table(items: pd.DataFrame, share: float, seed: int = 0, gap: float = 2.0) -> pd.DataFrame:
    """Return a patch that closes `share` of exposed items' gaps at layer 2 and half of twins'."""
    rng = np.random.default_rng(seed)
    exposed = (items["group"] == "exposed").to_numpy()
    target = rng.normal(size=len(items))
    gaps = gap + rng.normal(size=len(items))
    made = []
    for source, size in (("states", 1.0), ("states_noise", 0.25)):
        change = np.zeros((LAYERS, len(items)))
        change[2] = size * np.where(exposed, share, 0.5) * gaps
        columns = {
            "m_change": change,
            "m_target": np.tile(target, (LAYERS, 1)),
            "m_source": np.tile(target + gaps, (LAYERS, 1)),
        }
        name = f"mlp_out:all:denoise:total:{source}"
        made.append(item_rows(items, name, range(LAYERS), columns))
    arm = {"base": "b", "method": "grpo", "reward": "format", "seed": seed, "step": 1}
    return pd.concat(made, ignore_index=True).assign(**arm)


def found(tables: list[pd.DataFrame], items: pd.DataFrame, **chosen: str) -> pd.DataFrame:
    rows = pd.DataFrame(summaries(tables, ["m"], How(Groups(items, 8), 0, 300)))
    for column, value in ({"source": "states", "minus": "none"} | chosen).items():
        rows = rows[rows[column] == value]
    return rows.set_index("layer")


def test_planted_shares_are_found_and_nulls_are_subtracted(items: pd.DataFrame) -> None:
    made = [table(items, 0.8, seed) for seed in (0, 1, 2)]
    wanted = {"exposed": 0.8, "twin": 0.5, "difference": 0.3}
    for minus, kept in (("none", 1.0), ("states_noise", 0.75)):
        for contrast, share in wanted.items():
            rows = found(made, items, contrast=contrast, quantity="recovery", minus=minus)
            # Every item closes the same share, so no resample can differ.
            for column in ("value", "low", "high"):
                expected = [0, 0, kept * share, 0]
                np.testing.assert_allclose(rows[column].astype(float), expected, atol=1e-12)
            assert rows["defined"].all() and (rows["replicates"] == 3).all()
            assert (rows["items"] == PAIRS).all()
    rows = found(made, items, contrast="difference", quantity="recovery")
    assert rows.loc[2, "corrected"] < 0.02 and (rows.drop(2)["corrected"] == 1).all()
    assert not rows.loc[2, "null_low"] < 0.3 < rows.loc[2, "null_high"]
    alone = found(made, items, contrast="exposed", quantity="recovery", source="states_noise")
    assert alone.loc[2, "value"] == pytest.approx(0.2) and alone["p"].isna().all()


def test_changes_are_means_and_the_ratio_is_one_of_means(items: pd.DataFrame) -> None:
    made = table(items, 0.8)
    made["m_change"] += np.random.default_rng(1).normal(size=len(made))
    part = made[made["component"].str.endswith(":states") & (made["group"] == "exposed")]
    mean = part.groupby("layer")[["m_change", "m_target", "m_source"]].mean()
    change = found([made], items, contrast="exposed", quantity="change")
    np.testing.assert_allclose(change["value"].astype(float), mean["m_change"])
    ratio = found([made], items, contrast="exposed", quantity="recovery")
    gap = mean["m_source"] - mean["m_target"]
    np.testing.assert_allclose(ratio["value"].astype(float), mean["m_change"] / gap)
    np.testing.assert_allclose(ratio["gap"], gap)
    assert (ratio["low"] < ratio["value"]).all() and (ratio["value"] < ratio["high"]).all()


def test_without_a_gap_there_is_no_share(items: pd.DataFrame) -> None:
    made = table(items, 0.8, gap=0.0)
    for contrast in ("exposed", "twin", "difference"):
        rows = found([made], items, contrast=contrast, quantity="recovery")
        assert not rows["defined"].any() and (rows["gap_low"] < rows["gap_high"]).all()
        assert rows[["value", "low", "high", "p", "corrected"]].isna().all(axis=None)
        changes = found([made], items, contrast=contrast, quantity="change")
        assert changes["value"].notna().all() and not changes["defined"].any()


def test_only_whole_pairs_count(items: pd.DataFrame) -> None:
    made = table(items, 0.8)
    rows = found([made[made["item"] != "e03"]], items, contrast="twin", quantity="change")
    assert (rows["items"] == PAIRS - 1).all()
    twins = made[(made["group"] == "twin") & (made["item"] != "t03")]
    mean = twins[twins["component"].str.endswith(":states")].groupby("layer")["m_change"].mean()
    np.testing.assert_allclose(rows["value"].astype(float), mean)


def test_items_without_pairs_are_compared_in_groups(items: pd.DataFrame) -> None:
    rows = found([table(items, 0.8)], items.assign(pair=None), contrast="difference")
    shares = rows[rows["quantity"] == "recovery"]
    assert shares.loc[2, "value"] == pytest.approx(0.3) and shares.loc[2, "corrected"] < 0.02
    assert (rows["items"] == 2 * PAIRS).all()


def test_the_test_of_ratios_is_that_of_all_relabellings() -> None:
    """Six pairs: all 64 relabellings by hand."""
    rng = np.random.default_rng(3)
    top, bottom = rng.normal(size=(12, 2)), rng.uniform(1, 2, size=12)
    labels, pairs = np.arange(12) < 6, [str(n) for n in range(6)] * 2
    test = ratio_test(top, bottom, labels, pairs=pairs)
    assert test is not None and test.exact and test.relabellings == 64
    null = []
    for code in range(64):
        turned = np.array([code >> n & 1 for n in range(6)] * 2, dtype=bool)
        chosen = labels ^ turned
        shares = [top[c].sum(axis=0) / bottom[c].sum() for c in (chosen, ~chosen)]
        null.append(shares[0] - shares[1])
    np.testing.assert_allclose(test.curve, null[0])
    np.testing.assert_allclose(test.p, (np.abs(null) >= np.abs(null[0]) - 1e-9).mean(axis=0))
    assert ratio_test(top, bottom - bottom.mean(), labels, pairs=pairs) is None


def test_labels_that_mean_nothing_are_found_as_rarely_as_they_should(items: pd.DataFrame) -> None:
    hits = 0
    for draw in range(60):
        rng = np.random.default_rng(draw)
        bottom = rng.uniform(0.5, 3, size=2 * PAIRS)
        top = bottom[:, None] * rng.normal(0.5, 1, size=(2 * PAIRS, LAYERS))
        pairs = [str(n) for n in range(PAIRS)] * 2
        test = ratio_test(top, bottom, np.arange(2 * PAIRS) < PAIRS, draw, pairs=pairs)
        assert test is not None
        hits += test.overall <= 0.05
    assert hits <= 9  # 3 are expected; more than 9 have a chance of .001


def test_the_step_writes_all_arms(items: pd.DataFrame, tmp_path: Path) -> None:
    base = table(items, 0.5).assign(method="base", reward="none")
    paths = []
    for number, made in enumerate((table(items, 0.8), base, table(items, 0.8, 1))):
        paths.append(tmp_path / f"{number}.parquet")
        made.to_parquet(paths[-1], index=False)
    full = items.assign(worked_documents=0, question="q", answer="a", worked="w", source="s")
    full.to_csv(tmp_path / "items.csv", index=False)
    bootstrap = {"seed": 0, "resamples": 50}
    spec = {"measures": ["m"], "exposed_from": 8, "bootstrap": bootstrap, "permutations": 50}
    inputs: dict[str, Any] = {"tables": paths, "items": tmp_path / "items.csv"}
    step.main(spec, inputs, {"table": tmp_path / "out.csv"}, Progress("recovery"))
    rows = pd.read_csv(tmp_path / "out.csv", keep_default_na=False)
    # Two arms, two curves and one less its null, two quantities, three contrasts.
    assert len(rows) == 2 * 3 * 2 * 3 * LAYERS
    assert set(zip(rows["state"], rows["replicates"], strict=True)) == {("base", 1), ("after", 2)}


def _missing(made: pd.DataFrame) -> pd.DataFrame:
    return made[(made["item"] != "e03") | (made["layer"] != 1)]


def _twice(made: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([made, made])


def _infinite(made: pd.DataFrame) -> pd.DataFrame:
    return made.assign(m_change=made["m_change"].where(made["item"] != "t01", np.inf))


@pytest.mark.parametrize("change", [_missing, _twice, _infinite])
def test_tables_that_do_not_fit_are_named(items: pd.DataFrame, change: Any) -> None:
    with pytest.raises(DataError, match=r"b/grpo/format: component 'mlp_out.*exactly one finite"):
        found([change(table(items, 0.8))], items)
