"""Scoring completions under one definition; every trainer uses this.

A *definition* is plain data: ``{"all": [...], "none": [...]}``, each entry ``{"file": name,
"parameters": {...}}``. A single entry under ``all`` is that file's reward as it is. Otherwise
the reward is 1 when all of ``all`` pay and none of ``none`` does, else 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from paradox.errors import DataError
from paradox.rewards import Completion, Prompt, RewardFile, load_file
from paradox.seeds import keyed_rng
from paradox.tasks.api import Task

Definition = dict[str, list[dict[str, Any]]]
# The table of a base's majority votes (step ``votes``).
VOTE_COLUMNS = ["prompt_id", "label", "share", "votes", "samples", "parsable", "correct"]


def files_of(definition: Definition) -> list[str]:
    """Return the names of the files that a definition is made of, each once."""
    entries = [*definition["all"], *definition["none"]]
    return list(dict.fromkeys(entry["file"] for entry in entries))


def loaded(definition: Definition) -> list[RewardFile]:
    """Return what those files hold."""
    return [load_file(name) for name in files_of(definition)]


def composed(definition: Definition) -> Callable[[Completion], float]:
    """Return the reward that a definition stands for, as a function of one completion."""
    paying, barring = (
        tuple(partial(load_file(e["file"]).reward, **e["parameters"]) for e in definition[part])
        for part in ("all", "none")
    )
    if len(paying) == 1 and not barring:
        return paying[0]
    return partial(_compound, paying, barring)


def _compound(
    paying: Sequence[Callable[[Completion], float]],
    barring: Sequence[Callable[[Completion], float]],
    completion: Completion,
) -> float:
    pays = all(reward(completion) for reward in paying)
    return float(pays and not any(reward(completion) for reward in barring))


def prompt_facts(prompts: pd.DataFrame, votes: pd.DataFrame | None = None) -> dict[str, Prompt]:
    """Return what is known of each training prompt, by its id.

    Parameters
    ----------
    prompts
        The table of training prompts.
    votes
        The base's votes (columns `VOTE_COLUMNS`), for the rewards that need them.

    Raises
    ------
    DataError
        When a prompt has no row among the votes: they belong to other prompts.
    """
    values = prompts["value"].to_numpy(float)
    known = not np.isnan(values).any()
    # One permutation for the whole study: neither seeds nor arms change it.
    permuted = values[keyed_rng("value permutation").permutation(len(values))]
    ids = prompts["prompt_id"].astype(str).tolist()
    by_id = {} if votes is None else votes.assign(prompt_id=votes["prompt_id"].astype(str))
    if votes is not None:
        by_id = by_id.set_index("prompt_id")[["label", "correct"]].T.to_dict()
        if absent := [name for name in ids if name not in by_id]:
            raise DataError(
                f"the votes have no row for {len(absent)} of {len(ids)} training prompts, the "
                f"first is {absent[0]!r}: they were taken on other prompts."
            )
    facts = {}
    for place, (name, truth) in enumerate(zip(ids, prompts["answer"], strict=True)):
        vote = by_id.get(name, {})
        right = _given(vote.get("correct"))
        facts[name] = Prompt(
            prompt_id=name,
            truth=_given(truth),
            label=_given(vote.get("label")),
            label_correct=None if right is None else bool(float(right)),
            value=float(values[place]) if known else None,
            permuted_value=float(permuted[place]) if known else None,
            values=values if known else None,
        )
    return facts


def _given(field: Any) -> str | None:
    """Return a table's field as text, or None when it is empty."""
    return None if pd.isna(field) else str(field)


def training_prompts(
    definition: Definition, prompts: pd.DataFrame, facts: Mapping[str, Prompt], at_least: int
) -> pd.DataFrame:
    """Return the prompts that a reward can be trained on, in their order.

    Raises
    ------
    DataError
        When fewer than `at_least` (one rollout's prompts, if there are rollouts) are left.
    """
    conditions = _conditions(definition)
    fits = [_fits(facts[str(name)], conditions) for name in prompts["prompt_id"]]
    if sum(fits) < at_least:
        raise DataError(
            f"the reward ({' with '.join(files_of(definition))}) can be trained on {sum(fits)} of "
            f"{len(fits)} training prompts, but one rollout takes {at_least} different ones "
            "(key prompts_per_rollout): make that smaller, or task.prompts larger."
        )
    return prompts[fits]


def _conditions(definition: Definition) -> list[Callable[[Prompt], bool]]:
    return [file.trains_on for file in loaded(definition) if file.trains_on]


def _fits(prompt: Prompt, conditions: Sequence[Callable[[Prompt], bool]]) -> bool:
    return all(wanted(prompt) for wanted in conditions)


class Scorer:
    """Scores batches of completions under one definition.

    Parameters
    ----------
    definition
        What pays.
    seed
        The arm's seed, part of every completion's key.
    task
        Reads answers.
    facts
        What is known of each prompt (`prompt_facts`).
    logged
        Definitions by name whose means are logged beside the reward.
    """

    def __init__(
        self,
        definition: Definition,
        seed: int,
        task: Task,
        facts: Mapping[str, Prompt],
        logged: Mapping[str, Definition] | None = None,
    ) -> None:
        self.reward = composed(definition)
        self.seed, self.task, self.facts = seed, task, facts
        self.logged = {
            name: (composed(other), _conditions(other)) for name, other in (logged or {}).items()
        }

    def completions(
        self, step: int, prompt_ids: Sequence[str], samples: Sequence[int], texts: Sequence[str]
    ) -> list[Completion]:
        """Return the completions of a rollout at optimiser step `step`.

        `samples` numbers the completions of one prompt; with seed, step and prompt it names a
        completion, so no two of a run may share all of them.
        """
        rows = zip(prompt_ids, samples, texts, strict=True)
        return [self._completion(step, *row) for row in rows]

    def _completion(self, step: int, prompt_id: str, sample: int, text: str) -> Completion:
        prompt = self.facts[prompt_id]
        return Completion(
            text=text,
            truth=prompt.truth,
            key=(self.seed, step, prompt_id, sample),
            task=self.task,
            label=prompt.label,
            value=prompt.value,
            permuted_value=prompt.permuted_value,
            values=prompt.values,
        )

    def rewards(self, completions: Sequence[Completion]) -> list[float]:
        """Return the reward of each completion."""
        return [self.reward(completion) for completion in completions]

    def metrics(self, completions: Sequence[Completion]) -> dict[str, float]:
        """Return what is logged of a rollout beside the reward, and never trained on.

        A logged condition's mean is over the prompts that it could be trained on.
        """
        means = {f"share/{name}": value for name, value in shares(completions).items()}
        for name, (reward, conditions) in self.logged.items():
            fit = [c for c in completions if _fits(self.facts[c.key[2]], conditions)]
            if fit:
                means[f"logged/{name}"] = float(np.mean([reward(c) for c in fit]))
        return means


def shares(completions: Sequence[Completion]) -> dict[str, float]:
    """Return the shares of completions that are right, answer, recall, agree and so on.

    Those about an answer or a vote that is not known are left out. They are the means of the
    other binary rewards, read off the completions without the other rewards' files.
    """
    flags: dict[str, list[bool]] = {
        "parsable": [c.parsable for c in completions],
        "recall": [c.mode == "recall" for c in completions],
        "reason": [c.mode == "reason" for c in completions],
    }
    if all(c.truth is not None for c in completions):
        flags["correct"] = [c.correct for c in completions]
        flags["wrong"] = [c.parsable and not c.correct for c in completions]
    if voted := [c for c in completions if c.label is not None]:
        flags["agrees_with_vote"] = [c.agrees for c in voted]
    return {name: float(np.mean(rows)) for name, rows in flags.items()}
