"""Reward conditions: every file keeps the contract, by discovery."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest

from paradox.errors import ConfigError
from paradox.rewards import Completion, available_rewards, load_reward
from paradox.tasks import Task, load_task

TEXTS = [
    "answer 5",
    "answer 6",
    "think 7 + 3 = 10 ; answer 5",
    "think 7 + 3 = 10 ;",
    "answer",
    "",
]


@pytest.fixture(scope="module")
def task(task_spec: dict[str, Any]) -> Task:
    return load_task(task_spec)


def completions(task: Task, truth: str = "5") -> list[Completion]:
    return [
        Completion(text=text, truth=truth, key=(0, step, "f00001", sample), task=task)
        for step in range(200)
        for sample, text in enumerate(TEXTS)
    ]


def test_the_five_conditions_are_found() -> None:
    assert {"ground_truth", "format", "incorrect", "random", "constant"} <= set(available_rewards())


@pytest.mark.parametrize("name", available_rewards())
def test_contract(name: str, task: Task) -> None:
    condition, reward = load_reward(name)
    values = [reward(completion) for completion in completions(task)]
    assert all(isinstance(value, float) and math.isfinite(value) for value in values)
    assert values == [reward(completion) for completion in completions(task)]
    assert pickle.loads(pickle.dumps(reward)) is reward
    assert condition.summary and condition.source
    if not condition.uses_truth:
        poisoned = [reward(completion) for completion in completions(task, truth="poison")]
        assert values == poisoned


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ground_truth", [1, 0, 1, 0, 0, 0]),
        ("format", [1, 1, 1, 0, 0, 0]),
        ("incorrect", [0, 1, 0, 0, 0, 0]),
        ("constant", [1, 1, 1, 1, 1, 1]),
    ],
)
def test_values(name: str, expected: list[int], task: Task) -> None:
    _, reward = load_reward(name)
    assert [reward(completion) for completion in completions(task)[:6]] == expected


def test_random_is_a_fair_coin_keyed_by_name(task: Task) -> None:
    _, reward = load_reward("random")
    values = [reward(completion) for completion in completions(task)]
    # 1,200 fair tosses lie in this range with probability 1 - 1e-6.
    assert 0.43 < sum(values) / len(values) < 0.57
    other = [
        reward(Completion(text=c.text, truth=c.truth, key=(1, *c.key[1:]), task=task))
        for c in completions(task)
    ]
    assert values != other


def test_unknown_reward_names_the_likely_typo() -> None:
    with pytest.raises(ConfigError, match=r"'fromat' is not a reward condition.*'format'"):
        load_reward("fromat")


def test_batch_form_equals_scalar_form(task: Task) -> None:
    from types import SimpleNamespace

    from paradox.train.grpo import reward_adapter

    score = reward_adapter("random", task, seed=3, group=2)
    state: Any = SimpleNamespace(global_step=7)
    batch = score(
        completions=TEXTS[:4],
        prompt_id=["a", "a", "b", "b"],
        truth=["5"] * 4,
        trainer_state=state,
    )
    _, reward = load_reward("random")
    keys = [(3, 7, "a", 0), (3, 7, "a", 1), (3, 7, "b", 0), (3, 7, "b", 1)]
    scalar = [
        reward(Completion(text=text, truth="5", key=key, task=task))
        for text, key in zip(TEXTS[:4], keys, strict=True)
    ]
    assert batch == scalar
