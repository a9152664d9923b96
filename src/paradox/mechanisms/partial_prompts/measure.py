"""Step ``partial_prompts``: whether a model completes questions of which it sees the beginning.

A question is cut after a share of its tokens (`ratio`), at the nearest space. Per item and ratio:
``exact`` and ``exact_greedy`` (the rest word by word; ``exact`` is the share of samples), ``edit``
and ``rouge`` (edit distance over the longer length, and ROUGE-L, both over words, of the greedy
continuation), ``nll`` (of the true rest, nats per token) and ``lift`` (the clean reference's nll
minus this one).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from transformers import PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from paradox.arms import with_arm
from paradox.errors import DataError
from paradox.files import read_table, write_table
from paradox.mechanisms.partial_prompts.summary import contrasts
from paradox.models import device_name, load_model, load_tokenizer, sample, score_segments
from paradox.progress import Progress
from paradox.provenance.manifest import read_manifest
from paradox.stats.overlap import likeness
from paradox.tasks import Task, load_task
from paradox.tasks.api import ITEM_COLUMNS


@dataclass(frozen=True)
class Cut:
    """A prompt cut inside its question."""

    # `item`, `ratio`: row of the item table, and the share asked for.
    item: int
    ratio: float
    text: str  # the prompt up to the end of its question
    place: int  # where the beginning ends and the rest (with its space) starts, in characters
    tokens: int  # tokens of the rest

    @property
    def beginning(self) -> str:
        """What the model is given."""
        return self.text[: self.place]

    @property
    def rest(self) -> str:
        """What it should go on with."""
        return self.text[self.place :]


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Run the test on the last checkpoint of an arm.

    ``spec``: ``arm``, ``partial_prompts``, ``task`` and ``exposed_from``. ``inputs``: ``manifest``
    of the arm, ``reference`` (manifest of the clean base) and ``items``. ``outputs``: ``items``:
    one row per (ratio, item); ``contrast``: exposed against twins.

    Raises `DataError` when no question leaves enough to complete.
    """
    settings = spec["partial_prompts"]
    checkpoints = read_manifest(inputs["manifest"])
    step, items = max(checkpoints.steps), read_table(inputs["items"], ITEM_COLUMNS)
    task = load_task(spec["task"])
    tokenizer = load_tokenizer(checkpoints.last)
    cuts = cut_all(task, tokenizer, items, settings["ratios"], settings["min_remainder"])
    reference = read_manifest(inputs["reference"]).last
    model = load_model(reference, settings["dtype"])
    clean = rest_nll(model, load_tokenizer(reference), cuts, settings["batch_size"])
    model = load_model(checkpoints.last, settings["dtype"])
    progress.say(f"completing {len(cuts)} questions on {device_name(model.device)}")
    nll = rest_nll(model, tokenizer, cuts, settings["batch_size"])
    greedy, sampled = continuations(model, tokenizer, cuts, items, (spec, step), progress)
    rows = []
    for at, cut in enumerate(cuts):
        exact, edit, rouge = likeness(greedy[at], cut.rest)
        hits = [likeness(text, cut.rest)[0] for text in sampled[at]]
        rows.append(
            {
                **items.iloc[cut.item][["item", "group", "exposure"]].to_dict(),
                **{"ratio": cut.ratio, "tokens": cut.tokens, "exact": float(np.mean(hits))},
                **{"exact_greedy": int(exact), "edit": edit, "rouge": rouge},
                **{"nll": nll[at], "lift": clean[at] - nll[at]},
            }
        )
    table = with_arm(pd.DataFrame(rows), spec["arm"], step=step)
    write_table(outputs["items"], table)
    contrast = pd.DataFrame(contrasts(table, items, spec["exposed_from"]))
    write_table(outputs["contrast"], with_arm(contrast, spec["arm"], step=step))


def cut_all(
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    items: pd.DataFrame,
    ratios: list[float],
    min_remainder: int,
) -> list[Cut]:
    """Return every question's cuts that leave at least `min_remainder` tokens to complete."""
    cuts = []
    for row, question in enumerate(items["question"]):
        text = task.prompt(question)
        start = text.index(question)
        text = text[: start + len(question)]
        offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        spans = [span for span in offsets if span[1] > start]
        # Some tokenizers count the space before a word to its token, others to none.
        allowed = [
            number
            for number, (left, _) in enumerate(spans)
            if number and (text[left].isspace() or text[left - 1].isspace())
        ]
        for ratio in ratios:
            if not allowed:
                break
            # The earlier one of two that are as near.
            number = min(allowed, key=lambda n: abs(n - ratio * len(spans)))
            place = len(text[: spans[number][0]].rstrip())
            if len(spans) - number >= min_remainder:
                cuts.append(Cut(row, ratio, text, place, len(spans) - number))
    if not cuts:
        raise DataError(
            f"no question leaves {min_remainder} tokens or more to complete "
            f"(keys partial_prompts.min_remainder and partial_prompts.ratios: {ratios})."
        )
    return cuts


def rest_nll(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, cuts: list[Cut], batch_size: int
) -> list[float]:
    """Return the mean negative log-likelihood of each rest given its beginning."""
    # One pass per question scores all its cuts.
    spans: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for cut in cuts:
        spans[cut.text][str(cut.place)] = (cut.place, len(cut.text))
    scores = score_segments(model, tokenizer, list(spans), list(spans.values()), batch_size)
    nll = dict(zip(spans, scores, strict=True))
    return [nll[cut.text][str(cut.place)].nll for cut in cuts]


def continuations(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    cuts: list[Cut],
    items: pd.DataFrame,
    naming: tuple[dict[str, Any], int],
    progress: Progress,
) -> tuple[list[str], list[list[str]]]:
    """Return each cut's greedy continuation and its samples, as long as the rest in tokens.

    `naming`: the spec and the step, which name the samples together with item, ratio and number.
    """
    spec, step = naming
    settings, seed = spec["partial_prompts"], spec["arm"]["seed"]
    by_length: dict[int, list[int]] = defaultdict(list)
    for at, cut in enumerate(cuts):
        by_length[cut.tokens].append(at)
    greedy = [""] * len(cuts)
    sampled: list[list[str]] = [[] for _ in cuts]
    for done, (tokens, places) in enumerate(sorted(by_length.items()), start=1):
        texts = [cuts[at].beginning for at in places]
        first = sample(model, tokenizer, texts, None, tokens, batch_size=settings["batch_size"])
        draws = [(at, draw) for at in places for draw in range(settings["samples"])]
        keys = [
            ("partial", seed, step, items["item"].iloc[cuts[at].item], str(cuts[at].ratio), draw)
            for at, draw in draws
        ]
        drawn = sample(
            model,
            tokenizer,
            [cuts[at].beginning for at, _ in draws],
            keys,
            tokens,
            settings["temperature"],
            settings["batch_size"],
        )
        for at, response in zip(places, first, strict=True):
            greedy[at] = response.text
        for (at, _), response in zip(draws, drawn, strict=True):
            sampled[at].append(response.text)
        progress("lengths", done, len(by_length))
    return greedy, sampled
