"""Step ``dpo``: an arm trained by TRL's DPOTrainer on pairs of the base's own samples.

Direct preference optimisation (2305.18290): -log sigmoid(beta (log-ratio of the chosen minus
log-ratio of the rejected)), the ratios being those to the base.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from trl import DPOConfig, DPOTrainer

from paradox.progress import Progress
from paradox.train.common import common_arguments, row_arguments
from paradox.train.selection import pair_dataset, train_on_samples


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Train one arm; as the step ``grpo``, with ``samples`` (parquet) among the inputs."""
    dataset = partial(pair_dataset, spec["arm"])
    train_on_samples(
        "dpo", DPOTrainer, arguments, dataset, "pairs", spec, inputs, outputs, progress
    )


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
