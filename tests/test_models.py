"""Sampling and scoring against exact references."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from paradox.models import load_model, load_tokenizer, sample, score_segments
from paradox.tasks import load_task

PROMPTS = ["<bos> Q 7 + 3 A", "<bos> Q 1 - 12 + 3 - 4 A", "<bos> Q 0 + 0 A", "<bos> Q 5 A"]


@pytest.fixture(scope="module")
def parts(tiny_checkpoint: Path) -> tuple[Any, Any]:
    folder = tiny_checkpoint / "step-0"
    return load_model(folder), load_tokenizer(folder)


def test_auto_classes_load_the_checkpoint(tiny_checkpoint: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tiny_checkpoint / "step-0"
    assert AutoModelForCausalLM.from_pretrained(folder).config.model_type == "qwen2"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.convert_ids_to_tokens(tokenizer("Q 11 + think")["input_ids"]) == [
        "Q",
        "11",
        "+",
        "think",
    ]


def test_greedy_equals_the_library(parts: tuple[Any, Any]) -> None:
    model, tokenizer = parts
    ours = sample(model, tokenizer, PROMPTS, None, max_new_tokens=12)
    for prompt, response in zip(PROMPTS, ours, strict=True):
        batch = tokenizer([prompt], return_tensors="pt")
        with torch.inference_mode():
            out = model.generate(**batch, max_new_tokens=12, do_sample=False)
        new = out[0, batch["input_ids"].shape[1] :]
        assert response.text == tokenizer.decode(new, skip_special_tokens=True)
        assert response.tokens == len(new)


def test_a_sample_does_not_depend_on_its_batch(parts: tuple[Any, Any]) -> None:
    model, tokenizer = parts
    keys = [(0, 0, "i", number) for number in range(len(PROMPTS))]
    together = sample(model, tokenizer, PROMPTS, keys, max_new_tokens=12)
    alone = [
        sample(model, tokenizer, [prompt], [key], max_new_tokens=12)[0]
        for prompt, key in zip(PROMPTS, keys, strict=True)
    ]
    assert together == alone
    other = sample(model, tokenizer, PROMPTS, [(1, *key[1:]) for key in keys], max_new_tokens=12)
    assert together != other


def test_sampled_frequencies_follow_the_model(parts: tuple[Any, Any]) -> None:
    model, tokenizer = parts
    count = 4000
    keys = [("frequency", number) for number in range(count)]
    drawn = sample(model, tokenizer, [PROMPTS[0]] * count, keys, max_new_tokens=1)
    batch = tokenizer([PROMPTS[0]], return_tensors="pt")
    with torch.inference_mode():
        probabilities = torch.softmax(model(**batch).logits[0, -1].double(), -1)
    word = int(probabilities[6:].argmax()) + 6  # not a special token: those have no text
    expected = float(probabilities[word])
    found = sum(r.text == tokenizer.convert_ids_to_tokens(word) for r in drawn) / count
    assert abs(found - expected) < 4.5 * math.sqrt(expected * (1 - expected) / count)


def test_scores_equal_a_direct_computation(parts: tuple[Any, Any]) -> None:
    model, tokenizer = parts
    text = "<bos> Q 7 + 3 A answer 10"
    prompt = "<bos> Q 7 + 3 A"
    spans = {"prompt": (0, len(prompt)), "answer": (len(text) - 2, len(text))}
    # The longer text makes the first one padded.
    scores = score_segments(model, tokenizer, [text, text + " ; ; ;"], [spans, spans])
    ids = tokenizer([text], return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        logp = torch.log_softmax(model(ids).logits[0].double(), -1)
    nll = [-float(logp[place - 1, ids[0, place]]) for place in range(1, ids.shape[1])]
    assert scores[0]["prompt"].tokens == 5
    assert scores[0]["prompt"].nll == pytest.approx(sum(nll[:5]) / 5, abs=1e-5)
    assert scores[0]["answer"].nll == pytest.approx(nll[-1], abs=1e-5)
    assert scores[1]["answer"].nll == pytest.approx(nll[-1], abs=1e-5)


def test_a_uniform_model_has_the_vocabulary_as_perplexity(parts: tuple[Any, Any]) -> None:
    model, tokenizer = parts
    weights = model.get_input_embeddings().weight
    saved = weights.detach().clone()
    try:
        with torch.no_grad():
            weights.zero_()  # tied embeddings: all logits are zero
        score = score_segments(model, tokenizer, [PROMPTS[1]], [{"prompt": (0, 99)}])
    finally:
        with torch.no_grad():
            weights.copy_(saved)
    assert score[0]["prompt"].nll == pytest.approx(math.log(len(tokenizer)), rel=1e-6)


def test_packed_documents_do_not_see_each_other(
    parts: tuple[Any, Any], task_spec: dict[str, Any]
) -> None:
    from paradox.train.base import PackingCollator, _Documents

    model, tokenizer = parts
    task = load_task(task_spec)
    items = task.items(0)
    texts = [task.prompt(item.question) + item.worked for item in items.itertuples()]
    documents = _Documents(texts, tokenizer, max_tokens=64)
    rows = [documents[index] for index in range(len(documents))]
    packed = PackingCollator(row_tokens=80, pad=tokenizer.pad_token_id)(rows)
    assert packed["input_ids"].shape[0] < len(rows)
    with torch.inference_mode():
        # With a cache, transformers does not look at the position ids; the trainer has none.
        together = float(model(**packed, use_cache=False).loss)
        total, tokens = 0.0, 0
        for row in rows:
            ids = torch.tensor([row["input_ids"]])
            total += float(model(ids, labels=ids).loss) * (ids.shape[1] - 1)
            tokens += ids.shape[1] - 1
    assert together == pytest.approx(total / tokens, rel=1e-5)
