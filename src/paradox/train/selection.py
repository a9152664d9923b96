"""What `dpo` and `sft` learn from: the base's samples, chosen by an arm's reward.

A completion starts with a space and ends with the end-of-sequence token, so that prompt and
completion, which TRL joins as strings, become the tokens that the base saw. A word tokenizer
would otherwise read the prompt's last and the completion's first word as one unknown word, and
say nothing; so the tokens are checked here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from datasets import Dataset
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from paradox.errors import DataError, TrainingError
from paradox.files import read_table
from paradox.progress import Progress
from paradox.seeds import torch_seed
from paradox.tasks import Task
from paradox.train.callbacks import Constants, Watch
from paradox.train.common import COUNTED_ANEW, Arguments, Start, train_arm
from paradox.train.lora import lora_config
from paradox.train.prompts import prompt_order, scoring
from paradox.train.samples import COLUMNS


class Scored(NamedTuple):
    """The base's samples under an arm's reward.

    Attributes
    ----------
    table
        The samples to choose from, a row each.
    questions
        Those of the prompts that the reward can be trained on, by prompt, in the arm's order.
    metrics
        What is logged of the samples, before any is chosen.
    task
        The scale's.
    """

    table: pd.DataFrame
    questions: dict[str, str]
    metrics: dict[str, float]
    task: Task


def scored(spec: dict[str, Any], inputs: dict[str, Path]) -> Scored:
    """Return the samples that ended by themselves, with their prompts and rewards.

    The prompts are those that the reward can be trained on, in the order of the arm's seed, each
    prompt's samples in theirs. A sample that was cut at the limit has no end to be learnt, so it
    is left out (after it was scored with its group).
    """
    # Without any prompt there is nothing to choose from, which is told further on.
    scorer, prompts = scoring(spec, inputs, at_least=0)
    seed = spec["arm"]["seed"]
    prompts = prompts.iloc[prompt_order(len(prompts), seed)]
    names = prompts["prompt_id"].astype(str).tolist()
    samples = read_table(inputs["samples"], COLUMNS)
    samples = samples[samples["prompt_id"].isin(names)]
    read = scorer.completions(0, *(samples[key] for key in ("prompt_id", "sample", "text")))
    questions = dict(zip(names, prompts["question"], strict=True))
    place = {name: n for n, name in enumerate(names)}
    table = samples.assign(
        question=samples["prompt_id"].map(questions),
        reward=scorer.rewards(read),
        place=samples["prompt_id"].map(place),
    )
    table = table[table["finished"]].sort_values(["place", "sample"]).reset_index(drop=True)
    return Scored(table, questions, scorer.metrics(read) if read else {}, scorer.task)


def train_on_samples(
    step: str,
    trainer: type[Any],
    arguments: Arguments,
    dataset: Callable[[Scored, PreTrainedTokenizerBase], Dataset],
    unit: str,
    spec: dict[str, Any],
    inputs: dict[str, Path],
    outputs: dict[str, Path],
    progress: Progress,
) -> None:
    """Train one arm by a trainer of TRL's that learns from the base's samples.

    Parameters
    ----------
    step, trainer, arguments
        See `paradox.train.prompts.train_on_rollouts`.
    dataset, unit
        Makes the rows to be learnt from, and what a row is called.
    """
    arm, settings = spec["arm"], spec[step]
    samples = scored(spec, inputs)

    def build(start: Start) -> Any:
        rows = dataset(samples, start.tokenizer)
        progress.say(f"{len(rows)} {unit}")
        return trainer(
            model=start.model,
            args=arguments(settings, torch_seed(arm["seed"], step), start.work),
            processing_class=start.tokenizer,
            train_dataset=rows,
            peft_config=lora_config(settings["lora_rank"]),
            callbacks=[Watch(progress), Constants(samples.metrics), *start.callbacks],
        )

    train_arm(spec, inputs, outputs, progress, settings, build, without=COUNTED_ANEW)


def first_rewarded(table: pd.DataFrame) -> pd.DataFrame:
    """Return the first rewarded sample of each prompt that has one."""
    return table[table["reward"] > 0].drop_duplicates("prompt_id")


def pair_dataset(
    arm: dict[str, Any], samples: Scored, tokenizer: PreTrainedTokenizerBase
) -> Dataset:
    """Return a pair for each prompt: its first rewarded and its first unrewarded sample.

    Raises
    ------
    TrainingError
        When the reward is the same for all samples of each prompt.
    """
    table, task = samples.table, samples.task
    worse = table[table["reward"] <= 0].drop_duplicates("prompt_id")
    pairs = first_rewarded(table).merge(worse, on="prompt_id", suffixes=("", "_worse"))
    if pairs.empty:
        raise TrainingError(
            f"{arm['method']}: the reward {arm['reward']!r} makes no pair: it is "
            "above zero for all samples of a prompt or for none. Exclude this arm (key "
            "arms.exclude)."
        )
    prompt = [task.prompt(question) for question in pairs["question"]]
    chosen = [completion(text, tokenizer) for text in pairs["text"]]
    rejected = [completion(text, tokenizer) for text in pairs["text_worse"]]
    check_tokens(prompt * 2, chosen + rejected, tokenizer)
    return Dataset.from_dict({"prompt": prompt, "chosen": chosen, "rejected": rejected})


def text_dataset(
    arm: dict[str, Any],
    samples: Scored,
    tokenizer: PreTrainedTokenizerBase,
    settings: dict[str, Any],
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
    task = samples.task
    rows = first_rewarded(samples.table).head(settings["updates"] * settings["rows_per_update"])
    if rows.empty:
        raise TrainingError(
            f"{arm['method']}: the reward {arm['reward']!r} pays for none of the "
            "base's samples. Exclude this arm (key arms.exclude)."
        )
    prompt = [task.prompt(question) for question in rows["question"]]
    texts = [completion(text, tokenizer) for text in rows["text"]]
    if settings["target"] == "oracle":
        budget = sum(check_tokens(prompt, texts, tokenizer))
        prompt = [task.prompt(question) for question in samples.questions.values()]
        worked = [task.worked(question) for question in samples.questions.values()]
        texts = [completion(text, tokenizer) for text in worked]
        used = pd.Series(check_tokens(prompt, texts, tokenizer)).cumsum()
        count = max(1, int((used <= budget).sum()))
        prompt, texts = prompt[:count], texts[:count]
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
