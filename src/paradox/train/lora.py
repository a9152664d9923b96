"""Low-rank adapters (LoRA, 2106.09685) as this study uses them."""

from __future__ import annotations

from peft import LoraConfig


def lora_config(rank: int) -> LoraConfig | None:
    """Return adapters of this rank on every linear layer, or None (full fine-tuning) for 0.

    ``lora_alpha`` is twice the rank, so the adapters' scale does not depend on it.
    """
    if not rank:
        return None
    return LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        bias="none",
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
