"""What the trainer costs beyond what it must do: ``python benchmarks/trainer.py --help``.

Times a GRPO arm's rollouts in TRL's trainer and in a bare loop of the same generation, forward
and backward passes and optimiser steps, on the same base, prompts and sizes, in one process.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from paradox.files import read_json, read_table
from paradox.models import load_model, load_tokenizer, set_determinism
from paradox.progress import Progress
from paradox.provenance.manifest import read_manifest
from paradox.seeds import keyed_rng
from paradox.tasks import Task, load_task
from paradox.tasks.api import PROMPT_COLUMNS
from paradox.train.grpo import trainer as grpo


def trainer_seconds(spec: dict[str, Any], base: Path, prompts: Path) -> float:
    """Return the seconds that the step ``grpo`` takes, set-up and saving included."""
    with tempfile.TemporaryDirectory() as folder:
        names = ("manifest.json", "train.csv", "arguments.json")
        outputs = dict(zip(("manifest", "curves", "arguments"), names, strict=True))
        start = time.perf_counter()
        grpo.main(
            spec,
            {"base": base, "prompts": prompts},
            {key: Path(folder) / name for key, name in outputs.items()},
            Progress("trainer"),
        )
        return time.perf_counter() - start


def bare_seconds(spec: dict[str, Any], base: Path, prompts: Path) -> float:
    """Return the seconds of the same work without a trainer around it."""
    how, seed = spec["grpo"], spec["arm"]["seed"]
    table = read_table(prompts, PROMPT_COLUMNS)
    task = load_task(spec["task"])
    start = time.perf_counter()
    folder = read_manifest(base).last
    model, tokenizer = load_model(folder, how["dtype"]).train(), load_tokenizer(folder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
    order = keyed_rng(seed, "prompt order").permutation(len(table))
    size = how["prompts_per_rollout"]
    for rollout in range(how["updates"] // how["updates_per_rollout"]):
        rows = order[rollout * size : (rollout + 1) * size]
        texts = [task.prompt(table["question"].iloc[row]) for row in rows]
        _rollout(model, tokenizer, optimizer, texts, how, task)
    return time.perf_counter() - start


def _rollout(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    optimizer: torch.optim.Optimizer,
    texts: list[str],
    how: dict[str, Any],
    task: Task,
) -> None:
    repeated = [text for text in texts for _ in range(how["num_generations"])]
    batch = tokenizer(repeated, return_tensors="pt", padding=True).to(model.device)
    with torch.no_grad():
        tokens = model.generate(
            **batch,
            do_sample=True,
            temperature=how["temperature"],
            top_k=0,
            top_p=1.0,
            max_new_tokens=how["max_completion_tokens"],
        )
    new = tokens.shape[1] - batch["input_ids"].shape[1]
    for answer in tokenizer.batch_decode(tokens[:, -new:], skip_special_tokens=True):
        task.answer(answer)
    for chunk in tokens.split(len(tokens) // how["updates_per_rollout"]):
        for part in chunk.split(how["micro_batch"]):
            logits = model(part, logits_to_keep=new + 1).logits[:, :-1]
            chosen = part[:, -new:, None]
            torch.log_softmax(logits, -1).gather(-1, chosen).mean().neg().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), how["max_grad_norm"])
        optimizer.step()
        optimizer.zero_grad()


def main() -> int:
    """Time both in turn and print seconds and their ratio as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("arm", type=Path, help="manifest.json of a trained GRPO arm")
    parser.add_argument("--base", type=Path, required=True, help="manifest.json of its base")
    parser.add_argument("--prompts", type=Path, required=True, help="prompts.csv")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    spec = read_json(chosen.arm)["info"]["spec"]
    set_determinism(threads=1, seed=0)
    rounds = []
    for _ in range(chosen.rounds):
        bare = bare_seconds(spec, chosen.base, chosen.prompts)
        trainer = trainer_seconds(spec, chosen.base, chosen.prompts)
        rounds.append({"trainer_s": trainer, "bare_s": bare, "ratio": trainer / bare})
    print(json.dumps(rounds, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
