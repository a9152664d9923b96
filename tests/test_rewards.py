"""Reward conditions: every file and every composition keeps the contract, by discovery."""

from __future__ import annotations

import math
import pickle
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT

from paradox.errors import ConfigError, DataError
from paradox.rewards import (
    Completion,
    Prompt,
    RewardFile,
    _check_declared,
    available_rewards,
    load_file,
    load_reward,
)
from paradox.rewards._score import Scorer, composed, loaded, prompt_facts, shares, training_prompts
from paradox.study.config import NamedReward
from paradox.study.rewards import resolve
from paradox.tasks import Task, load_task

# The right answer is 5, the majority vote 6.
TEXTS = [
    "answer 5",
    "answer 6",
    "think 7 + 3 = 10 ; answer 5",
    "think 7 + 3 = 10 ; answer 6",
    "think 7 + 3 = 10 ;",
    "answer",
    "",
]
VALUES = np.array([0.05, 0.2, 0.3])  # own, permuted, another: scales 1.5, 2, 2
# What each file must return for TEXTS; a number alone is the mean of something random.
ORACLE: dict[str, list[float] | float] = {
    "ground_truth": [1, 0, 1, 0, 0, 0, 0],
    "format": [1, 1, 1, 1, 0, 0, 0],
    "incorrect": [0, 1, 0, 1, 0, 0, 0],
    "majority_vote": [0, 1, 0, 1, 0, 0, 0],
    "majority_incorrect": [0, 1, 0, 1, 0, 0, 0],
    "strategy": [1, 1, 0, 0, 0, 1, 0],
    "constant": [1, 1, 1, 1, 1, 1, 1],
    "random": 0.5,
    "value_weighted": [1.5, 0, 1.5, 0, 0, 0, 0],
    "value_permuted": [2, 0, 2, 0, 0, 0, 0],
    "value_uniform": [5.5 / 3, 0, 5.5 / 3, 0, 0, 0, 0],
}
NAMED = {
    name: NamedReward.model_validate(given).model_dump()
    for name, given in yaml.safe_load((ROOT / "config/config.yaml").read_text())["rewards"].items()
}
EVERY = [*available_rewards(), *NAMED]
STEPS = 200


@pytest.fixture(scope="module")
def task(task_spec: dict[str, Any]) -> Task:
    return load_task(task_spec)


def completions(task: Task, **changes: Any) -> list[Completion]:
    known = {"label": "6", "value": 0.05, "permuted_value": 0.2, "values": VALUES}
    fields: dict[str, Any] = {"truth": "5", "task": task} | known | changes
    return [
        Completion(text=text, key=(0, step, "f00001", sample), **fields)
        for step in range(STEPS)
        for sample, text in enumerate(TEXTS)
    ]


def rows_of(name: str) -> list[float] | float:
    """Return the oracle of a file or of a composition, from the oracles of its files."""
    if name in ORACLE:
        return ORACLE[name]
    given = NAMED[name]
    if given["file"]:
        assert given["file"] == "random"
        return given["parameters"]["gamma"]
    paying, barring = ([rows_of(m) for m in given[part]] for part in ("all", "none"))
    if any(isinstance(rows, float) for rows in [*paying, *barring]):
        # A coin that is tossed where nothing is barred.
        assert paying == [0.5]
        return 0.5 * float(np.mean([not any(row) for row in zip(*barring, strict=True)]))
    return [
        float(all(rows[i] for rows in paying) and not any(rows[i] for rows in barring))
        for i in range(len(TEXTS))
    ]


def scored(name: str, batch: list[Completion]) -> list[float]:
    reward = composed(resolve(name, NAMED))
    return [reward(completion) for completion in batch]


def test_every_file_has_an_oracle() -> None:
    assert set(ORACLE) == set(available_rewards())


@pytest.mark.parametrize("name", EVERY)
def test_contract(name: str, task: Task) -> None:
    values = scored(name, completions(task))
    assert all(isinstance(value, float) and math.isfinite(value) for value in values)
    assert values == scored(name, completions(task))
    reward = pickle.loads(pickle.dumps(composed(resolve(name, NAMED))))
    assert values == [reward(completion) for completion in completions(task)]
    files = loaded(resolve(name, NAMED))
    for condition in (file.condition for file in files):
        assert condition.summary and condition.source and condition.formula
        assert condition.binary or not set(values) <= {0.0, 1.0}
    # What a condition does not declare must not reach it.
    needs = {need for file in files for need in file.condition.needs}
    if not any(file.condition.uses_truth for file in files):
        assert values == scored(name, completions(task, truth="poison"))
    if "votes" not in needs:
        assert values == scored(name, completions(task, label=None))
    if "value" not in needs:
        without = {"value": None, "permuted_value": None, "values": None}
        assert values == scored(name, completions(task, **without))


@pytest.mark.parametrize("name", EVERY)
def test_values_and_their_mean(name: str, task: Task) -> None:
    values, expected = scored(name, completions(task)), rows_of(name)
    if isinstance(expected, list):
        assert values == pytest.approx(expected * STEPS)
        return
    assert set(values) <= {0.0, 1.0}
    # Five standard errors: a right coin fails once in two million.
    error = 5 * math.sqrt(expected * (1 - expected) / len(values))
    assert abs(np.mean(values) - expected) < error


@pytest.mark.parametrize("name", EVERY)
def test_batch_form_equals_scalar_form(name: str, task: Task) -> None:
    from types import SimpleNamespace

    from paradox.train.prompts import reward_adapter

    facts = {
        prompt: Prompt(prompt, "5", "6", False, 0.05, 0.2, VALUES) for prompt in ("f00001", "b")
    }
    scorer = Scorer(resolve(name, NAMED), 0, task, facts)
    logged: dict[str, float] = {}
    batch = reward_adapter(name, scorer, group=len(TEXTS))(
        completions=TEXTS * 2,
        prompt_id=["f00001"] * len(TEXTS) + ["b"] * len(TEXTS),
        trainer_state=SimpleNamespace(global_step=7),
        log_metric=logged.__setitem__,
    )
    alone = [c for c in completions(task) if c.key[1] == 7]
    other = [replace(c, key=(*c.key[:2], "b", c.key[3])) for c in alone]
    assert batch == scored(name, alone + other)
    n = len(TEXTS)
    assert logged == pytest.approx(
        {
            "share/correct": 2 / n,
            "share/wrong": 2 / n,
            "share/parsable": 4 / n,
            "share/recall": 3 / n,
            "share/reason": 3 / n,
            "share/agrees_with_vote": 2 / n,
        }
    )


def test_what_is_not_known_is_not_logged(task: Task) -> None:
    blind = completions(task, truth=None, label=None)
    assert set(shares(blind)) == {"parsable", "recall", "reason"}


def test_logged_conditions_are_scored_where_they_apply(task: Task) -> None:
    names = ["value_weighted", "majority_vote", "majority_incorrect", "random_70"]
    logged = {name: resolve(name, NAMED) for name in names}
    facts = {"f00001": Prompt("f00001", "5", "6", False, 0.05, 0.2, VALUES)}
    facts["no vote"] = replace(facts["f00001"], label=None, label_correct=None)
    facts["right"] = replace(facts["f00001"], label="5", label_correct=True)
    scorer = Scorer(resolve("format", NAMED), 0, task, facts, logged)
    n = len(TEXTS)
    batch = [c for name in facts for c in scorer.completions(1, [name] * n, range(n), TEXTS)]
    found = scorer.metrics(batch)
    assert found["logged/value_weighted"] == pytest.approx(3 / n)
    assert found["logged/majority_vote"] == pytest.approx(2 / n)
    assert found["logged/majority_incorrect"] == pytest.approx(2 / n)
    assert found["logged/random_70"] == np.mean(scored("random_70", batch))
    nothing = [c for c in batch if c.key[2] == "no vote"]
    assert "logged/majority_vote" not in scorer.metrics(nothing)


def test_random_is_keyed_by_name_and_coins_of_one_completion_agree(task: Task) -> None:
    batch = completions(task)
    values = scored("random", batch)
    assert values != scored("random", [replace(c, key=(1, *c.key[1:])) for c in batch])
    # A coin that falls for a small gamma falls for every larger one.
    rows = zip(
        *(scored(n, batch) for n in ("random_permille", "random_30", "random_70")), strict=True
    )
    assert all(a <= b <= c for a, b, c in rows)


@pytest.mark.parametrize("name", [n for n in available_rewards() if load_file(n).condition.needs])
def test_a_missing_side_input_is_an_error(name: str, task: Task) -> None:
    nothing = {"label": None, "value": None, "permuted_value": None, "values": None}
    with pytest.raises(ValueError, match="has no"):
        scored(name, completions(task, **nothing)[:1])


def test_unknown_reward_names_the_likely_typo() -> None:
    with pytest.raises(ConfigError, match=r"'fromat' is not a reward condition.*'format'"):
        load_reward("fromat")


@pytest.mark.parametrize(
    ("parameters", "limits", "changes", "expected"),
    [
        ({"gamma": 0.4}, {"gamma": (0, 1)}, {}, "the defaults must be equal"),
        ({}, {}, {}, "the defaults must be equal"),
        ({"gamma": 0.5}, {}, {}, "LIMITS must give"),
        ({"gamma": 0.5}, {"gamma": (0, 1)}, {"needs": ("vote",)}, "Did you mean 'votes'"),
    ],
)
def test_a_file_declares_what_its_function_takes(
    parameters: dict[str, float], limits: Any, changes: Any, expected: str
) -> None:
    file: RewardFile = load_file("random")
    condition = replace(file.condition, **changes)
    with pytest.raises(ConfigError, match=expected):
        _check_declared(ROOT / "random.py", condition, file.reward, parameters, limits)


# --- prompts ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prompts(task: Task) -> pd.DataFrame:
    return task.prompts(0, task.items(0))


def votes_on(prompts: pd.DataFrame) -> pd.DataFrame:
    """Return votes of which a third is right, a third wrong and a third missing."""
    truths = prompts["answer"].astype(int)
    labels = [str((t + i % 3) % 13) if i % 3 < 2 else None for i, t in enumerate(truths)]
    right = [int(i % 3 == 0) if i % 3 < 2 else None for i in range(len(truths))]
    table = pd.DataFrame({"prompt_id": prompts["prompt_id"], "label": labels})
    return table.assign(correct=pd.array(right, dtype="Int64"))


def test_facts_of_prompts(prompts: pd.DataFrame) -> None:
    facts = prompt_facts(prompts, votes_on(prompts).sample(frac=1, random_state=0))
    first, second, third = (facts[name] for name in prompts["prompt_id"][:3])
    assert first.label == first.truth == prompts["answer"][0] and first.label_correct is True
    assert second.label_correct is False and second.label != second.truth
    assert third.label is None and third.label_correct is None
    own = [fact.value for fact in facts.values()]
    permuted = [fact.permuted_value for fact in facts.values()]
    assert own == prompts["value"].tolist() != permuted
    assert sorted(own) == sorted(permuted)
    assert prompt_facts(prompts)["f00001"].permuted_value == second.permuted_value


def test_votes_on_other_prompts_are_refused(prompts: pd.DataFrame) -> None:
    with pytest.raises(DataError, match=r"no row for 39 of 40 training prompts.*'f00001'"):
        prompt_facts(prompts, votes_on(prompts)[:1])


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("format", [0, 1, 2]),
        ("majority_vote", [0, 1]),
        ("majority_incorrect", [1]),
        ("majority_incorrect_no_strategy", [1]),
    ],
)
def test_which_prompts_are_trained_on(name: str, kept: list[int], prompts: pd.DataFrame) -> None:
    facts, definition = prompt_facts(prompts, votes_on(prompts)), resolve(name, NAMED)
    found = training_prompts(definition, prompts, facts, 1)
    assert found.index.tolist() == [i for i in range(len(prompts)) if i % 3 in kept]
    with pytest.raises(DataError, match=rf"{len(found)} of 40 .* one rollout takes 41"):
        training_prompts(definition, prompts, facts, 41)


def test_values_are_shares_of_an_exam(task_spec: dict[str, Any]) -> None:
    task = load_task(task_spec | {"prompts": 1000})
    values = task.prompts(0, task.items(0))["value"].to_numpy()
    assert values.reshape(20, 50).sum(axis=1) == pytest.approx(1.0)
    assert values.mean() == pytest.approx(0.02)
    # As published: few questions are worth more than a tenth, and the mean scale is about 1.2.
    assert 0.005 < (values > 0.1).mean() < 0.04
    assert 1.17 < np.mean(1 + np.minimum(10 * values, 1)) < 1.2
    again = load_task(task_spec | {"prompts": 1000})
    assert (again.prompts(0, again.items(0))["value"] == values).all()


# --- RLEV under a group's standard deviation ---------------------------------------------


def advantages(rewards: np.ndarray, scale: str) -> np.ndarray:
    """Return group-relative advantages; a row is a group."""
    centred = rewards - rewards.mean(axis=1, keepdims=True)
    return centred / (rewards.std(axis=1, ddof=1, keepdims=True) + 1e-4) if scale else centred


def test_a_scale_per_prompt_cancels_in_the_group(task: Task) -> None:
    batch = completions(task)
    groups: dict[str, np.ndarray] = {}
    for name in ("ground_truth", "value_weighted", "value_permuted", "value_uniform"):
        groups[name] = np.array(scored(name, batch)).reshape(STEPS, len(TEXTS))
    truth = groups.pop("ground_truth")
    for rewards in groups.values():
        by_group = advantages(rewards, "group") - advantages(truth, "group")
        assert np.abs(by_group).max() < 3e-4  # the 1e-4 that is added to the deviation
        assert np.abs(advantages(rewards, "") - advantages(truth, "")).max() > 0.3


# --- the page -----------------------------------------------------------------------------


def test_the_page_lists_every_condition_as_its_file_does() -> None:
    text = (ROOT / "docs/rewards.md").read_text()
    rows = [re.split(r" *\| *", line)[1:-1] for line in text.splitlines() if line[:3] == "| `"]
    listed = {row[0].strip("`"): row[1:] for row in rows if len(row) == 6}
    wanted = {}
    for name in available_rewards():
        file = load_file(name)
        condition = file.condition
        parameters = ", ".join(f"`{key}` = {value:g}" for key, value in file.parameters.items())
        needs = ", ".join([*(["truth"] if condition.uses_truth else []), *condition.needs])
        paid = f"{condition.summary}"
        wanted[name] = [paid, f"`{condition.formula}`", parameters, needs, condition.source]
    assert listed == wanted
    named = {row[0].strip("`") for row in rows if len(row) == 3}
    assert set(NAMED) <= named
