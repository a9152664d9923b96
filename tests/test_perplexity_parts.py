"""Parts of perplexity: claims on planted courses, and the table, verdicts and figure of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from paradox.files import write_table
from paradox.mechanisms.perplexity import claims, figure, summary
from paradox.mechanisms.perplexity.claims import CLAIMS, ONE_STEP, Case
from paradox.mechanisms.tables.verdict import FLOOR, NEGLIGIBLE, NO_SPREAD, NOT, OPEN, REPRODUCED
from paradox.progress import Progress

BEFORE = {"prompt": 1.0, "mode": 1.0, "content": 1.5, "answer": 1.25, "full": 1.1}
# The whole course towards the last checkpoint of the published pattern.
PUBLISHED = {"prompt": 0.4, "mode": -0.6, "content": -0.4, "answer": -0.5, "full": 0.3}
EVEN = np.array([0.25, 0.5, 0.75, 1.0])


def case(
    moves: dict[str, float],
    course: np.ndarray = EVEN,
    before: dict[str, float] = BEFORE,
    noise: float = 0.05,
    seed: int = 0,
) -> Case:
    """Return 60 items under 3 trainings whose parts move so far, a little differently each."""
    rng = np.random.default_rng(seed)
    parts = {
        part: move * course * (1 + 0.2 * rng.standard_normal((60, 1, 1)))
        + noise * rng.standard_normal((60, 3, len(course)))
        for part, move in moves.items()
    }
    return Case({"items": (1.0, parts)}, before, 0.1)


def called(name: str, given: Case) -> tuple[str, str]:
    """Return verdict and reason on a claim."""
    row = {row["signature"]: row for row in claims.verdicts(given, "unseen")}[name]
    return row["verdict"], row["reason"]


def test_the_published_pattern_is_recognised() -> None:
    given = case(PUBLISHED)
    for name in ("paradox", "prompt", "mode", "content", "monotone"):
        assert called(name, given) == (REPRODUCED, ""), name
    assert called("clean", given)[0] == NOT


@pytest.mark.parametrize("part", ["prompt", "answer", "full"])
def test_each_part_of_the_pattern_can_refute_it(part: str) -> None:
    given = case(PUBLISHED | {part: -PUBLISHED[part]})
    assert called("paradox", given)[0] == NOT
    assert called("monotone", given)[0] == NOT


def test_only_the_mode_moves() -> None:
    given = case(PUBLISHED | {"content": 0.0, "prompt": 0.0})
    assert called("mode", given)[0] == REPRODUCED
    assert called("content", given)[0] == called("prompt", given)[0] == NOT


def test_clean_models_as_published() -> None:
    given = case({"prompt": 0.1, "mode": 0.3, "content": 0.3, "answer": 0.3, "full": 0.2})
    assert called("clean", given) == (REPRODUCED, "")
    assert called("paradox", given)[0] == NOT


def test_a_change_below_its_margin_is_negligible() -> None:
    assert called("prompt", case(PUBLISHED | {"prompt": 0.03}))[0] == NEGLIGIBLE
    # With a base that is almost sure, one per cent of perplexity is the margin.
    sure = BEFORE | {"mode": 0.05}
    given = case(PUBLISHED | {"mode": -0.008}, before=sure, noise=0.001)
    assert called("mode", given)[0] == NEGLIGIBLE


def test_what_cannot_be_decided_says_why() -> None:
    assert called("mode", case(PUBLISHED, before=BEFORE | {"mode": 0.004})) == (OPEN, FLOOR)
    # A prompt can always lose.
    given = case(PUBLISHED, before=BEFORE | {"prompt": 0.004})
    assert called("prompt", given)[0] == REPRODUCED
    still = case(dict.fromkeys(PUBLISHED, 0.0), noise=0.0)
    for name in CLAIMS["unseen"]:
        assert called(name, still) == (OPEN, NO_SPREAD), name
    assert called("monotone", case(PUBLISHED, np.ones(1))) == (OPEN, ONE_STEP)


def test_monotone_is_about_every_step() -> None:
    # A trend over steps would be above 0.
    back = np.array([0.5, 1.3, 0.7, 1.0])
    assert called("paradox", case(PUBLISHED, back))[0] == REPRODUCED
    assert called("monotone", case(PUBLISHED, back))[0] == NOT
    # A flat end is no step back.
    flat = np.array([0.5, 1.0, 1.0, 1.0])
    assert called("monotone", case(PUBLISHED, flat, noise=0.01))[0] == REPRODUCED


def correlated(rho: float, seed: int, items: int = 60, sway: float = 0.0) -> Case:
    """Return changes of prompt and answer with a correlation over items."""
    rng = np.random.default_rng(seed)
    shared, own = rng.standard_normal((2, items, 1)), rng.standard_normal((2, items, 3))
    both = (shared + sway * own) / np.sqrt(1 + sway**2)
    other = rho * both[0] + np.sqrt(1 - rho**2) * both[1]
    parts = {"prompt": 0.1 * both[0] + 0.3, "answer": 0.5 * other - 0.2}
    return Case({"items": (1.0, {n: v[:, :, None] for n, v in parts.items()})}, BEFORE, 0.1)


@pytest.mark.parametrize(
    ("rho", "verdict"), [(-0.6, REPRODUCED), (0.5, NOT), (0.0, OPEN), (-0.01, NOT)]
)
def test_correlation_over_items(rho: float, verdict: str) -> None:
    given = correlated(rho, 3, items=2000 if rho == -0.01 else 60)
    (row,) = claims.correlation(given)
    _, parts = given.sides["items"]
    found = [np.corrcoef(parts["prompt"][:, s, 0], parts["answer"][:, s, 0])[0, 1] for s in (0, 1)]
    assert row["effect"] == pytest.approx(-np.mean(found), abs=0.02)
    assert row["verdict"] == verdict


@pytest.mark.parametrize("rho", [0.0, -0.5])
@pytest.mark.parametrize("sway", [0.0, 1.0])
def test_the_interval_of_a_correlation_covers(rho: float, sway: float) -> None:
    inside = 0
    for seed in range(600):
        (row,) = claims.correlation(correlated(rho, seed, sway=sway))
        inside += row["low"] < -rho < row["high"]
    assert 0.92 <= inside / 600 <= 0.98


# --- a study ------------------------------------------------------------------------------------

SPEC = {
    "exposed_from": 128,
    "margin_share": 0.1,
    "bases": {"planted": "contaminated", "clean": "clean"},
}
PAIRS = 20
EXPOSURES = (8, 128, 512)
MOVES = {"prompt": 0.3, "mode": -0.5, "recall": 0.0}


def items() -> pd.DataFrame:
    rows = []
    for exposure in EXPOSURES:
        for number in range(PAIRS):
            pair = f"p{exposure}-{number}"
            rows.append([f"e{exposure}-{number}", "exposed", exposure, pair])
            rows.append([f"t{exposure}-{number}", "twin", 0, pair])
    return pd.DataFrame(rows, columns=["item", "group", "exposure", "pair"])


def scored(base: str, reward: str, seed: int, step: int, share: float) -> pd.DataFrame:
    """Return a step of ``nll.csv``: on the planted base prompts of counted items lose."""
    table = items().drop(columns="pair")
    rng = np.random.default_rng([len(base), len(reward), seed, step])
    start = np.random.default_rng(5).uniform(0.9, 1.1, len(table))
    for name, level in (("prompt", 1.0), ("mode", 1.0), ("recall", 1.5)):
        moved = MOVES[name] * share * (1 + 0.1 * rng.standard_normal(len(table)))
        if name == "prompt":
            moved = moved * ((table["exposure"] >= 128) & (base == "contaminated"))
        table[f"{name}_nll"] = level * start + moved + 0.002 * seed * share
    table["prompt_tokens"], table["own_tokens"] = 8, 2
    table["answer_nll"] = (table["mode_nll"] + table["recall_nll"]) / 2
    table["full_nll"] = (table["prompt_nll"] * 8 + table["answer_nll"] * 2) / 10
    table["own_nll"] = np.where(np.arange(len(table)) == 0, np.nan, 1.0 - 0.5 * share)
    table["own_base_nll"] = table["own_nll"] + 0.5 * share
    return named(table, base, reward, seed, step)


def counted(base: str, reward: str, seed: int, step: int, samples: int) -> pd.DataFrame:
    table = items().drop(columns="pair")
    rate = 0.9 if reward != "none" else 0.5
    rng = np.random.default_rng([len(base), seed, step, 1])
    table["samples"], table["correct"] = samples, rng.binomial(samples, rate, len(table))
    return named(table, base, reward, seed, step)


def named(table: pd.DataFrame, base: str, reward: str, seed: int, step: int) -> pd.DataFrame:
    method = "base" if reward == "none" else "grpo"
    return table.assign(base=base, method=method, reward=reward, seed=seed, step=step)


def study(folder: Path, table: pd.DataFrame, bases: tuple[str, ...]) -> dict[str, Any]:
    """Write what the step reads and return it by role."""
    inputs: dict[str, Any] = {"items": folder / "items.csv", "nlls": [], "evaluations": []}
    write_table(inputs["items"], table)
    for base in bases:
        arms = [("none", 0, {0: 0.0})]
        arms += [("incorrect", seed, {10: 0.6, 20: 1.0}) for seed in range(3)]
        arms += [("constant", seed, {10: 0.0, 20: 0.0}) for seed in range(3)]
        for reward, seed, steps in arms:
            key = "none" if reward == "constant" else reward
            nll, counts = [], []
            for step, share in steps.items():
                own = scored(
                    base, key, 0 if key == "none" else seed, 0 if key == "none" else step, share
                )
                nll.append(
                    own.assign(
                        method="base" if reward == "none" else "grpo",
                        reward=reward,
                        seed=seed,
                        step=step,
                    )
                )
                many = 16 if step in (0, 20) else 2
                counts.append(counted(base, reward, seed, step, many))
            for role, rows in (("nlls", nll), ("evaluations", counts)):
                path = folder / f"{role}-{base}-{reward}-{seed}.csv"
                rows = [part[part["item"].isin(table["item"])] for part in rows]
                write_table(path, pd.concat(rows))
                inputs[role].append(path)
    return inputs


def run(folder: Path, table: pd.DataFrame, bases: tuple[str, ...], spec: Any = SPEC) -> Any:
    outputs = {"parts": folder / "parts.csv", "verdicts": folder / "verdicts.csv"}
    inputs = study(folder, table, bases)
    summary.main(spec, inputs, outputs, Progress("test", streams=()))
    return {name: pd.read_csv(path) for name, path in outputs.items()} | {"inputs": inputs}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the step makes of both bases."""
    return run(tmp_path_factory.mktemp("parts"), items(), ("contaminated", "clean"))


def rows_of(table: pd.DataFrame, **key: Any) -> pd.DataFrame:
    for column, value in key.items():
        table = table[table[column].astype(str) == str(value)]
    return table


def test_the_table_by_exposure_and_part(made: Any) -> None:
    table = made["parts"]
    assert set(table["exposure"]) == {"8", "128", "512", "exposed"}
    assert set(table["group"]) == {"exposed", "twin", "difference"}
    assert set(table["part"]) == set(summary.PARTS)
    assert set(table.loc[table["tautological"], "part"]) == {"own", "own_full"}
    key = {"base": "contaminated", "reward": "incorrect", "step": 20, "part": "prompt"}
    (row,) = rows_of(table, exposure="128", group="exposed", **key).to_dict("records")
    nlls = [pd.read_csv(path) for path in made["inputs"]["nlls"]]
    whole = pd.concat(nlls).query("base == 'contaminated' and exposure == 128")
    after = whole.query("reward == 'incorrect' and step == 20")["prompt_nll"]
    before = whole.query("reward == 'none'")["prompt_nll"]
    assert row["value"] == pytest.approx(after.mean())
    assert row["change"] == pytest.approx(after.mean() - before.mean())
    assert (row["items"], row["replicates"]) == (PAIRS, 3)
    # Difference: exposed minus own twin; two-sided p, either way.
    (gap,) = rows_of(table, exposure="exposed", group="difference", **key).to_dict("records")
    assert gap["change"] == pytest.approx(0.3, abs=0.02) and gap["p"] < 0.01 < gap["low"]
    (down,) = rows_of(table, exposure="exposed", group="twin", **key | {"part": "mode"}).to_dict(
        "records"
    )
    assert down["high"] < 0 and down["p"] < 0.01
    trained = table[table["p"].notna()]
    clear = (trained["low"] > 0) | (trained["high"] < 0)
    assert ((trained["p"] <= 0.05) == clear).all()
    assert table.loc[table["method"] == "base", "change"].isna().all()


def test_the_marginal_is_compared_with_as_many_terms(made: Any) -> None:
    table = rows_of(made["parts"], part="marginal", exposure="512", group="exposed")
    arm = rows_of(table, base="contaminated", reward="incorrect").set_index("step")
    assert arm["terms"].to_dict() == {10: 2, 20: 16}
    assert arm.loc[20, "value"] == pytest.approx(-np.log(0.9), abs=0.05)
    assert arm.loc[20, "change"] == pytest.approx(np.log(0.5 / 0.9), abs=0.15)
    # 1/2 in two terms: .5 + .25/2; .9 in two terms: .1 + .01/2.
    assert arm.loc[10, "change"] == pytest.approx(0.105 - 0.625, abs=0.12)
    assert 0 < arm.loc[20, "sampling"] < arm.loc[10, "sampling"] < 0.05


def test_verdicts_by_group(made: Any) -> None:
    table = made["verdicts"]
    assert set(table["group"]) == set(CLAIMS) and set(table["method"]) == {"grpo"}
    words = rows_of(table, reward="incorrect").set_index(["base", "group", "signature"])["verdict"]
    planted = words["contaminated"]
    for group in ("exposed", "difference", "beyond"):
        assert planted[group, "prompt"] == REPRODUCED, group
    assert planted["twin", "prompt"] != REPRODUCED != planted["seldom", "prompt"]
    # The mode moves everywhere alike: it is no memory.
    assert planted["exposed", "mode"] == planted["twin", "mode"] == REPRODUCED
    assert planted["difference", "mode"] == planted["beyond", "mode"] == NOT
    assert words["clean", "unseen", "mode"] == REPRODUCED
    assert words["clean", "unseen", "clean"] == NOT
    constant = rows_of(table, reward="constant")
    assert (constant["verdict"] == OPEN).all() and (constant["reason"] == NO_SPREAD).all()


def test_without_a_clean_base_or_pairs(tmp_path: Path) -> None:
    spec = SPEC | {"bases": {"planted": "contaminated", "clean": None}}
    unpaired = items().drop(columns="pair").query("item != 't8-0'")
    made = run(tmp_path, unpaired, ("contaminated",), spec)
    assert set(made["verdicts"]["group"]) == {"exposed", "seldom", "twin", "difference"}
    table = rows_of(made["parts"], reward="incorrect", step=20, part="prompt", exposure="128")
    found = table.set_index("group")
    assert found.loc["twin", "items"] == 3 * PAIRS - 1
    assert found.loc["difference", "change"] == pytest.approx(0.3, abs=0.02)


def test_without_twins(tmp_path: Path) -> None:
    made = run(tmp_path, items().query("group == 'exposed'"), ("contaminated", "clean"))
    assert set(made["parts"]["group"]) == {"exposed"}
    assert set(made["verdicts"]["group"]) == {"exposed", "seldom", "beyond", "unseen"}


def test_the_figure_shows_parts_by_exposure(made: Any, tmp_path: Path) -> None:
    table = tmp_path / "parts.csv"
    write_table(table, made["parts"])
    outputs = {end: tmp_path / f"figure.{end}" for end in ("svg", "png", "csv")}
    figure.main({}, {"table": table}, outputs, Progress("test", streams=()))
    first = outputs["svg"].read_bytes()
    figure.main({}, {"table": table}, outputs, Progress("test", streams=()))
    assert outputs["svg"].read_bytes() == first
    drawn = pd.read_csv(outputs["csv"])
    assert set(drawn["step"]) == {20} and set(drawn["exposure"]) == set(EXPOSURES)
    axes = figure.draw(figure.data(table)).axes
    assert len(axes) == len(figure.PARTS) * 2
    assert [text.get_text() for text in axes[-1].get_xticklabels()] == ["8", "128", "512"]
