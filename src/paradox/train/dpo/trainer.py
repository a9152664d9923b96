"""Step ``dpo``: an arm trained by TRL's DPOTrainer on pairs of the base's own samples.

Direct preference optimisation (2305.18290): -log sigmoid(beta (log-ratio of the chosen minus
log-ratio of the rejected)), the ratios being those to the base.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trl import DPOConfig, DPOTrainer

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
from paradox.train.selection import pair_dataset, scored


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Train one arm; as the step ``grpo``, with ``samples`` (parquet) among the inputs."""
    arm, settings = spec["arm"], spec["dpo"]
    samples = scored(spec, inputs)

    def build(start: Start) -> DPOTrainer:
        pairs = pair_dataset(arm, samples, start.tokenizer)
        progress.say(f"{len(pairs)} pairs")
        return DPOTrainer(
            model=start.model,
            args=arguments(settings, torch_seed(arm["seed"], "dpo"), start.work),
            processing_class=start.tokenizer,
            train_dataset=pairs,
            peft_config=lora_config(settings["lora_rank"]),
            callbacks=[Watch(progress), Constants(samples.metrics), *start.callbacks],
        )

    train_arm(spec, inputs, outputs, progress, settings, build, without=COUNTED_ANEW)


def arguments(settings: dict[str, Any], seed: int, work: Path) -> DPOConfig:
    """Return the trainer's arguments; every one that changes the result is written out."""
    return DPOConfig(
        **common_arguments(settings, seed, work),
        **row_arguments(settings),
        beta=settings["beta"],
        loss_type=["sigmoid"],
        loss_weights=None,
        label_smoothing=0.0,
        f_divergence_type="reverse_kl",
        ld_alpha=None,
        use_weighting=False,
        padding_free=False,
        sync_ref_model=False,
        # The base's log-likelihoods, once: a second model need not be kept.
        precompute_ref_log_probs=True,
        disable_dropout=True,
    )
