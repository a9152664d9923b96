"""What edge attribution costs: ``python benchmarks/edges.py --help``.

Times the scores of all edges for every item beside one forward and backward pass with gradients
of the parameters (``training``), one without them (``activations``: the least that any gradient
of activations costs) and one forward pass, all with the same loss over every token of the same
batch: by default 32 texts of 32 tokens and a random model of the organism's shape, with
``--model`` a checkpoint's folder and 4 texts of 64 tokens.

The time is the process's CPU time on one thread; the sides take turns in random order, and a
ratio is that of one round. ``bytes`` is what the scores hold at once beside what autograd keeps:
all sources' outputs and the scores. ``peak_mb`` is how much memory a call takes at most, each
side in a process of its own (``--memory SIDE`` is how they are started).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from patching import organism
from torch import nn
from transformers import PreTrainedModel

from paradox.mechanisms.eap.edges import Edges
from paradox.mechanisms.model.access import Access
from paradox.mechanisms.model.recalls import Batch, Recall, batches
from paradox.models import load_model, set_determinism
from paradox.seeds import keyed_rng

SIDES = ("forward", "activations", "training", "scores")
SMALL, LARGE = (32, 32), (4, 64)


def texts(model: PreTrainedModel, rows: int, length: int) -> Batch:
    """Return a batch of random texts of which every token but the first is scored."""
    most = model.config.get_text_config().vocab_size
    drawn = keyed_rng("texts").integers(3, most, (rows, length + 1)).tolist()
    prompts = [Recall(str(n), row[:1], row[1:], 0) for n, row in enumerate(drawn)]
    return next(batches(prompts, rows, model.device))


def sides_of(model: PreTrainedModel, batch: Batch) -> dict[str, Callable[[], Any]]:
    """Return what is timed."""
    edges = Edges(Access(model))

    def training(parameters: bool) -> Callable[[], None]:
        def run() -> None:
            model.requires_grad_(parameters)
            start = model.get_input_embeddings()(batch.ids)
            start = start if parameters else start.detach().requires_grad_()
            logits = model(inputs_embeds=start, attention_mask=batch.mask, use_cache=False).logits
            targets = batch.gold.flatten()
            nn.functional.cross_entropy(logits.float().flatten(0, 1), targets).backward()
            model.zero_grad(set_to_none=True)

        return run

    @torch.no_grad()
    def forward() -> None:
        model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)

    calls = (forward, training(False), training(True), lambda: edges.scores(batch))
    return dict(zip(SIDES, calls, strict=True))


def prepared(folder: Path | None) -> tuple[PreTrainedModel, Batch]:
    """Return the model that is timed and its batch."""
    set_determinism(threads=1, seed=0)
    model = organism() if folder is None else load_model(folder, "float32")
    return model, texts(model, *(SMALL if folder is None else LARGE))


def measure(rounds: int, folder: Path | None = None) -> dict[str, Any]:
    """Return seconds of every side and ratios (median, least, greatest)."""
    model, batch = prepared(folder)
    sides = sides_of(model, batch)
    for call in sides.values():
        call()  # the first call is slower
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for index in keyed_rng("speed", number).permutation(len(sides)):
            start = time.process_time()
            sides[SIDES[index]]()
            seconds[SIDES[index]].append(time.process_time() - start)
    ratios = {
        f"scores / {other}": np.divide(seconds["scores"], seconds[other]) for other in SIDES[:-1]
    }
    graph = Edges(Access(model)).graph
    rows, width = batch.ids.numel(), model.config.get_text_config().hidden_size
    held = len(graph.sources) * (rows * width + len(batch.ids) * len(graph.destinations))
    return {
        "edges": len(graph.edges),
        "bytes": 4 * held,
        "peak_mb": {name: _peak_of(name, folder) for name in ("training", "scores")},
        "seconds": {name: float(np.median(value)) for name, value in seconds.items()},
        "ratios": {
            name: [round(float(f(value)), 3) for f in (np.median, np.min, np.max)]
            for name, value in ratios.items()
        },
    }


def _peak_of(side: str, folder: Path | None) -> float:
    """Return by how many MB one call of a side raises the largest memory, in a fresh process."""
    chosen = [] if folder is None else ["--model", str(folder)]
    command = [sys.executable, __file__, "--memory", side, *chosen]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def peak(side: str, folder: Path | None) -> float:
    """Return by how many MB one call of a side raises this process's memory at most (Linux)."""
    model, batch = prepared(folder)
    call = sides_of(model, batch)[side]
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading
    before = _memory("VmRSS")
    call()
    return (_memory("VmHWM") - before) / 1024


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def main() -> int:
    """Time all sides in turn and print what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--model", type=Path, help="a checkpoint's folder; default: the organism")
    parser.add_argument("--memory", choices=SIDES, help="print one side's memory instead")
    chosen = parser.parse_args()
    if chosen.memory:
        print(round(peak(chosen.memory, chosen.model), 1))
    else:
        print(json.dumps(measure(chosen.rounds, chosen.model), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
