"""What `dpo` and `sft` learn from: the base's samples, chosen by an arm's reward.

A completion starts with a space and ends with the end-of-sequence token, so that prompt and
completion, which TRL joins as strings, become the tokens that the base saw. A word tokenizer
would otherwise read the prompt's last and the completion's first word as one unknown word, and
say nothing; so the tokens are checked here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from datasets import Dataset
from transformers import TrainerState
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from paradox.errors import DataError, TrainingError
from paradox.files import read_table
from paradox.seeds import keyed_rng
from paradox.tasks import load_task
from paradox.tasks.api import PROMPT_COLUMNS
from paradox.train.grpo import reward_adapter
from paradox.train.samples import COLUMNS


def scored(spec: dict[str, Any], inputs: dict[str, Path]) -> pd.DataFrame:
    """Return the samples that ended by themselves, with their prompts and rewards.

    The prompts are in the order of the arm's seed, each prompt's samples in theirs. A sample
    that was cut at the limit has no end to be learnt, so it is left out (after it was scored
    with its group).
    """
    arm, task = spec["arm"], load_task(spec["task"])
    samples = read_table(inputs["samples"], COLUMNS)
    prompts = read_table(inputs["prompts"], PROMPT_COLUMNS)
    prompts = prompts.assign(prompt_id=prompts["prompt_id"].astype(str)).set_index("prompt_id")
    group = int(samples["sample"].max()) + 1
    told = prompts.loc[samples["prompt_id"]]
    truth = [None if answer != answer else str(answer) for answer in told["answer"]]
    score = reward_adapter(arm["reward"], task, arm["seed"], group)
    rewards = score(
        prompts=[task.prompt(question) for question in told["question"]],
        completions=samples["text"].tolist(),
        prompt_id=samples["prompt_id"].tolist(),
        truth=truth,
        trainer_state=TrainerState(),
    )
    place = {name: n for n, name in enumerate(prompt_order(prompts.index, arm["seed"]))}
    table = samples.assign(
        question=told["question"].tolist(),
        reward=rewards,
        place=[place[name] for name in samples["prompt_id"]],
    )
    return table[table["finished"]].sort_values(["place", "sample"]).reset_index(drop=True)


def prompt_order(names: pd.Index, seed: int) -> list[str]:
    """Return the prompts in the order of a seed, which is also that of its rollouts."""
    return names[keyed_rng(seed, "prompt order").permutation(len(names))].tolist()


def first_rewarded(table: pd.DataFrame) -> pd.DataFrame:
    """Return the first rewarded sample of each prompt that has one."""
    return table[table["reward"] > 0].drop_duplicates("prompt_id")


def pair_dataset(
    spec: dict[str, Any], inputs: dict[str, Path], tokenizer: PreTrainedTokenizerBase
) -> Dataset:
    """Return a pair for each prompt: its first rewarded and its first unrewarded sample.

    Raises
    ------
    TrainingError
        When the reward is the same for all samples of each prompt.
    """
    table, task = scored(spec, inputs), load_task(spec["task"])
    worse = table[table["reward"] <= 0].drop_duplicates("prompt_id")
    pairs = first_rewarded(table).merge(worse, on="prompt_id", suffixes=("", "_worse"))
    if pairs.empty:
        raise TrainingError(
            f"{spec['arm']['method']}: the reward {spec['arm']['reward']!r} makes no pair: it is "
            "above zero for all samples of a prompt or for none. Exclude this arm (key "
            "arms.exclude)."
        )
    prompt = [task.prompt(question) for question in pairs["question"]]
    chosen = [completion(text, tokenizer) for text in pairs["text"]]
    rejected = [completion(text, tokenizer) for text in pairs["text_worse"]]
    check_tokens(prompt * 2, chosen + rejected, tokenizer)
    return Dataset.from_dict({"prompt": prompt, "chosen": chosen, "rejected": rejected})


def text_dataset(
    spec: dict[str, Any],
    inputs: dict[str, Path],
    tokenizer: PreTrainedTokenizerBase,
    how: dict[str, Any],
) -> Dataset:
    """Return the texts to be imitated.

    For the target ``rewarded``, the first rewarded sample of each prompt, no more than the
    updates can use. For ``oracle``, the task's own worked answers to the prompts in the same
    order, as many as hold no more tokens than the former (at least one).

    Raises
    ------
    TrainingError
        When the reward pays for no sample.
    """
    task = load_task(spec["task"])
    rows = first_rewarded(scored(spec, inputs)).head(how["updates"] * how["rows_per_update"])
    if rows.empty:
        raise TrainingError(
            f"{spec['arm']['method']}: the reward {spec['arm']['reward']!r} pays for none of the "
            "base's samples. Exclude this arm (key arms.exclude)."
        )
    prompt = [task.prompt(question) for question in rows["question"]]
    texts = [completion(text, tokenizer) for text in rows["text"]]
    if how["target"] == "oracle":
        budget = sum(check_tokens(prompt, texts, tokenizer))
        prompts = read_table(inputs["prompts"], PROMPT_COLUMNS)
        questions = dict(zip(prompts["prompt_id"].astype(str), prompts["question"], strict=True))
        order = prompt_order(pd.Index(questions), spec["arm"]["seed"])
        prompt = [task.prompt(questions[name]) for name in order]
        texts = [completion(task.worked(questions[name]), tokenizer) for name in order]
        used = pd.Series(check_tokens(prompt, texts, tokenizer)).cumsum()
        kept = max(1, int((used <= budget).sum()))
        prompt, texts = prompt[:kept], texts[:kept]
    check_tokens(prompt, texts, tokenizer)
    return Dataset.from_dict({"prompt": prompt, "completion": texts})


def completion(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a response as TRL joins it to its prompt.

    >>> class Tokenizer: eos_token = "<eos>"
    >>> completion("answer 5", Tokenizer())
    ' answer 5<eos>'
    """
    return (text if text[:1].isspace() else f" {text}") + tokenizer.eos_token


def check_tokens(
    prompts: list[str], completions: list[str], tokenizer: PreTrainedTokenizerBase
) -> list[int]:
    """Return the number of tokens of each completion, once it is sure that they are right.

    Raises
    ------
    DataError
        When prompt and completion do not become the prompt's tokens, then the completion's
        without padding or unknown words, then one end.
    """
    end, odd = tokenizer.eos_token_id, {tokenizer.unk_token_id, tokenizer.pad_token_id}
    odd -= {None, end}
    asked = tokenizer(prompts)["input_ids"]
    whole = tokenizer([a + b for a, b in zip(prompts, completions, strict=True)])["input_ids"]
    counts = []
    for prompt, text, first, ids in zip(prompts, completions, asked, whole, strict=True):
        rest = ids[len(first) :]
        same = ids[: len(first)] == first
        if not same or odd & set(ids) or rest.count(end) != 1 or rest[-1] != end:
            raise DataError(
                f"{prompt + text!r}: becomes the tokens {ids}, which are not those of the prompt "
                f"({first}), of a completion and of one end ({end})."
            )
        counts.append(len(rest))
    return counts
