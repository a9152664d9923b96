"""Step ``sft``: an arm trained by TRL's SFTTrainer to imitate texts.

The texts are the first rewarded of the base's own samples for each prompt (rejection sampling),
or, as a control, the task's own worked answers (``target: oracle``). The loss is the mean
negative log-likelihood of the completions' tokens; prompts are not learnt.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from trl import SFTConfig, SFTTrainer

from paradox.progress import Progress
from paradox.train.common import common_arguments, row_arguments
from paradox.train.selection import text_dataset, train_on_samples


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Train one arm; as the step ``grpo``, with ``samples`` (parquet) among the inputs."""
    dataset = partial(text_dataset, spec["arm"], settings=spec["sft"])
    train_on_samples(
        "sft", SFTTrainer, arguments, dataset, "texts", spec, inputs, outputs, progress
    )


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
