"""What patching and the lens cost: ``python benchmarks/patching.py --help``.

Times the engine of `paradox.mechanisms.patching.engine`, one forward pass with hooks per cell, and
TransformerLens where it is installed, on a random model of the organism's shape: all kinds and
blocks, each position by itself and all positions at once, with all runs that each of them needs;
and the logit lens of all layers at one position, beside one forward pass plus the final norm and
head at the same places (``least lens``). With ``--model`` a checkpoint's folder is timed instead,
without the sides that run once per cell.
The time is the process's CPU time on one thread; the sides take turns in random order, and a
ratio is that of one round. The two slow sides do every eighth position and are scaled: the work
of their cells does not depend on the position.

``floor`` is the least that the engine's way of working can cost, in forward passes: the
multiplications with weight matrices in blocks after the patched one and at positions from the
patched one on, and those of the two runs that are compared.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast, Qwen2Config

from paradox.mechanisms.lens.measure import lens
from paradox.mechanisms.model.access import RESID_POST, RESID_PRE, Access, Node
from paradox.mechanisms.model.traces import PATCHED, states, trace
from paradox.mechanisms.patching.engine import Answers, all_positions, each_position, total_effects
from paradox.models import load_model, set_determinism
from paradox.seeds import keyed_rng

VOCABULARY, ITEMS, FEW, LENGTH, PLACE = 130, 32, 4, 32, 29
EVERY = 8
# No dependency of the project: compared with where it is installed.
RIVAL = "transformer_lens"


def organism() -> PreTrainedModel:
    """Return a random model of the organism's shape."""
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=LENGTH,
    )
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()


def by_engine(access: Access, ids: Tensor, others: Tensor, answers: Answers, each: bool) -> Tensor:
    """Return gold's log-probability of every cell (kind, block, group, item), by the engine."""
    groups = each_position(ids.shape[1]) if each else all_positions(ids.shape[1])
    values = states(trace(access, others))
    found = total_effects(trace(access, ids), values, answers, groups)
    return found.patched["gold_logp"][..., -1]


@torch.no_grad()
def by_hooks(
    access: Access, ids: Tensor, others: Tensor, answers: Answers, positions: list[int] | None
) -> Tensor:
    """Return the same with one forward pass per cell; `positions` None: all at once."""
    with access.capture(access.nodes(*PATCHED)) as source:
        access.model(others, use_cache=False)
    found = []
    for kind in PATCHED:
        for block in range(len(access.blocks)):
            for position in [None] if positions is None else positions:
                where = torch.ones_like(ids, dtype=torch.bool)
                if position is not None:
                    where = torch.arange(ids.shape[1])[None] == position
                node = Node(kind, block)
                with access.patch({node: source[node]}, where):
                    logits = access.model(ids, use_cache=False).logits
                found.append(_gold(logits, answers))
    return torch.stack(found).view(len(PATCHED), len(access.blocks), -1, len(ids))


def bridged(model: PreTrainedModel) -> Any:
    """Return a copy of the model in TransformerLens, which asks for a tokenizer's folder."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformer_lens.model_bridge import TransformerBridge

    words = {str(number): number for number in range(model.config.vocab_size)}
    special = {"pad_token": "0", "bos_token": "1", "eos_token": "2", "unk_token": "0"}
    whole = Tokenizer(WordLevel(words, unk_token="0"))
    with tempfile.TemporaryDirectory() as folder:
        PreTrainedTokenizerFast(tokenizer_object=whole, **special).save_pretrained(folder)
        model.config.save_pretrained(folder)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        return TransformerBridge.boot_transformers(
            folder, hf_model=copy.deepcopy(model), tokenizer=tokenizer
        )


@torch.no_grad()
def by_transformer_lens(
    bridge: Any, ids: Tensor, others: Tensor, answers: Answers, positions: list[int] | None
) -> Tensor:
    """Return the same as `by_hooks`, by TransformerLens."""
    import pandas as pd
    from transformer_lens.patching import generic_activation_patch

    chosen = [-1] if positions is None else positions
    cells = [(layer, place) for layer in range(bridge.cfg.n_layers) for place in chosen]

    def write(current: Tensor, cell: list[int], source: Tensor) -> Tensor:
        part = slice(None) if positions is None else cell[1]
        current[:, part] = source[:, part]
        return current

    _, cache = bridge.run_with_cache(others, names_filter=lambda name: name.endswith(PATCHED))
    found = [
        generic_activation_patch(
            bridge,
            ids,
            cache,
            lambda logits: _gold(logits, answers),
            write,
            kind,  # both name the kinds alike
            index_df=pd.DataFrame(cells, columns=["layer", "pos"]),
            reduce="none",
        ).values
        for kind in PATCHED
    ]
    return torch.stack(found).view(len(PATCHED), bridge.cfg.n_layers, -1, len(ids))


def floor(config: Any, each: bool) -> float:
    """Return the least number of forward passes, see the module's text."""
    width, blocks = config.hidden_size, config.num_hidden_layers
    head = width // config.num_attention_heads
    queries = 2 * width * head * config.num_attention_heads  # and the output's
    keys = 2 * width * head * config.num_key_value_heads
    mlp = 3 * width * config.intermediate_size
    block = queries + keys + mlp
    total = 2.0 * blocks * LENGTH * block
    for start in range(PLACE + 1) if each else [0]:
        tail = PLACE + 1 - start
        changed = 1 if each else tail
        for entered in range(blocks):
            later = blocks - 1 - entered
            if not later:
                total += mlp * (start == PLACE or not each)
                continue
            read = queries + mlp + keys * (tail if later > 1 else changed)
            total += len(PATCHED) * ((later - 1) * tail * block + read) + mlp * changed
    return total / (blocks * LENGTH * block)


@torch.no_grad()
def lens_least(access: Access, ids: Tensor, positions: list[int], tokens: Tensor) -> Tensor:
    """Do what no lens can do without: a forward pass, and norm and head once per layer."""
    access.model(ids, use_cache=False, logits_to_keep=1)
    residual = torch.ones(len(ids), len(positions), access.model.config.hidden_size)
    logits = [access.logits(residual) for _ in range(len(access.blocks) + 1)]
    return torch.stack([value.log_softmax(-1).gather(-1, tokens) for value in logits])


def lens_transformer_lens(bridge: Any, ids: Tensor, positions: list[int], tokens: Tensor) -> Tensor:
    """Return the lens of all layers, by TransformerLens."""
    wanted = [f"blocks.{n}.hook_{RESID_POST}" for n in range(bridge.cfg.n_layers)]
    wanted.insert(0, f"blocks.0.hook_{RESID_PRE}")
    with torch.no_grad():
        _, cache = bridge.run_with_cache(ids, names_filter=lambda name: name in wanted)
        chosen = [bridge.unembed(bridge.ln_final(cache[name][:, positions])) for name in wanted]
    return torch.stack([logits.log_softmax(-1).gather(-1, tokens) for logits in chosen])


def sides_of(model: PreTrainedModel, cells: bool) -> dict[str, tuple[Callable[[], Any], float]]:
    """Return what is timed and by how much it stands for more; `cells`: one run per cell, too."""
    access, size = Access(model), ITEMS if cells else FEW
    ids, others = torch.randint(3, VOCABULARY, (2, size, LENGTH))
    place = torch.tensor([PLACE])
    answers = Answers(place, ids[:, [PLACE + 1]], others[:, [PLACE + 1]])
    some, follow = list(range(0, LENGTH, EVERY)), ids[:, :1, None]
    sides: dict[str, tuple[Callable[[], Any], float]] = {
        "forward": (torch.no_grad()(lambda: model(ids, use_cache=False)), 1),
        "engine all": (lambda: by_engine(access, ids, others, answers, False), 1),
        "lens": (lambda: lens(access, {"input_ids": ids}, [PLACE], follow), 1),
        "least lens": (lambda: lens_least(access, ids, [PLACE], follow), 1),
    }
    if not cells:
        return sides
    sides |= {
        "engine each": (lambda: by_engine(access, ids, others, answers, True), 1),
        "hooks each": (lambda: by_hooks(access, ids, others, answers, some), EVERY),
        "hooks all": (lambda: by_hooks(access, ids, others, answers, None), 1),
    }
    if importlib.util.find_spec(RIVAL):
        bridge = bridged(model)

        def theirs(positions: list[int] | None) -> Callable[[], Any]:
            return lambda: by_transformer_lens(bridge, ids, others, answers, positions)

        sides |= {
            f"{RIVAL} each": (theirs(some), EVERY),
            f"{RIVAL} all": (theirs(None), 1),
            f"{RIVAL} lens": (lambda: lens_transformer_lens(bridge, ids, [PLACE], follow), 1),
        }
    return sides


def measure(rounds: int, folder: Path | None = None) -> dict[str, Any]:
    """Return seconds of every side and ratios (median, least, greatest).

    Parameters
    ----------
    folder
        A checkpoint; None: a random model of the organism's shape.
    """
    set_determinism(threads=1, seed=0)
    model = organism() if folder is None else load_model(folder, "float32")
    sides = sides_of(model, cells=folder is None)
    for call, _ in sides.values():
        call()  # the first call is slower
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for index in keyed_rng("speed", number).permutation(len(sides)):
            name, (call, scale) = list(sides.items())[index]
            start = time.process_time()
            call()
            seconds[name].append(scale * (time.process_time() - start))
    below = {"each": "engine each", "all": "engine all", "lens": "least lens"}
    ratios = {
        f"{name} / {other}": np.divide(seconds[name], seconds[other])
        for name in sides
        for other in ("forward", below.get(name.split()[-1], "forward"))
        if name != other
    }
    return {
        "floor": {"each": floor(model.config, True), "all": floor(model.config, False)},
        "seconds": {name: float(np.median(value)) for name, value in seconds.items()},
        "ratios": {
            name: [round(float(f(value)), 2) for f in (np.median, np.min, np.max)]
            for name, value in ratios.items()
        },
    }


def _gold(logits: Tensor, answers: Answers) -> Tensor:
    place = logits[:, answers.positions[-1]].log_softmax(-1)
    return place.gather(-1, answers.gold[:, -1:]).squeeze(-1)


def main() -> int:
    """Time all sides in turn and print what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", type=Path, help="a checkpoint's folder; default: the organism")
    chosen = parser.parse_args()
    print(json.dumps(measure(chosen.rounds, chosen.model), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
