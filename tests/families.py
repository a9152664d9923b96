"""Tiny random models of each family of architectures, for the tests of the mechanisms."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    Olmo2Config,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.2,
}
GEMMA = {
    "head_dim": 8,
    "query_pre_attn_scalar": 8,
    # The first and third block see four tokens back, the second all.
    "sliding_window": 4,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "final_logit_softcapping": 5.0,
}
FAMILIES: dict[str, Any] = {
    "qwen2": lambda: Qwen2Config(**SIZES),
    "qwen3": lambda: Qwen3Config(**SIZES, head_dim=16),
    "llama": lambda: LlamaConfig(**SIZES, attention_bias=True),
    "olmo2": lambda: Olmo2Config(**SIZES),
    "gemma3": lambda: Gemma3TextConfig(**(SIZES | GEMMA)),
}


def tiny(family: str, seed: int = 0) -> PreTrainedModel:
    """Return a random model; norms and biases are random, too, so that none is a no-op."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(FAMILIES[family](), attn_implementation="sdpa")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
            assert bool(parameter.isfinite().all()), name
    return model.eval()


def tokens(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    """Return random token ids without the special ones."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, SIZES["vocab_size"], (rows, length), generator=generator)
