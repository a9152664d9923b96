"""Step ``boundary``: how often base and trained model are right in many tries, and with what text.

A seeded set of pairs gets many samples of each source (2504.13837), exposed items and twins apart.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.arms import with_arm
from paradox.files import read_table, write_table
from paradox.mechanisms.boundary.draws import Draws, Sampler, Tokens, draw, surprisal, uniforms
from paradox.mechanisms.tables.pairs import Pairs
from paradox.mechanisms.tables.words import QUANTILES
from paradox.models import device_name, load_model, load_tokenizer
from paradox.progress import Progress
from paradox.provenance.manifest import read_manifest
from paradox.seeds import keyed_rng
from paradox.tasks import Task, load_task
from paradox.tasks.api import ITEM_COLUMNS

Array = NDArray[np.float64]
SOURCES = ("base", "after", "matched", "sharpened", "cold")
WIDEST = 32.0  # times the study's temperature, or its inverse: how far matching goes
TRIES = 12
# Entropy grows about as this power of the temperature; only the first guess depends on it.
SLOPE = 4.0


@dataclass(frozen=True)
class Read:
    """What a response says."""

    right: bool
    worked: bool
    mode: str


class Reader:
    """Reads responses, equal ones once."""

    def __init__(self, task: Task, sampler: Sampler) -> None:
        self.task, self.decode = task, sampler.tokenizer.decode
        self.known: dict[tuple[str, Tokens], Read] = {}

    def __call__(self, item: Any, tokens: Tokens) -> Read:
        """Read a response to an item."""
        if (item.item, tokens) not in self.known:
            text = self.decode(list(tokens), skip_special_tokens=True)
            right = self.task.equal(self.task.answer(text), item.answer)
            worked = isinstance(item.worked, str) and text.split() == item.worked.split()
            self.known[item.item, tokens] = Read(right, right and worked, self.task.mode(text))
        return self.known[item.item, tokens]


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Sample base and arm, and count: ``table`` has a row per item and source.

    Sources: ``base``; ``after``, the arm (for an untrained base itself, other samples of it);
    ``matched``, the arm at the base's entropy per token; ``sharpened``, the base at the arm's;
    ``cold``, the base at a low temperature.

    ``right`` and ``worked`` (by the task's own working, word for word) count samples; ``nll`` is
    the mean negative log-likelihood under the *base*, in nats per token. ``quantile`` is the
    probability that a sample has a higher perplexity than one of the base on the same item, ties
    counting half; ``quantile_same`` compares within a mode. Of the base itself, the second half of
    the samples is compared with the first. Empty where there is nothing to compare; ``matched`` is
    not scored.
    """
    settings, dtype = spec["boundary"], spec["boundary"]["dtype"]
    checkpoints = read_manifest(inputs["manifest"])
    folders = {"base": read_manifest(inputs["base"]).last, "arm": checkpoints.last}
    samplers = {
        name: Sampler(load_model(folder, dtype), load_tokenizer(folder), settings["rows"])
        for name, folder in folders.items()
    }
    items = read_table(inputs["items"], ITEM_COLUMNS)
    chosen = select(items, spec["exposed_from"], settings["pairs"], spec["seed"])
    task, step = load_task(spec["task"]), max(checkpoints.steps)
    device = device_name(samplers["base"].model.device)
    progress.say(f"{settings['samples']} samples of each of {len(chosen)} items on {device}")
    tables = []
    for done, (_, members) in enumerate(chosen.groupby("group", sort=True), start=1):
        group = Group(spec, step, task, samplers, members)
        tables.append(group.table())
        progress("groups", done, 2)
    table = pd.concat(tables, ignore_index=True)
    write_table(outputs["table"], with_arm(table, spec["arm"], step=step))


def select(items: pd.DataFrame, exposed_from: int, pairs: int, seed: int) -> pd.DataFrame:
    """Return exposed items and their twins, up to `pairs` pairs of every exposure that counts."""
    every = Pairs(items, exposed_from)
    names = np.array(every.names)[every.counts]
    taken: list[str] = []
    for exposure, named in pd.Series(names).groupby(every.exposures[every.counts], dropna=False):
        order = keyed_rng(seed, "boundary pairs", str(exposure)).permutation(len(named))
        taken += named.iloc[sorted(order[:pairs])].tolist()
    rows = items.set_index("item").loc[every.items].reset_index()
    return rows[rows["pair"].isin(taken)].reset_index(drop=True)


class Group:
    """Exposed items or twins, with all samples of them; `samplers` are ``base`` and ``arm``."""

    def __init__(
        self,
        spec: dict[str, Any],
        step: int,
        task: Task,
        samplers: dict[str, Sampler],
        items: pd.DataFrame,
    ) -> None:
        self.settings, self.items, self.samplers = spec["boundary"], items, samplers
        self.prompts = [task.prompt(question) for question in items["question"]]
        self.reader = Reader(task, samplers["base"])
        arm = spec["arm"]
        # Every arm of a base has the same samples of it.
        base = (spec["seed"], "boundary", arm["base"])
        self.keys = {
            "base": ("base", *base),
            "control": ("control", *base),
            "arm": ("arm", *base, arm["method"], arm["reward"], arm["seed"], step),
        }

    def draws(self) -> tuple[dict[str, Draws], dict[str, float]]:
        """Return the samples of every source and their temperatures."""
        settings, study = self.settings, float(self.settings["temperature"])
        noise = {name: self.noise(name, settings["samples"]) for name in ("base", "arm")}
        noise["control"] = self.noise("control", settings["pilot"])
        draws = {
            "base": self.draw("base", noise["base"], study),
            "after": self.draw("arm", noise["arm"], study),
            "cold": self.draw("base", noise["control"], settings["cold"]),
        }
        at = {"base": study, "after": study, "cold": float(settings["cold"])}
        few = noise["arm"][:, : settings["pilot"]]
        for name, model, uniform, start, target in (
            ("matched", "arm", few, "after", "base"),
            ("sharpened", "base", noise["control"], "base", "after"),
        ):
            at[name], draws[name] = match(
                lambda t, model=model, uniform=uniform: self.draw(model, uniform, t),
                (study, draws[start].token_entropy),
                draws[target].token_entropy,
                settings["tolerance"],
            )
        draws["matched"] = self.draw("arm", noise["arm"], at["matched"])
        return {name: draws[name] for name in SOURCES}, at

    def noise(self, name: str, samples: int) -> Array:
        """Return the uniforms of one role."""
        keys = [(*self.keys[name], item) for item in self.items["item"]]
        return uniforms(keys, samples, self.settings["max_tokens"])

    def draw(self, model: str, noise: Array, temperature: float) -> Draws:
        """Draw from one of the two models."""
        return draw(self.samplers[model], self.prompts, noise, temperature)

    def table(self) -> pd.DataFrame:
        """Return a row per source and item."""
        draws, at = self.draws()
        likelihoods = self.likelihoods(draws)
        half = self.settings["samples"] // 2
        rows = []
        for place, item in enumerate(self.items.itertuples()):
            read = {
                name: [self.reader(item, tokens) for tokens in drawn.tokens[place]]
                for name, drawn in draws.items()
            }
            reference = _sides(likelihoods["base"][place], read["base"])
            halves = [part[:half] for part in reference], [part[half:] for part in reference]
            for name, drawn in draws.items():
                row = {"item": item.item, "group": item.group, "exposure": item.exposure}
                row |= {"pair": item.pair, "source": name, "temperature": at[name]}
                row |= {"samples": len(read[name]), "right": sum(r.right for r in read[name])}
                row["worked"] = sum(r.worked for r in read[name])
                row["tokens"] = drawn.lengths[place].mean()
                row["entropy"] = drawn.entropy[place].sum() / drawn.lengths[place].sum()
                if name in likelihoods:
                    sampled = _sides(likelihoods[name][place], read[name])
                    row["nll"] = sampled[0].mean()
                    pair = (halves[1], halves[0]) if name == "base" else (sampled, reference)
                    row |= quantiles(*pair)
                rows.append(row)
        return pd.DataFrame(rows)

    def likelihoods(self, draws: dict[str, Draws]) -> dict[str, Array]:
        """Return every sample's nats per token under the base, shape (items, samples)."""
        base = draws["base"]
        # What the base drew itself has its likelihood, and equal texts have equal ones.
        known = {
            (prompt, tokens): value
            for prompt, drawn, nats in zip(self.prompts, base.tokens, base.surprisal, strict=True)
            for tokens, value in zip(drawn, nats, strict=True)
        }
        scored = {name: draws[name].tokens for name in SOURCES if name != "matched"}
        texts = {
            (prompt, tokens)
            for by_prompt in scored.values()
            for prompt, drawn in zip(self.prompts, by_prompt, strict=True)
            for tokens in drawn
        }
        new = sorted(texts - set(known))
        known |= dict(zip(new, surprisal(self.samplers["base"], new), strict=True))
        values = {}
        for name, by_prompt in scored.items():
            pairs = zip(self.prompts, by_prompt, strict=True)
            values[name] = np.array([[known[prompt, t] for t in drawn] for prompt, drawn in pairs])
        return values


def _sides(values: Array, read: list[Read]) -> tuple[Array, NDArray[np.bool_], NDArray[np.str_]]:
    return values, np.array([r.right for r in read]), np.array([r.mode for r in read])


def ranks(values: Array, reference: Array) -> Array:
    """Return the share of `reference` below each value, ties counting half.

    >>> ranks(np.array([1.0, 2.5]), np.array([1.0, 2.0, 3.0, 4.0]))
    array([0.125, 0.5  ])
    """
    ordered = np.sort(reference)
    sides = [np.searchsorted(ordered, values, side) for side in ("left", "right")]
    return (sides[0] + sides[1]) / (2 * len(ordered))


def quantiles(sampled: Any, reference: Any) -> dict[str, float]:
    """Return the columns `QUANTILES` of one item.

    Both arguments: likelihoods, right or wrong, and modes; of the samples, and of the base's.
    """
    values, right, mode = sampled
    place = ranks(values, reference[0])
    same = np.full(len(values), np.nan)
    for name in set(mode) & set(reference[2]):
        inside = mode == name
        same[inside] = ranks(values[inside], reference[0][reference[2] == name])
    parts = (place, place[right], place[~right], same[np.isfinite(same)])
    return {
        name: float(part.mean()) if len(part) else math.nan
        for name, part in zip(QUANTILES, parts, strict=True)
    }


def match(
    sample: Callable[[float], Draws],
    start: tuple[float, float],
    target: float,
    tolerance: float,
) -> tuple[float, Draws]:
    """Return the temperature at which entropy per token is `target`, and the samples there.

    The root nearest to the start is looked for, by secants on logarithms and, once two temperatures
    have it between them, inside of these. Where it is not found within `WIDEST` or `TRIES`, the
    temperature that came nearest is returned; its samples say how near. `sample` draws at a
    temperature, with the same uniforms each time; `start` is a temperature and its entropy;
    `tolerance` is relative.
    """

    def off(entropy: float) -> float:
        return math.log(max(entropy, 1e-9) / max(target, 1e-9))

    reach = math.log(WIDEST)
    middle = math.log(start[0])
    seen = [(0.0, off(start[1]))]  # log temperature over the start's, log entropy over the target
    best: tuple[float, float, Draws] | None = None
    at = max(-reach, min(reach, -seen[0][1] / SLOPE))
    for _ in range(TRIES):
        temperature = math.exp(middle + at)
        drawn = sample(temperature)
        y = off(drawn.token_entropy)
        if best is None or abs(y) < best[0]:
            best = (abs(y), temperature, drawn)
        if abs(y) <= tolerance:
            break
        seen.append((at, y))
        following = _next(seen, reach)
        if following is None:
            break
        at = following
    assert best is not None
    return best[1:]


def _next(seen: list[tuple[float, float]], reach: float) -> float | None:
    """Return the next place to look, or None where there is none."""
    ordered = sorted(seen)
    between = [(one, two) for one, two in itertools.pairwise(ordered) if one[1] * two[1] < 0]
    if between:
        (left, y), (right, z) = min(between, key=lambda ends: min(abs(e[0]) for e in ends))
        share = y / (y - z)
        return left + (right - left) * min(max(share, 0.1), 0.9)
    (a, y), (b, z) = seen[-2:]
    slope = (z - y) / (b - a) if b != a else 0.0
    far = max(seen, key=lambda point: abs(point[0]))[0]
    if abs(far) >= reach:
        return None
    # Not yet between two: go on the same way, faster where the slope is small or wrong.
    move = -z / slope if slope > 0 else math.copysign(math.log(2), far)
    move = math.copysign(min(abs(move), math.log(2)), far)
    return max(-reach, min(reach, far + 1.1 * move))
