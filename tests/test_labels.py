"""Item labels against Monte Carlo, enumeration, and simulated arms of known rates."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from paradox.errors import DataError
from paradox.files import write_table
from paradox.mechanisms.labels import summary
from paradox.mechanisms.labels.measure import (
    Thresholds,
    by_cell,
    by_posterior,
    kappa,
    main,
    posteriors,
    read_draws,
    unchanged,
)
from paradox.mechanisms.tables.verdict import LABELS
from paradox.progress import Progress
from paradox.stats.bootstrap import Resampling

HOW = Thresholds(delta=0.3, certainty=0.95, high=0.8, low=0.2)
SPEC = {
    "arm": {"base": "contaminated", "method": "grpo", "reward": "constant", "seed": 0},
    "labels": {"delta": 0.3, "certainty": 0.95, "high": 0.8, "low": 0.2, "any_of": [1, 2]},
    "exposed_from": 8,
    "seed": 0,
    "resamples": 400,
}


def _items(pairs: int) -> pd.DataFrame:
    rows = []
    for number in range(pairs):
        rows.append([f"e{number}", "exposed", 8 if number % 2 else 1, f"p{number}"])
        rows.append([f"t{number}", "twin", 0, f"p{number}"])
    return pd.DataFrame(rows, columns=["item", "group", "exposure", "pair"])


def _samples(path: Path, items: pd.DataFrame, rates: Any, method: str, seed: int) -> Path:
    """Write samples of known rates; the greedy response is right where the rate is above 1/2."""
    drawn = np.random.default_rng(seed).random((len(items), 16)) < np.asarray(rates)[:, None]
    rows = [
        ["contaminated", method, item, sample, bool(right)]
        for item, row, rate in zip(items["item"], drawn, rates, strict=True)
        for sample, right in [(-1, rate > 0.5), *enumerate(row)]
    ]
    write_table(path, pd.DataFrame(rows, columns=["base", "method", "item", "sample", "correct"]))
    return path


def _run(folder: Path, before: Any, after: Any, pairs: int = 100) -> dict[str, pd.DataFrame]:
    items = _items(pairs)
    write_table(folder / "items.csv", items)
    inputs = {
        "items": folder / "items.csv",
        "before": _samples(folder / "before.parquet", items, before, "base", 11),
        "after": _samples(folder / "after.parquet", items, after, "grpo", 12),
    }
    outputs = {name: folder / f"{name}.csv" for name in ("labels", "rules")}
    main(SPEC, inputs, outputs, Progress("test"))
    outputs["confusion"] = folder / "confusion.csv"
    read: dict[str, Any] = {"tables": [outputs["labels"]], "items": inputs["items"]}
    summary.main(SPEC, read, {"table": outputs["confusion"]}, Progress("test"))
    return {name: pd.read_csv(path) for name, path in outputs.items()}


def test_posteriors_against_monte_carlo() -> None:
    rng = np.random.default_rng(0)
    cases = [(2, 14), (14, 2), (16, 16), (0, 0), (8, 9), (0, 16)]
    found = posteriors(*np.array(cases).T, (16, 16), HOW)
    for row, (one, two) in zip(found.itertuples(), cases, strict=True):
        p, q = (rng.beta(0.5 + right, 16.5 - right, 100_000) for right in (one, two))
        drawn = [q - p > 0.3, (p > 0.8) & (q > 0.8), p - q > 0.3, (p < 0.2) & (q < 0.2)]
        np.testing.assert_allclose(row[1:], [part.mean() for part in drawn], atol=0.008)


def test_labels_follow_the_rates() -> None:
    before = np.array([1, 16, 16, 0, 8, 8])[:, None] > np.arange(16)
    after = np.array([15, 16, 1, 0, 8, 11])[:, None] > np.arange(16)
    assert by_posterior(before, after, HOW).tolist() == [*LABELS, "ambiguous", "ambiguous"]
    # The same rates in four samples are not sure enough.
    assert by_posterior(before[:, ::4], after[:, ::4], HOW).tolist()[3:] == ["ambiguous"] * 3
    # A rise from one high rate to another is a change first.
    both = Thresholds(delta=0.2, certainty=0.95, high=0.5, low=0.5)
    sides = [np.arange(64)[None] < right for right in (44, 64)]
    sure = posteriors(*(side.sum(axis=1) for side in sides), (64, 64), both).iloc[0]
    assert sure["stable"] > 0.95 < sure["leakage"]
    assert by_posterior(*sides, both).tolist() == ["leakage"]
    right = np.array([False, True, True, False]), np.array([True, True, False, False])
    assert by_cell(*right).tolist() == LABELS


def test_the_closed_form_of_no_change() -> None:
    # Mean over all choices of 2k of the samples: k before, the other k after.
    base = np.array([[True, False, False, True, False, False], [True] * 6, [False] * 6])
    for k in (1, 2):
        found = unchanged(base, k)
        for row, samples in enumerate(base):
            cells = []
            for chosen in itertools.permutations(samples, 2 * k):
                one, two = (np.array([any(part)]) for part in (chosen[:k], chosen[k:]))
                cells.append(by_cell(one, two)[0])
            shares = [cells.count(label) / len(cells) for label in LABELS]
            np.testing.assert_allclose(found.loc[row, LABELS].astype(float), shares, atol=1e-12)
    assert unchanged(base, 4).isna().all(axis=None)
    many = np.random.default_rng(0).random((4000, 12)) < 0.3
    assert unchanged(many, 2)["leakage"].mean() == pytest.approx(0.7**2 * (1 - 0.7**2), abs=0.01)


def test_where_nothing_changed_only_the_published_rule_finds_leakage(tmp_path: Path) -> None:
    rates = np.random.default_rng(3).beta(1, 1, 200)
    tables = _run(tmp_path, rates, rates)
    at = tables["confusion"].set_index(["rule", "label", "level"])
    assert at.loc[("posterior", "leakage", "twin"), "share"] <= 0.05
    for k in (1, 2):
        row = at.loc[(f"any_of_{k}", "leakage", "twin")]
        expected = ((1 - rates) ** k * (1 - (1 - rates) ** k))[1::2].mean()
        assert row["low"] <= expected <= row["high"] and row["share"] > 0.08
        assert row["unchanged"] == pytest.approx(expected, abs=0.04)
    rules = tables["rules"].set_index("rule")
    assert rules.loc["any_of_1", "gain"] == 1  # in the samples that labelled
    assert abs(rules.loc["any_of_1", "gain_other"]) < 0.1
    assert abs(rules.loc["any_of_1", "change_correlation"]) < 0.25
    assert rules.loc["any_of_1", "kappa"] < 0.5
    none = at.loc[("greedy", "leakage", "twin")]
    # Where no item has a label, the interval is the exact one.
    assert none["share"] == none["low"] == 0 < none["high"] < 0.05
    # Shares add up within a level.
    total = tables["confusion"].groupby(["rule", "level"])["share"].sum()
    assert total.to_numpy() == pytest.approx(1)


def test_unlocked_memory_is_found(tmp_path: Path) -> None:
    exposed = np.arange(200) % 2 == 0
    counted = np.arange(200) % 4 == 2  # exposure 8
    tables = _run(tmp_path, np.full(200, 0.1), np.where(exposed, 0.9, 0.1))
    row = tables["rules"].set_index("rule").loc["posterior"]
    assert (row["exposed"], row["twins"]) == (counted.sum(), counted.sum())
    assert row["precision"] == 1 and row["recall"] > 0.95 and row["false_positive"] == 0
    assert row["leakage_kappa"] > 0.5 and row["kappa_low"] <= row["kappa"] <= row["kappa_high"]
    assert row["gain_other"] == pytest.approx(0.8, abs=0.06)
    rules = tables["rules"].set_index("rule")
    assert rules.loc["any_of_1", "recall"] < 0.95  # .9 x .9
    assert rules.loc["any_of_2", "false_positive"] > 0
    labels = tables["labels"].set_index("item")
    assert (labels.loc[["e1", "t1"], "posterior"] == ["leakage", "ambiguous"]).all()
    assert labels.loc["e1", "p_leakage"] > 0.95


def test_trainings_widen_the_shares(tmp_path: Path) -> None:
    items, rng = _items(50), np.random.default_rng(0)
    tables = [
        items[["item"]].assign(
            base="b",
            method="grpo",
            reward="format",
            seed=seed,
            posterior=np.where(rng.random(100) < share, "leakage", "stable"),
            posterior_change=0.0,
        )
        for seed, share in enumerate((0.2, 0.5, 0.8))
    ]
    widths = []
    for chosen in (tables[1:2], tables):
        rows = pd.DataFrame(summary.confusion(pd.concat(chosen), items, 8))
        row = rows[(rows["label"] == "leakage") & (rows["level"] == "twin")].iloc[0]
        assert (row["items"], row["replicates"]) == (50, len(chosen))
        widths.append(row["high"] - row["low"])
    assert widths[0] < 0.3 < widths[1]


def test_kappa_of_known_tables() -> None:
    one, two = np.repeat(["a", "a", "b", "b"], [20, 5, 10, 15]), np.array(["a"] * 20 + ["b"] * 5)
    two = np.concatenate([two, ["a"] * 10, ["b"] * 15])
    value, low, high = kappa(one, two, Resampling(0))
    assert value == pytest.approx(0.4)  # observed .7, by chance .5
    assert low < 0.4 < high and (high - low) / 2 == pytest.approx(0.253, rel=0.15)
    assert kappa(one, one, Resampling(0))[0] == 1
    assert kappa(one[:20], two[:20], Resampling(0)) == (None, None, None)


def test_samples_are_ordered_by_name(tmp_path: Path) -> None:
    items = _items(4)
    path = _samples(tmp_path / "s.parquet", items, np.full(8, 0.5), "base", 0)
    found = read_draws(path, items, "contaminated", trained=False)
    turned = read_draws(path, items[::-1], "contaminated", trained=False)
    assert (turned.sampled[::-1] == found.sampled).all()
    plain = pd.read_parquet(path).query("sample >= 0")["correct"].to_numpy().reshape(8, 16)
    assert (found.sampled.sum(axis=1) == plain.sum(axis=1)).all() and (found.sampled != plain).any()


def test_bad_samples_are_named(tmp_path: Path) -> None:
    items = _items(2)
    path = _samples(tmp_path / "s.parquet", items, np.full(4, 0.5), "base", 0)
    with pytest.raises(DataError, match=r"(?s)s.parquet.*base 'contaminated'.*a trained arm"):
        read_draws(path, items, "clean", trained=True)
    whole = pd.read_parquet(path)
    for wrong in (whole.iloc[1:], pd.concat([whole, whole.iloc[:1]])):
        write_table(path, wrong)
        with pytest.raises(DataError, match="exactly once"):
            read_draws(path, items, "contaminated", trained=False)
    with pytest.raises(DataError, match=r"any_of: found 9, allowed: 1 to 8"):
        SPEC["labels"]["any_of"] = [9]
        try:
            _run(tmp_path, np.full(8, 0.5), np.full(8, 0.5), pairs=4)
        finally:
            SPEC["labels"]["any_of"] = [1, 2]
