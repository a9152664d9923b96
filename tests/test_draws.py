"""Samples that share their beginnings are those of the plain sampler."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from paradox.mechanisms.boundary.draws import Sampler, draw, surprisal, uniforms
from paradox.models import load_model, load_tokenizer, sample

PROMPTS = ["<bos> Q 3 + 4 A", "<bos> Q 1 - 2 + 7 A", "<bos> Q 5 A"]
KEYS: list[tuple[str | int, ...]] = [("item", n) for n in range(3)]


@pytest.fixture(scope="module")
def sampler(tiny_checkpoint: Path) -> Sampler:
    """The random organism, two prompts at a time; sharpened, so that samples are alike."""
    folder = tiny_checkpoint / "step-0"
    model = load_model(folder)
    with torch.no_grad():
        model.lm_head.weight.mul_(8)
    return Sampler(model, load_tokenizer(folder), rows=2 * 12)


def test_draws_equal_the_plain_samplers(sampler: Sampler) -> None:
    """The same uniforms give the same texts, some of them alike and some not."""
    kinds = []
    for temperature in (1.0, 0.4):
        found = draw(sampler, PROMPTS, uniforms(KEYS, 12, 9), temperature)
        plain = sample(
            sampler.model,
            sampler.tokenizer,
            [prompt for prompt in PROMPTS for _ in range(12)],
            [(*key, n) for key in KEYS for n in range(12)],
            9,
            temperature,
        )
        flat = [tokens for of in found.tokens for tokens in of]
        texts = [sampler.tokenizer.decode(of, skip_special_tokens=True) for of in flat]
        assert texts == [response.text for response in plain]
        assert [len(tokens) for tokens in flat] == [response.tokens for response in plain]
        kinds.append(len(set(flat)))
    assert kinds[0] > 3 and kinds[1] < 36


def test_entropy_and_surprisal_are_those_of_whole_passes(sampler: Sampler) -> None:
    """Sums over tokens equal those from one forward pass over prompt and response."""
    found = draw(sampler, PROMPTS, uniforms(KEYS, 12, 9), 0.7)
    texts = [(p, t) for p, of in zip(PROMPTS, found.tokens, strict=True) for t in of]
    scored = surprisal(sampler, texts).reshape(3, 12)
    assert scored == pytest.approx(found.surprisal, abs=1e-5)
    for (prompt, tokens), entropy, nll in zip(
        texts, found.entropy.ravel(), scored.ravel(), strict=True
    ):
        head = sampler.tokenizer(prompt)["input_ids"]
        with torch.no_grad():
            logits = sampler.model(torch.tensor([[*head, *tokens]])).logits[0].double()
        of = logits[len(head) - 1 : -1]
        own = -torch.log_softmax(of, -1)[torch.arange(len(tokens)), torch.tensor(tokens)]
        whole = torch.distributions.Categorical(logits=of / 0.7).entropy().sum()
        assert nll == pytest.approx(float(own.mean()), abs=1e-5)
        assert entropy == pytest.approx(float(whole), abs=1e-5)
