"""Step ``samples``: a base's own responses to the training prompts, for `dpo` and `sft`.

They are made once for each base and seed, and every arm that learns from them reads the same
file: what an arm is paid for decides only which of them it learns from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from paradox.files import read_table, write_table
from paradox.models import device_name, load_model, load_tokenizer, sample
from paradox.progress import Progress
from paradox.provenance.manifest import read_manifest
from paradox.tasks import load_task
from paradox.tasks.api import PROMPT_COLUMNS

COLUMNS = ["prompt_id", "sample", "text", "tokens", "finished"]


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Sample a group of responses to each training prompt.

    Parameters
    ----------
    spec
        ``base``, ``seed``, ``task`` and ``sampling`` (num_generations, temperature,
        max_completion_tokens, batch_size, dtype).
    inputs
        ``base`` (the base's manifest) and ``prompts`` (csv).
    outputs
        ``samples`` (parquet): one row per response, those to one prompt side by side.
    """
    settings, task = spec["sampling"], load_task(spec["task"])
    base = read_manifest(inputs["base"]).last
    model, tokenizer = load_model(base, settings["dtype"]), load_tokenizer(base)
    prompts = read_table(inputs["prompts"], PROMPT_COLUMNS)
    rows = prompts.loc[prompts.index.repeat(settings["num_generations"])]
    ids = rows["prompt_id"].astype(str).tolist()
    numbers = list(range(settings["num_generations"])) * len(prompts)
    progress.say(f"{len(rows)} responses on {device_name(model.device)}")
    responses = sample(
        model,
        tokenizer,
        [task.prompt(question) for question in rows["question"]],
        [(spec["seed"], "training", *key) for key in zip(ids, numbers, strict=True)],
        settings["max_completion_tokens"],
        settings["temperature"],
        settings["batch_size"],
        progress=lambda done, total: progress("response", done, total),
    )
    texts = [(response.text, response.tokens, response.finished) for response in responses]
    table = [(*key, *row) for *key, row in zip(ids, numbers, texts, strict=True)]
    write_table(outputs["samples"], pd.DataFrame(table, columns=COLUMNS))
