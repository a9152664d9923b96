"""Step ``sft``: an arm trained by TRL's SFTTrainer to imitate texts.

The texts are the first rewarded of the base's own samples for each prompt (rejection sampling),
or, as a control, the task's own worked answers (``target: oracle``). The loss is the mean
negative log-likelihood of the completions' tokens; prompts are not learnt.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trl import SFTConfig, SFTTrainer

from paradox.progress import Progress
from paradox.seeds import torch_seed
from paradox.train.callbacks import Constants, Watch
from paradox.train.common import (
    COUNTED_ANEW,
    Start,
    common_arguments,
    row_arguments,
    train_arm,
)
from paradox.train.lora import lora_config
from paradox.train.selection import scored, text_dataset


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Train one arm; as the step ``grpo``, with ``samples`` (parquet) among the inputs."""
    arm, settings = spec["arm"], spec["sft"]
    samples = scored(spec, inputs)

    def build(start: Start) -> SFTTrainer:
        texts = text_dataset(arm, samples, start.tokenizer, settings)
        progress.say(f"{len(texts)} texts")
        return SFTTrainer(
            model=start.model,
            args=arguments(settings, torch_seed(arm["seed"], "sft"), start.work),
            processing_class=start.tokenizer,
            train_dataset=texts,
            peft_config=lora_config(settings["lora_rank"]),
            callbacks=[Watch(progress), Constants(samples.metrics), *start.callbacks],
        )

    train_arm(spec, inputs, outputs, progress, settings, build, without=COUNTED_ANEW)


def arguments(settings: dict[str, Any], seed: int, work: Path) -> SFTConfig:
    """Return the trainer's arguments; every one that changes the result is written out."""
    return SFTConfig(
        **common_arguments(settings, seed, work),
        **row_arguments(settings),
        loss_type="nll",
        completion_only_loss=True,
        assistant_only_loss=False,
        packing=False,
        padding_free=False,
    )
