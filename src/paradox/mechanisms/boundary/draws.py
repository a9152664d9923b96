"""Many samples of few prompts: what samples have in common is computed once.

Most samples of a prompt begin alike, so the batch has one row for each different beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from paradox.seeds import Key, keyed_rng

Array = NDArray[np.float64]
Tokens = tuple[int, ...]
# Of a step: its number, the live samples, their rows and the logits of all rows; returns each
# live sample's token and whether it goes on.
Choice = Callable[
    [int, torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]
]


@dataclass(frozen=True)
class Sampler:
    """A model with what sampling needs; `rows` at a time, in whole prompts, bound the memory."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    rows: int

    @property
    def ends(self) -> set[int]:
        """Tokens that end a response."""
        configured = self.model.generation_config.eos_token_id
        ids = configured if isinstance(configured, list) else [configured]
        return {int(i) for i in [*ids, self.tokenizer.eos_token_id] if i is not None}


@dataclass(frozen=True)
class Draws:
    """Samples of several prompts, with shapes (prompts, samples).

    `tokens` hold an end-of-sequence token. `entropy` is that of the distributions that they were
    drawn from, in nats, summed over each sample's tokens; `surprisal` the negative log-likelihood
    under the same model at temperature 1, in nats per token.
    """

    tokens: list[list[Tokens]]
    entropy: Array
    surprisal: Array

    @property
    def lengths(self) -> Array:
        """Tokens of each sample, shape (prompts, samples)."""
        return np.array([[float(len(one)) for one in samples] for samples in self.tokens])

    @property
    def token_entropy(self) -> float:
        """Mean entropy per token, over the tokens of all samples."""
        return float(self.entropy.sum() / self.lengths.sum())

    def first(self, samples: int) -> Draws:
        """Return the first samples of every prompt."""
        tokens = [drawn[:samples] for drawn in self.tokens]
        return Draws(tokens, self.entropy[:, :samples], self.surprisal[:, :samples])


def uniforms(keys: Sequence[tuple[Key, ...]], samples: int, limit: int) -> Array:
    """Return what drives the samples, shape (keys, samples, limit); a key names a prompt."""
    every = [keyed_rng("sample", *key, n).random(limit) for key in keys for n in range(samples)]
    return np.reshape(every, (len(keys), samples, limit))


def draw(sampler: Sampler, prompts: Sequence[str], noise: Array, temperature: float) -> Draws:
    """Draw the samples of every prompt; with equal uniforms, those of `paradox.models.sample`.

    `noise` are uniforms, shape (prompts, samples, most tokens of a sample).
    """
    samples, limit = noise.shape[1:]
    size = max(1, sampler.rows // samples)
    tokens: list[list[Tokens]] = []
    sums: list[Array] = []
    for start in range(0, len(prompts), size):
        part = slice(start, start + size)
        drawing = _Drawing(sampler, noise[part].reshape(-1, limit), temperature)
        prompt_of = torch.arange(len(drawing.drawn)) // samples
        _walk(sampler, list(prompts[part]), prompt_of, drawing.choose, limit)
        texts = [tuple(token for token in one if token >= 0) for one in drawing.drawn.tolist()]
        tokens += [texts[n : n + samples] for n in range(0, len(texts), samples)]
        sums.append(drawing.sums.reshape(2, -1, samples).cpu().numpy())
    entropy, surprise = np.concatenate(sums, axis=1)
    draws = Draws(tokens, entropy, surprise)
    return replace(draws, surprisal=surprise / draws.lengths)


class _Drawing:
    """Draws tokens by inverting cumulative distributions; sums up entropy and surprisal."""

    def __init__(self, sampler: Sampler, noise: Array, temperature: float) -> None:
        device = sampler.model.device
        self.uniform, self.temperature = torch.from_numpy(noise).to(device), temperature
        self.ends = torch.tensor(sorted(sampler.ends), device=device)
        self.drawn = torch.full(noise.shape, -1, device=device)
        self.sums = torch.zeros(2, len(noise), dtype=torch.float64, device=device)

    def choose(
        self, step: int, live: torch.Tensor, row: torch.Tensor, logits: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw the next token of each live sample."""
        # float64 as in `paradox.models.sample`, for large vocabularies' cumulative sums.
        probability = torch.softmax(logits.double() / self.temperature, dim=-1)
        self.sums[0, live] += torch.special.entr(probability).sum(-1)[row]
        cumulative = probability.cumsum(-1)[row]
        threshold = self.uniform[live, step, None] * cumulative[:, -1:]
        token = torch.searchsorted(cumulative, threshold, right=True).squeeze(-1)
        token = token.clamp(max=logits.shape[-1] - 1)
        self.drawn[live, step] = token
        self.sums[1, live] -= torch.log_softmax(logits.double(), dim=-1)[row, token]
        return token, ~torch.isin(token, self.ends)


def surprisal(sampler: Sampler, texts: Sequence[tuple[str, Tokens]]) -> Array:
    """Return each response's negative log-likelihood, in nats per token, at temperature 1.

    `texts` are prompts, each with the tokens of a response to it. Name equal ones once: in another
    batch a value may differ by rounding.
    """
    order = sorted(range(len(texts)), key=lambda n: texts[n][0])
    values = np.empty(len(texts))
    for start in range(0, len(order), sampler.rows):
        chosen = order[start : start + sampler.rows]
        values[chosen] = _surprisal(sampler, [texts[n] for n in chosen])
    return values


def _surprisal(sampler: Sampler, texts: Sequence[tuple[str, Tokens]]) -> Array:
    prompts = sorted({prompt for prompt, _ in texts})
    place = {prompt: number for number, prompt in enumerate(prompts)}
    forced = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(tokens) for _, tokens in texts], batch_first=True
    ).to(sampler.model.device)
    length = torch.tensor([len(tokens) for _, tokens in texts], device=forced.device)
    total = torch.zeros(len(texts), dtype=torch.float64, device=forced.device)

    def choose(
        step: int, live: torch.Tensor, row: torch.Tensor, logits: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        token = forced[live, step]
        total[live] -= torch.log_softmax(logits.double(), dim=-1)[row, token]
        return token, length[live] > step + 1

    prompt_of = torch.tensor([place[prompt] for prompt, _ in texts])
    _walk(sampler, prompts, prompt_of, choose, forced.shape[1])
    return (total / length).cpu().numpy()


@torch.inference_mode()
def _walk(
    sampler: Sampler, prompts: list[str], prompt_of: torch.Tensor, choose: Choice, limit: int
) -> None:
    """Go through all samples token by token; `prompt_of` is the prompt of each sample."""
    model = sampler.model
    batch = sampler.tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
    ids, mask = (batch[name].to(model.device) for name in ("input_ids", "attention_mask"))
    position = (mask.cumsum(-1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    logits = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=position,
        past_key_values=cache,
        logits_to_keep=1,
    ).logits[:, -1]
    position = position[:, -1]
    row = prompt_of.to(model.device)
    live = torch.arange(len(row), device=model.device)
    for step in range(limit):
        token, goes_on = choose(step, live, row, logits)
        live, row, token = live[goes_on], row[goes_on], token[goes_on]
        if len(live) == 0 or step == limit - 1:
            break
        # Samples that were alike and drew the same token stay together.
        kinds = logits.shape[-1]
        beginnings, row = torch.unique(row * kinds + token, return_inverse=True)
        parent, token = beginnings // kinds, beginnings % kinds
        cache.batch_select_indices(parent)
        mask = torch.cat([mask[parent], mask.new_ones(len(parent), 1)], dim=1)
        position = position[parent] + 1
        logits = model(
            input_ids=token[:, None],
            attention_mask=mask,
            position_ids=position[:, None],
            past_key_values=cache,
        ).logits[:, -1]
