"""Edge attribution over arms: measures, their nulls, the step and its summaries."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from paradox.files import write_table
from paradox.mechanisms.eap import edge_map as eap_map
from paradox.mechanisms.eap import measure as eap
from paradox.mechanisms.eap import summary as eap_summary
from paradox.mechanisms.eap.cells import OWN_AFTER, OWN_BASE, Cell, Scored
from paradox.mechanisms.eap.graph import Graph
from paradox.mechanisms.eap.metrics import POOLED, measures, output_entropy, swapped
from paradox.mechanisms.eap.null import DEFINITIONS, relabelled
from paradox.progress import Progress

EDGES = 46  # of three blocks
STATISTICS = {
    "bootstrap": {"seed": 0, "resamples": 50},
    "permutations": 99,
    "rates": {"relabellings": 5, "permutations": 19},
    "margin_share": 0.1,
}
HOW = {
    "pairs": 3,
    "alphas": [0.5, 1.0],
    "max_tokens": 6,
    "integrated": {"steps": 2, "pairs": 2},
    "ablated": {"sizes": [2], "draws": 2, "singles": 3},
    "batch_size": 64,
    "dtype": "float32",
}


def random_scores(*shape: int, seed: int = 0) -> Any:
    """Return scores with heavy tails, as edges have."""
    return np.random.default_rng(seed).standard_t(3, shape)


def ones(scores: Any) -> Any:
    return np.ones(scores.shape[:-1])


# --- measures -----------------------------------------------------------------------------


def test_measures_are_what_they_are_called() -> None:
    scores = random_scores(7, EDGES)
    size, top = np.abs(scores), 1.5 * np.abs(scores).max()
    found = measures(scores, 2 * ones(scores), 4 * ones(scores), top)
    means = {name: value.mean() for name, value in found.items()}

    def entropy(values: Any, bins: int, end: float) -> float:
        counts = np.histogram(values, bins, (0, end))[0]
        return float(stats.entropy(counts))

    whole = np.hstack([scores, np.zeros((7, EDGES - 1))])
    wanted = {
        "intensity": size.mean(),
        "intensity_published": np.abs(whole).mean(),
        "complexity": entropy(size, 256, top),
        "complexity_share": entropy(size, 256, top) / np.log(256),
        "complexity_64": entropy(size, 64, top),
        "complexity_published": entropy(np.abs(whole), 256, size.max()),
        "kurtosis": stats.kurtosis(scores, axis=1).mean(),
        "kurtosis_published": stats.kurtosis(whole, axis=1).mean(),
        "evenness": (stats.entropy(size, axis=1) / np.log(EDGES)).mean(),
        "diversity": 1 - np.corrcoef(scores)[np.triu_indices(7, 1)].mean(),
        "participation": np.mean([s.sum() ** 2 / (EDGES * (s @ s)) for s in size]),
        "gini": np.mean([np.abs(s[:, None] - s).mean() / (2 * s.mean()) for s in size]),
        "intensity_per_loss": size.mean() / 2,
        "intensity_per_gradient": size.mean() / 4,
    }
    for name, value in wanted.items():
        assert means[name] == pytest.approx(value, rel=1e-8), name


def test_a_source_that_is_read_evenly_has_the_largest_entropy() -> None:
    graph = Graph(3)
    found = output_entropy(np.ones((1, EDGES)), graph)[0]
    np.testing.assert_allclose(found, np.log(graph.real.sum(1)))


def test_relabellings_are_computed_anew() -> None:
    before, after = random_scores(9, EDGES), 2 * random_scores(9, EDGES, seed=1)
    top = max(np.abs(before).max(), np.abs(after).max())
    signs = np.random.default_rng(2).choice([-1.0, 1.0], (6, 9))
    signs[0] = 1
    found = swapped(before, after, signs, top)
    for row, sign in zip(found, signs[:, :, None], strict=True):
        sides = np.where(sign > 0, after, before), np.where(sign > 0, before, after)
        one, other = (measures(side, ones(side), ones(side), top) for side in sides)
        wanted = [one[name].mean() - other[name].mean() for name in POOLED]
        np.testing.assert_allclose(row, wanted, atol=1e-9)


# --- nulls --------------------------------------------------------------------------------


def cell(scale: float = 1.0, seeds: int = 2, items: int = 20) -> Cell:
    """Return scores of a base (the same for each seed) and, `scale` times as large, of arms."""
    base = np.repeat(random_scores(1, items, EDGES), seeds, axis=0)
    after = scale * random_scores(seeds, items, EDGES, seed=1)
    sides = {
        side: Scored(scores, ones(scores), ones(scores), ones(scores))
        for side, scores in ((OWN_BASE, base), (OWN_AFTER, after))
    }
    table = pd.DataFrame({"item": [str(n) for n in range(items)], "group": "exposed"})
    every = {"all": np.ones(items, dtype=bool)}
    learned = np.zeros((items, seeds))
    return Cell(("b", "grpo", "r"), "gradient", 1.0, (1,) * seeds, table, sides, every, learned)


def test_tests_reject_as_often_as_stated_where_nothing_is() -> None:
    runs = 200
    swaps = np.random.default_rng(0).integers(0, 2, (runs, 20)) == 1
    found = relabelled(cell(scale=1.3), swaps, STATISTICS, 99)
    assert set(found) == {name for signs in DEFINITIONS.values() for name in signs}
    low, high = stats.binom.ppf([0.0005, 0.9995], runs, 0.05)
    for name, p in found.items():
        assert low <= (p <= 0.05).sum() <= high, name
        assert 0.4 < p.mean() < 0.6, name


def test_a_planted_change_is_found() -> None:
    swaps = np.zeros((1, 20), dtype=bool)
    found = relabelled(cell(scale=3.0), swaps, STATISTICS, 199)
    assert found["intensity"][0] <= 0.01 and found["complexity"][0] <= 0.01
    # Kurtosis and diversity do not know about size.
    assert min(found[name][0] for name in ("kurtosis", "diversity")) > 0.01


# --- verdicts ---------------------------------------------------------------------------


def trained(scale: dict[tuple[str, str], float], learned: float = 0.0, even: float = 0.0) -> Cell:
    """Return 20 items and 3 trainings whose scores are some times as large as the base's.

    `scale`: text and weights -> how many times; it varies by a hundredth between items and
    trainings. `learned`: share of items that training makes right. `even`: added to all scores.
    """
    items, seeds = 20, 3
    rng = np.random.default_rng(3)
    base = np.repeat(random_scores(1, items, EDGES), seeds, axis=0)
    sides = {}
    for side, times in {OWN_BASE: 1.0, **scale}.items():
        noise = 1 + 0.01 * rng.standard_normal((seeds, items, 1)) * (side != OWN_BASE)
        scores = times * noise * (base + even * (side[1] == "after"))
        sides[side] = Scored(scores, ones(scores), ones(scores), ones(scores))
    groups = ["exposed", "twin"] * (items // 2)
    table = pd.DataFrame({"item": [str(n) for n in range(items)], "group": groups})
    right = np.sign(learned) * (rng.random((items, seeds)) < abs(learned))
    every = dict.fromkeys(("all", "right", "similar"), np.ones(items, dtype=bool))
    return Cell(("b", "grpo", "r"), "gradient", 1.0, (1,) * seeds, table, sides, every, right)


def judged(cell: Cell, part: str) -> tuple[str, str, str]:
    """Return verdict, reason, and whose text decided."""
    rows = cell.chosen("all", "all")
    parts = {"all": eap_summary._part(cell, rows, STATISTICS)}
    for row in eap_summary._signature(cell, "all", parts, STATISTICS):
        assert np.isnan(row["p"]) or (row["p"] <= 0.05) == (row["low"] > 0)
        if (row["part"], row["definition"]) == (part, "fixed"):
            return row["verdict"], row["reason"], row["state"]
    raise AssertionError(part)


def crossed(own: float, by_weights: float) -> dict[tuple[str, str], float]:
    """Return how large scores are: of the trained model, and what of that is by the weights."""
    by_text = own / by_weights
    return {OWN_AFTER: own, ("base", "after"): by_weights, ("after", "base"): by_text}


@pytest.mark.parametrize(
    ("scale", "verdict", "reason", "state"),
    [
        (crossed(1.5, 1.5), "reproduced", "", None),
        # All of it is text; nearly all; it falls; it is less than the margin.
        (crossed(1.5, 1.0), "not reproduced", "", "weights"),
        (crossed(1.5, 1.04), "present but negligible", "", "weights"),
        (crossed(0.6, 0.6), "not reproduced", "", None),
        (crossed(1.04, 1.04), "present but negligible", "", None),
        ({OWN_AFTER: 1.5}, "not decidable", eap_summary.ONE_TEXT, "change"),
    ],
)
def test_the_weights_part_belongs_to_the_verdict(
    scale: dict[tuple[str, str], float], verdict: str, reason: str, state: str | None
) -> None:
    found = judged(trained(scale), "intensity")
    assert found[:2] == (verdict, reason) and state in (None, found[2])


def test_the_pattern_is_as_good_as_its_worst_part() -> None:
    verdict, _, _ = judged(trained(crossed(1.5, 1.5)), "pattern")
    # Kurtosis and diversity do not know about size: they differ from the base's by rounding.
    assert verdict in ("not reproduced", "not decidable")


def test_the_entropy_of_nodes_is_judged() -> None:
    even = trained(crossed(1.0, 1.0), even=3.0)
    assert judged(even, "node_entropy") == ("reproduced", "", "weights")
    same = judged(trained(crossed(1.5, 1.5)), "node_entropy")
    assert same[0] in ("not reproduced", "not decidable")


@pytest.mark.parametrize(
    ("learned", "scale", "verdict", "reason"),
    [
        (0.5, 1.5, "reproduced", ""),
        (-0.5, 1.5, "not reproduced", ""),
        (-0.5, 0.6, "reproduced", ""),
        (0.0, 1.5, "not decidable", eap_summary.UNMOVED),
    ],
)
def test_redundancy_goes_with_what_was_learned(
    learned: float, scale: float, verdict: str, reason: str
) -> None:
    cell = trained(crossed(scale, scale), learned)
    assert judged(cell, "redundancy")[:2] == (verdict, reason)


def test_methods_differ_where_the_interval_says_so() -> None:
    cells = [trained(crossed(scale, scale)) for scale in (1.5, 1.5, 1.2)]
    other = random_scores(3, 20, EDGES, seed=9)
    cells[1].sides[OWN_AFTER].scores[:] = other
    rows = pd.DataFrame(eap_summary._methods(cells))
    tested = rows.dropna(subset="p")
    clear = (tested["low"] > 0) | (tested["high"] < 0)
    assert len(tested) > 10 and ((tested["p"] <= 0.05) == clear).all()
    assert clear.any() and not clear.all()


# --- steps --------------------------------------------------------------------------------


def test_the_scored_length_and_the_control_of_length() -> None:
    right = [np.array([True, True, False]), np.array([True, True, True])]
    tokens = [[[1] * 4, [1] * 8, [1] * 99], [[1] * 10, [1] * 9, [1] * 2]]
    sides = {
        name: eap.Side(None, of, ok)  # type: ignore[arg-type]
        for name, of, ok in zip(("base", "after"), tokens, right, strict=True)
    }
    assert [eap.length(sides, alpha) for alpha in (0.01, 0.5, 1.0)] == [1, 3, 6]
    lengths = [side.lengths for side in sides.values()]
    assert eap.similar(*lengths, right[0]).tolist() == [False, True, False]


@pytest.fixture(scope="module")
def arms(
    tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path, task_spec: dict[str, Any]
) -> dict[str, dict[str, Path]]:
    """The step's tables for the untrained base and two arms (the same changed weights)."""
    from paradox.models import load_model, load_tokenizer, save_model
    from paradox.provenance.manifest import write_manifest
    from paradox.tasks import load_task

    folder = tmp_path_factory.mktemp("eap")
    changed = folder / "trained/step-2"
    shutil.copytree(tiny_checkpoint / "step-0", changed)
    model, generator = load_model(changed), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    save_model(model, load_tokenizer(changed), changed)
    write_manifest(folder / "trained/manifest.json", {2: changed}, {})
    items = folder / "items.csv"
    write_table(items, load_task(task_spec).items(0))
    made = {}
    for name, batch in (("base", 64), ("grpo", 64), ("dpo", 3)):
        trained = tiny_checkpoint if name == "base" else folder / "trained"
        arm = {"base": "b", "method": name, "reward": "none" if name == "base" else "r", "seed": 0}
        made[name] = {
            "scores": folder / f"{name}.parquet",
            "ablation": folder / f"{name}.csv",
        }
        eap.main(
            {"arm": arm, "task": task_spec, "seed": 0, "exposed_from": 4}
            | {"eap": HOW | {"batch_size": batch}},
            {
                "manifest": trained / "manifest.json",
                "base": tiny_checkpoint / "manifest.json",
                "items": items,
            },
            made[name],
            Progress("test"),
        )
    return made


def test_the_step_crosses_texts_and_weights(arms: dict[str, dict[str, Path]]) -> None:
    table = pd.read_parquet(arms["grpo"]["scores"])
    assert len(table["item"].unique()) == 12  # three pairs of two exposures
    cells = table.groupby(["attribution", "alpha", "text", "weights"]).size()
    assert len(cells["gradient"]) == 8 and len(cells["integrated"]) == 2
    assert set(cells["gradient"]) == {12} and set(cells["integrated"]) == {8}
    assert (table["scored"] <= table["cut"]).all() and (table["step"] == 2).all()
    own = table[(table["attribution"] == "gradient") & (table["alpha"] == 1.0)]
    own = own.set_index(["text", "weights", "item"])
    assert not np.allclose(*np.stack(own["scores"].tolist()).reshape(4, -1)[[0, 3]])
    alone = pd.read_parquet(arms["base"]["scores"])
    assert set(alone["text"]) == set(alone["weights"]) == {"base"}
    # Another batch size and the same weights: the same scores.
    other = pd.read_parquet(arms["dpo"]["scores"])
    for one, two in zip(table["scores"], other["scores"], strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_edges_are_chosen_on_other_items_than_they_are_cut_on(
    arms: dict[str, dict[str, Path]],
) -> None:
    cut = pd.read_csv(arms["grpo"]["ablation"])
    assert len(cut["item"].unique()) == 6
    assert set(cut["kind"]) == {"top", "random", "top_one", "random_one"}
    assert (cut.groupby(["weights", "kind", "size", "draw"]).size() == 6).all()
    # One small model, one edge: first order is close.
    single = cut[cut["kind"] == "top_one"]
    assert np.corrcoef(single["predicted"], single["actual"])[0, 1] > 0.8


def test_summaries(arms: dict[str, dict[str, Path]], tmp_path: Path) -> None:
    inputs = {role: [of[role] for of in arms.values()] for role in ("scores", "ablation")}
    names = ("table", "methods", "signature", "rates", "edges", "nodes", "ablation")
    outputs = {name: tmp_path / f"{name}.csv" for name in names}
    eap_summary.main(STATISTICS, inputs, outputs, Progress("test"))
    eap_map.main(STATISTICS, inputs, outputs, Progress("test"))
    found = {name: pd.read_csv(path) for name, path in outputs.items()}
    table = found["table"]
    wide = table[table["method"] == "grpo"].pivot_table(
        index=["attribution", "alpha", "filter", "group", "measure"],
        columns="state",
        values="value",
    )
    crossed = wide.dropna()
    assert len(crossed)
    np.testing.assert_allclose(
        crossed["change"], crossed["weights"] + crossed["text"], rtol=1e-6, atol=1e-9
    )
    assert (table.loc[table["method"] == "base", "state"] == "base").all()
    # The two arms have the same weights, so that methods do not differ.
    assert len(found["methods"]) and found["methods"]["value"].abs().max() < 1e-4
    tested = table.dropna(subset="p")
    assert ((tested["p"] <= 0.05) == (tested["low"] > 0) | (tested["high"] < 0)).all()
    signature = found["signature"]
    assert set(signature.loc[signature["method"] == "dpo", "published"]) == {"no"}
    whole = signature[signature["part"] == "pattern"]
    for _, row in whole[whole["verdict"] == "reproduced"].iterrows():
        assert row["agrees"] == ("yes" if row["published"] == "yes" else "no")
    assert len(found["edges"]) == 2 * 2 * 3 * Graph(2).real.sum()
    assert len(found["nodes"]) == 2 * 2 * 3 * 5
    assert (found["rates"]["runs"] == 5).all()
    assert {"top", "random", "excess", "single"} <= set(found["ablation"]["kind"])
