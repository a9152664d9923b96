"""The one way into a model: device, loading, saving, sampling and scoring.

Conventions: token log-probabilities are natural logarithms (nats); the logits at position t - 1
predict token t; texts are tokenised whole, and a segment of a text is found by its characters.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.cache_utils import DynamicCache
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from paradox.errors import CheckpointError
from paradox.files import raise_if_disk_full
from paradox.seeds import keyed_rng

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def pick_device() -> torch.device:
    """Return the GPU when there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """Return the device in words, for logs."""
    if device.type == "cuda":
        return f"GPU ({torch.cuda.get_device_name(device)})"
    return f"CPU ({torch.get_num_threads()} thread(s))"


def set_determinism(threads: int, seed: int) -> None:
    """Fix the thread count and every library's seed, and ask for deterministic kernels."""
    # cuBLAS is only deterministic with a fixed workspace, and reads this at its first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    from transformers import set_seed

    set_seed(seed)


def load_model(folder: Path, dtype: str = "float32") -> PreTrainedModel:
    """Load a causal language model from a local checkpoint folder, for the picked device.

    Only safetensors weights are read and no code of the checkpoint is run.

    Raises
    ------
    CheckpointError
        When the folder is missing or cannot be loaded.
    """
    _require_folder(folder)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=DTYPES[dtype],
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            attn_implementation="sdpa",
        )
    except Exception as error:  # transformers and safetensors raise many kinds
        raise CheckpointError(f"{folder}: the checkpoint cannot be loaded ({error}).") from error
    return model.to(pick_device()).eval()


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a local checkpoint folder; it pads on the left."""
    _require_folder(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True, padding_side="left"
        )
    except Exception as error:
        raise CheckpointError(f"{folder}: the tokenizer cannot be loaded ({error}).") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _require_folder(folder: Path) -> None:
    if not (Path(folder) / "config.json").exists():
        raise CheckpointError(f"{folder}: no checkpoint there (config.json is missing).")


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save model and tokenizer as an ordinary checkpoint folder (safetensors)."""
    try:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except Exception as error:
        raise_if_disk_full(error, folder)
        raise


@dataclass(frozen=True)
class Response:
    """One sampled continuation.

    Attributes
    ----------
    text
        The decoded tokens without special tokens.
    tokens
        Number of generated tokens, the end-of-sequence token included.
    finished
        Whether the model ended by itself (false: it was cut at the limit).
    """

    text: str
    tokens: int
    finished: bool


@torch.inference_mode()
def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    keys: Sequence[tuple[Any, ...]] | None,
    max_new_tokens: int,
    temperature: float = 1.0,
    batch_size: int = 512,
    progress: Callable[[int, int], None] | None = None,
) -> list[Response]:
    """Sample one response for each prompt, or decode greedily when `keys` is None.

    The uniform numbers that drive row i are a pure function of ``keys[i]``, so a response does
    not depend on which other prompts are in the batch (up to floating-point rounding of
    padded batches). Rows leave the batch as soon as they finish.

    Parameters
    ----------
    prompts
        One text per row; repeat a prompt to draw several samples.
    keys
        One key per row, for example ``(seed, step, item, sample)``.
    max_new_tokens
        Rows longer than this are cut and marked as not finished.

    Returns
    -------
    list of Response
        In the order of `prompts`.
    """
    responses: list[Response] = []
    for start in range(0, len(prompts), batch_size):
        stop = min(start + batch_size, len(prompts))
        noise = None
        if keys is not None:
            rows = [keyed_rng("sample", *key).random(max_new_tokens) for key in keys[start:stop]]
            noise = torch.from_numpy(np.stack(rows))
        tokens = _continue(
            model, tokenizer, list(prompts[start:stop]), noise, max_new_tokens, temperature
        )
        end = _end_ids(model, tokenizer)
        for row in tokens:
            finished = bool(row) and row[-1] in end
            text = tokenizer.decode(row, skip_special_tokens=True)
            responses.append(Response(text, len(row), finished))
        if progress:
            progress(stop, len(prompts))
    return responses


def _end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    configured = model.generation_config.eos_token_id
    ids = configured if isinstance(configured, list) else [configured, tokenizer.eos_token_id]
    return {int(i) for i in ids if i is not None}


def _continue(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[str],
    noise: torch.Tensor | None,
    limit: int,
    temperature: float,
) -> list[list[int]]:
    """Return the new token ids of each row; `noise` is (rows, limit) uniforms or None."""
    device = model.device
    # Rows that share a prompt share its prefill.
    unique = sorted(set(prompts), key=len)
    place = {prompt: index for index, prompt in enumerate(unique)}
    batch = tokenizer(unique, return_tensors="pt", padding=True, padding_side="left").to(device)
    rows = torch.tensor([place[prompt] for prompt in prompts], device=device)
    positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        position_ids=positions,
        past_key_values=cache,
        logits_to_keep=1,
    ).logits[:, -1]
    cache.batch_select_indices(rows)
    logits, mask = logits[rows], batch["attention_mask"][rows]
    position = positions[rows, -1]
    end = torch.tensor(sorted(_end_ids(model, tokenizer)), device=device)
    live = torch.arange(len(prompts), device=device)
    out: list[list[int]] = [[] for _ in prompts]
    for step in range(limit):
        token = _pick(logits, None if noise is None else noise[live.cpu(), step], temperature)
        for row, value in zip(live.tolist(), token.tolist(), strict=True):
            out[row].append(value)
        keep = torch.nonzero(~torch.isin(token, end)).squeeze(-1)
        if len(keep) == 0 or step == limit - 1:
            break
        if len(keep) < len(live):
            cache.batch_select_indices(keep)
            token, mask, position, live = token[keep], mask[keep], position[keep], live[keep]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        position = position + 1
        logits = model(
            input_ids=token[:, None],
            attention_mask=mask,
            position_ids=position[:, None],
            past_key_values=cache,
        ).logits[:, -1]
    return out


def _pick(logits: torch.Tensor, uniform: torch.Tensor | None, temperature: float) -> torch.Tensor:
    """Draw a token per row by inverting the cumulative distribution; argmax without `uniform`."""
    if uniform is None:
        return logits.argmax(-1)
    # float64 keeps the cumulative sum exact enough for vocabularies of 150,000.
    probabilities = torch.softmax(logits.double() / temperature, dim=-1)
    cumulative = probabilities.cumsum(-1)
    threshold = uniform.to(logits.device)[:, None] * cumulative[:, -1:]
    return (
        torch.searchsorted(cumulative, threshold, right=True)
        .squeeze(-1)
        .clamp(max=logits.shape[-1] - 1)
    )


@dataclass(frozen=True)
class SegmentScore:
    """Teacher-forced score of one segment of a text.

    Attributes
    ----------
    nll
        Mean negative log-likelihood, nats per token.
    tokens
        Number of tokens in the segment.
    greedy
        Whether every token of the segment was the model's first choice.
    """

    nll: float
    tokens: int
    greedy: bool


@torch.inference_mode()
def score_segments(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    spans: Sequence[dict[str, tuple[int, int]]],
    batch_size: int = 256,
) -> list[dict[str, SegmentScore]]:
    """Score named segments of each text, each token given all that stands before it.

    A token belongs to a segment when its last character does; so a token that spans a boundary
    is counted once, with the later segment. The first token of a text is never scored.

    Parameters
    ----------
    texts
        Whole texts, tokenised with the tokenizer's own special tokens.
    spans
        For each text, (start, end) character offsets by name, end exclusive.

    Returns
    -------
    list of dict
        The scores by name, in the order of `texts`.

    Raises
    ------
    ValueError
        When a span holds no token.
    """
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    scores: dict[int, dict[str, SegmentScore]] = {}
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = tokenizer(
            [texts[index] for index in chosen],
            return_tensors="pt",
            padding=True,
            padding_side="right",
            return_offsets_mapping=True,
        )
        ends = batch.pop("offset_mapping")[:, 1:, 1]
        batch = batch.to(model.device)
        logits = model(**batch).logits[:, :-1].float()
        targets = batch["input_ids"][:, 1:]
        nll = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), targets, reduction="none"
        ).cpu()
        first = (logits.argmax(-1) == targets).cpu()
        real = batch["attention_mask"][:, 1:].bool().cpu()
        for row, index in enumerate(chosen):
            scores[index] = {
                name: _segment(nll[row], first[row], real[row], ends[row], span, texts[index])
                for name, span in spans[index].items()
            }
    return [scores[index] for index in range(len(texts))]


def _segment(
    nll: torch.Tensor,
    first: torch.Tensor,
    real: torch.Tensor,
    ends: torch.Tensor,
    span: tuple[int, int],
    text: str,
) -> SegmentScore:
    inside = (ends > span[0]) & (ends <= span[1]) & real
    if not bool(inside.any()):
        raise ValueError(f"no token in characters {span[0]}..{span[1]} of {text!r}")
    return SegmentScore(
        nll=float(nll[inside].double().mean()),
        tokens=int(inside.sum()),
        greedy=bool(first[inside].all()),
    )
