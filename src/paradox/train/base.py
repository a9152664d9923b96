"""Step ``base``: make a base checkpoint, by training on a corpus or by taking a given model.

A base starts from random weights of a given architecture (the organism) or from a given model
(a GGUF file inside a package, a model hub, a local folder). With a corpus it is then trained on
it with the causal language-model loss on all tokens, in full or by LoRA.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from peft import get_peft_model
from torch.utils.data import Dataset
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Qwen2Config,
    Qwen2ForCausalLM,
    Trainer,
    TrainingArguments,
)
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from paradox.files import read_table, write_table
from paradox.models import device_name, pick_device, save_model
from paradox.progress import Progress
from paradox.provenance.manifest import write_manifest
from paradox.seeds import torch_seed
from paradox.tasks import task_class
from paradox.tasks.api import CORPUS_COLUMNS
from paradox.tokenizer import word_tokenizer
from paradox.train.callbacks import Watch, curves, tensorboard
from paradox.train.lora import lora_config


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Make the base ``spec["base"]`` and its manifest.

    Parameters
    ----------
    spec
        ``source``, ``training`` (or None), ``task``, ``seed`` and ``base``.
    inputs
        ``corpus`` when the base is trained.
    outputs
        ``manifest`` and ``curves`` (csv; without rows when the base is not trained).
    """
    folder = outputs["manifest"].parent
    work = folder / ".work"
    for old in (work, folder / "step-0"):
        shutil.rmtree(old, ignore_errors=True)
    model, tokenizer = start(spec)
    model.to(pick_device())
    progress.say(f"{model.num_parameters():,} parameters on {device_name(model.device)}")
    if spec["training"]:
        texts = read_table(inputs["corpus"], CORPUS_COLUMNS)["text"].tolist()
        tensorboard(outputs["curves"].parent / "tensorboard")
        trained = train_on_texts(model, tokenizer, texts, spec, work, progress)
        curves(trained.state.log_history, outputs["curves"])
        model = trained.model
        if hasattr(model, "merge_and_unload"):
            model = model.merge_and_unload()
    else:
        write_table(outputs["curves"], pd.DataFrame(columns=["step", "loss"]))
    save_model(model, tokenizer, work / "step-0")
    (work / "step-0").rename(folder / "step-0")
    shutil.rmtree(work)
    write_manifest(outputs["manifest"], {0: folder / "step-0"}, {"spec": spec})


def start(spec: dict[str, Any]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return the model and tokenizer that training starts from."""
    source = spec["source"]
    if source["kind"] == "organism":
        return organism(source, spec["task"], spec["seed"])
    from paradox.train.sources import load_source

    return load_source(source)


def organism(
    source: dict[str, Any], task: dict[str, Any], seed: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return a small Qwen2 with random weights and a tokenizer of the task's words."""
    tokenizer = word_tokenizer(task_class(task["kind"]).vocabulary(task))
    torch.manual_seed(torch_seed(seed, "organism", "weights"))
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=source["width"],
        intermediate_size=source["ffn_width"],
        num_hidden_layers=source["layers"],
        num_attention_heads=source["heads"],
        num_key_value_heads=source["heads"],
        max_position_embeddings=64,
        tie_word_embeddings=True,
        use_sliding_window=False,
        attention_dropout=0.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    return Qwen2ForCausalLM(config), tokenizer


class _Documents(Dataset):
    """Tokenised documents, each ended by the end-of-sequence token."""

    def __init__(
        self, texts: list[str], tokenizer: PreTrainedTokenizerBase, max_tokens: int
    ) -> None:
        end = tokenizer.eos_token_id
        ids = tokenizer(texts, truncation=True, max_length=max_tokens - 1)["input_ids"]
        self.ids = [row if row[-1] == end else [*row, end] for row in ids]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return {"input_ids": self.ids[index]}


@dataclass
class PackingCollator:
    """Lay whole documents end to end in rows of `row_tokens`.

    Position ids restart with each document; transformers reads that as a block-diagonal causal
    mask, so packed documents do not see each other and the loss equals that of padded ones,
    without a third of the compute going into padding.
    """

    row_tokens: int
    pad: int

    def __call__(self, rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        """Pack one batch of documents."""
        packed: list[list[list[int]]] = []
        room: list[int] = []
        # Longest first, each into the first row with room: near-optimal packing.
        for ids in sorted((row["input_ids"] for row in rows), key=len, reverse=True):
            spot = next((i for i, free in enumerate(room) if free >= len(ids)), None)
            if spot is None:
                packed.append([])
                room.append(self.row_tokens)
                spot = len(packed) - 1
            packed[spot].append(ids)
            room[spot] -= len(ids)
        width = self.row_tokens - min(room)
        shape = (len(packed), width)
        batch = {
            "input_ids": torch.full(shape, self.pad),
            "labels": torch.full(shape, -100),
            "position_ids": torch.zeros(shape, dtype=torch.long),
        }
        for row, documents in enumerate(packed):
            column = 0
            for ids in documents:
                stop = column + len(ids)
                tokens = torch.tensor(ids)
                batch["input_ids"][row, column:stop] = tokens
                # A document's first token has no context to be predicted from.
                batch["labels"][row, column + 1 : stop] = tokens[1:]
                batch["position_ids"][row, column:stop] = torch.arange(len(ids))
                column = stop
        return batch


def train_on_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    spec: dict[str, Any],
    work: Path,
    progress: Progress,
) -> Trainer:
    """Train `model` on `texts` once, in their order; return the finished trainer.

    The corpus is already shuffled by name, so the order is part of the data.
    """
    settings = spec["training"]
    documents = _Documents(texts, tokenizer, settings["max_tokens"])
    if settings["lora_rank"]:
        torch.manual_seed(torch_seed(spec["seed"], "base", "lora"))
        model = get_peft_model(model, lora_config(settings["lora_rank"]))
    arguments = TrainingArguments(
        output_dir=str(work),
        num_train_epochs=1,
        # Without a cache, position ids that restart are read as packed documents.
        use_cache=False,
        per_device_train_batch_size=settings["documents_per_step"],
        gradient_accumulation_steps=1,
        learning_rate=settings["learning_rate"],
        adam_beta1=settings["adam_beta1"],
        adam_beta2=settings["adam_beta2"],
        weight_decay=settings["weight_decay"],
        warmup_steps=settings["warmup_steps"],
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": settings["final_rate_share"]},
        max_grad_norm=settings["max_grad_norm"],
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        bf16=settings["autocast_bf16"],
        fp16=False,
        gradient_checkpointing=False,
        seed=torch_seed(spec["seed"], "base", spec["base"]),
        save_strategy="no",
        logging_strategy="steps",
        logging_steps=settings["logging_steps"],
        logging_nan_inf_filter=False,
        report_to=["tensorboard"],
        disable_tqdm=True,
        use_cpu=pick_device().type == "cpu",
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=documents,
        data_collator=PackingCollator(settings["row_tokens"], tokenizer.pad_token_id),
        callbacks=[Watch(progress)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trainer
