"""The published differential equation (2601.11061), rebuilt to see what it would say here.

From what stands in the residual after the embedding and the first two blocks (means over the whole
text, gold answer included) an encoder makes z(0); dz/dt = f(z + w t + b) runs over as many units of
time as there are blocks; a classifier of z at the end is trained to tell the two classes apart. The
*separation force* is the distance between the fields at the two class means, as a function of time.

Kept as published: encoder, field, classifier, losses, Adam, clipping, early choice by validation
accuracy, Runge-Kutta steps of 1/2, splits (80/20, then 85/15, not stratified). Smaller: widths and
epochs; the field's weights are drawn wider by as much, so that it starts as strong as published.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, dropout
from torchdiffeq import odeint

from paradox.mechanisms.tables.words import AS_IS, PERMUTED, SHUFFLED
from paradox.seeds import keyed_rng, torch_seed
from paradox.stats.bootstrap import Resampling

Array = NDArray[np.float64]
SEEN = 3  # states that are seen: after the embedding and the first two blocks
VARIANTS = (AS_IS, PERMUTED, SHUFFLED)
WIDTH, SPREAD = 128, 0.1  # published latent width and spread of the field's weights
RATE, DECAY, CLIP, DROPOUT = 1e-3, 1e-5, 1.0, 0.1
FACTOR, PATIENCE = 0.5, 5
SOLVER: dict[str, Any] = {"method": "rk4", "options": {"step_size": 0.5}}


class How(NamedTuple):
    """Sizes: fits per variant, latent and hidden width, epochs and batch size."""

    fits: int
    latent: int
    hidden: int
    epochs: int
    batch_size: int


class Found(NamedTuple):
    """What a variant of the construction finds.

    `force` has the shape (fits, L + 1), at times 0 .. L; `auc` is the area under the curve of
    held-out scores, over fits, with its interval over pairs.
    """

    force: Array
    auc: float
    low: float
    high: float


def published(
    states: Array, settings: How, resampling: Resampling, *key: str | int
) -> dict[str, Found]:
    """Return what each of `VARIANTS` finds.

    `states` are means over the text, shape (layers, pairs, 2, width), exposed item first; fewer
    than `SEEN` layers raise a `ValueError`.
    """
    if len(states) < SEEN:
        raise ValueError(f"{len(states)} states are fewer than the {SEEN} that are published")
    layers, pairs = states.shape[:2]
    flat = states.reshape(layers, 2 * pairs, -1)
    truth = np.tile([1.0, 0.0], pairs)
    seen, labels, parts = [], [], []
    for variant in VARIANTS:
        for fit in range(settings.fits):
            rng = keyed_rng("published flow", *key, fit)
            parts.append(_split(2 * pairs, rng))
            order = rng.permutation(layers) if variant == SHUFFLED else np.arange(layers)
            swap = np.repeat(rng.integers(0, 2, pairs) == 1, 2) & (variant == PERMUTED)
            seen.append(np.concatenate(list(flat[order[:SEEN]]), axis=1))
            labels.append(np.where(swap, 1 - truth, truth))
    inputs = torch.from_numpy(np.array(seen)).float()
    wanted = torch.from_numpy(np.array(labels)).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed("published flow", *key))
        model = Model(len(inputs), inputs.shape[2], settings, layers - 1)
        model.train(inputs, wanted, parts, settings)
        forces, scores = model.asked(inputs, wanted, [part[2] for part in parts])
    by_variant = {}
    for place, variant in enumerate(VARIANTS):
        rows_of_variant = slice(place * settings.fits, (place + 1) * settings.fits)
        tested = [part[2] for part in parts[rows_of_variant]]
        held = [label[rows] for label, rows in zip(labels[rows_of_variant], tested, strict=True)]
        clusters = [rows // 2 for rows in tested]
        fits = [np.full(len(rows), number) for number, rows in enumerate(tested)]
        joined = (
            np.concatenate(list(of)) for of in (scores[rows_of_variant], held, clusters, fits)
        )
        by_variant[variant] = Found(
            forces[rows_of_variant], *pooled_area(*joined, pairs, resampling)
        )
    return by_variant


def _split(items: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Return items to train on, to choose by, and held out."""
    order = rng.permutation(items)
    rest = items - round(0.2 * items)
    return np.split(order, [round(0.85 * rest), rest])


def pooled_area(
    scores: Array,
    labels: Array,
    pairs: NDArray[np.int64],
    fits: NDArray[np.int64],
    count: int,
    resampling: Resampling,
) -> tuple[float, float, float]:
    """Return the area under the curve with its bootstrap interval; pairs are drawn whole.

    An area is no mean over pairs; its interval is about these trainings.

    Only scores of one fit are compared: a fit's level follows the share of labelled items among
    those it was trained on, and the rest, held out, has the opposite share.
    """
    one, other = labels > 0, labels == 0
    same = fits[one][:, None] == fits[other][None]
    wins = same * (np.sign(scores[one][:, None] - scores[other][None]) / 2 + 0.5)
    rng = keyed_rng("area", resampling.seed, count)
    weights = rng.multinomial(count, np.full(count, 1 / count), resampling.resamples)
    left, right = (weights[:, pairs[side]].astype(float) for side in (one, other))
    total, won = (((left @ of) * right).sum(axis=1) for of in (same.astype(float), wins))
    tail = (1 - resampling.level) / 2
    low, high = np.quantile(won[total > 0] / total[total > 0], [tail, 1 - tail])
    return float(wins.sum() / same.sum()), float(low), float(high)


class Model:
    """Encoders, fields and classifiers (at time `blocks`) of many fits that share no weight."""

    def __init__(self, fits: int, width: int, settings: How, blocks: int) -> None:
        latent, hidden = settings.latent, settings.hidden
        self.times = torch.arange(blocks + 1, dtype=torch.float32)

        def uniform(inwards: int, *shape: int) -> Tensor:
            return (2 * torch.rand(fits, *shape) - 1) / math.sqrt(inwards)

        def normal(*shape: int) -> Tensor:
            return SPREAD * math.sqrt(WIDTH / latent) * torch.randn(fits, *shape)

        self.weights = {
            "encode_0": uniform(width, width, hidden),
            "encode_0_bias": uniform(width, 1, hidden),
            "encode_1": uniform(hidden, hidden, latent),
            "encode_1_bias": uniform(hidden, 1, latent),
            "clock": uniform(1, 1, latent),
            "clock_bias": uniform(1, 1, latent),
            "field_0": normal(latent, hidden),
            "field_0_bias": torch.zeros(fits, 1, hidden),
            "field_1": normal(hidden, hidden),
            "field_1_bias": torch.zeros(fits, 1, hidden),
            "field_2": normal(hidden, latent),
            "field_2_bias": torch.zeros(fits, 1, latent),
            "classify_0": uniform(latent, latent, hidden),
            "classify_0_bias": uniform(latent, 1, hidden),
            "classify_1": uniform(hidden, hidden, 1),
            "classify_1_bias": uniform(hidden, 1, 1),
        }

    def _apply(self, name: str, value: Tensor) -> Tensor:
        return torch.baddbmm(self.weights[f"{name}_bias"], value, self.weights[name])

    def field(self, time: Tensor, state: Tensor) -> Tensor:
        """Return dz/dt."""
        moved = state + time * self.weights["clock"] + self.weights["clock_bias"]
        inner = torch.tanh(self._apply("field_0", moved))
        return self._apply("field_2", torch.tanh(self._apply("field_1", inner)))

    def run(self, inputs: Tensor, times: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        """Return states at `times` and the classifier's scores at the last."""
        inner = torch.relu(self._apply("encode_0", inputs))
        start = self._apply("encode_1", dropout(inner, DROPOUT, training))
        states = odeint(self.field, start, times, **SOLVER)
        inner = torch.relu(self._apply("classify_0", states[-1]))
        return states, self._apply("classify_1", dropout(inner, DROPOUT, training))[..., 0]

    def train(
        self, inputs: Tensor, labels: Tensor, parts: list[list[NDArray[np.int64]]], settings: How
    ) -> None:
        """Fit all and keep, of each, the weights of the best validation accuracy."""
        chosen, checked = (
            torch.from_numpy(np.array([part[place] for part in parts])) for place in (0, 1)
        )
        names, ends = list(self.weights), self.times[[0, -1]]
        rows = torch.arange(len(inputs))[:, None]
        moments = {
            name: [torch.zeros_like(weight) for _ in range(2)]
            for name, weight in self.weights.items()
        }
        best_weights, best = dict(self.weights), torch.full((len(inputs),), -1.0)
        rate = torch.full((len(inputs),), RATE)
        least, waited = torch.full((len(inputs),), math.inf), torch.zeros(len(inputs))
        done = 0
        for _ in range(settings.epochs):
            order = torch.rand(chosen.shape).argsort(dim=1)
            for batch in order.split(settings.batch_size, dim=1):
                items, done = chosen.gather(1, batch), done + 1
                weights = {
                    n: weight.detach().requires_grad_() for n, weight in self.weights.items()
                }
                self.weights = weights
                _, scores = self.run(inputs[rows, items], ends, True)
                loss = _losses(scores, labels[rows, items]).sum()
                slopes = torch.autograd.grad(loss, [weights[name] for name in names])
                self.weights = _adam(weights, slopes, moments, rate, done)
            with torch.no_grad():
                _, scores = self.run(inputs[rows, checked], ends, False)
            truth = labels[rows, checked]
            right = ((scores > 0) == (truth > 0)).float().mean(dim=1)
            better, best = right > best, torch.maximum(right, best)
            for name, weight in self.weights.items():
                best_weights[name] = torch.where(better[:, None, None], weight, best_weights[name])
            losses = _losses(scores, truth)
            waited = torch.where(losses < least, 0, waited + 1)
            least = torch.minimum(losses, least)
            rate = torch.where(waited > PATIENCE, rate * FACTOR, rate)
            waited = torch.where(waited > PATIENCE, 0, waited)
        self.weights = best_weights

    @torch.no_grad()
    def asked(
        self, inputs: Tensor, labels: Tensor, tested: list[NDArray[np.int64]]
    ) -> tuple[Array, list[Array]]:
        """Return the separation force of held-out items at every time, and their scores."""
        items = torch.from_numpy(np.array(tested))
        rows = torch.arange(len(inputs))[:, None]
        truth = labels[rows, items]
        states, scores = self.run(inputs[rows, items], self.times, False)
        forces = []
        for time, state in zip(self.times, states, strict=True):
            middles = [
                (state * of[..., None]).sum(1, keepdim=True) / of.sum(1)[:, None, None].clamp_min(1)
                for of in (truth, 1 - truth)
            ]
            # As published: the field at the mean, not the mean of the field.
            fields = [self.field(time, middle) for middle in middles]
            forces.append((fields[0] - fields[1]).norm(dim=2)[:, 0])
        return torch.stack(forces, dim=1).double().numpy(), list(scores.double().numpy())


def _losses(scores: Tensor, labels: Tensor) -> Tensor:
    return binary_cross_entropy_with_logits(scores, labels, reduction="none").mean(dim=1)


def _adam(
    weights: dict[str, Tensor],
    slopes: tuple[Tensor, ...],
    moments: dict[str, list[Tensor]],
    rate: Tensor,
    done: int,
) -> dict[str, Tensor]:
    """Return the weights after a step of Adam; clipping and rates are of each fit by itself."""
    norm = torch.stack([slope.pow(2).sum(dim=(1, 2)) for slope in slopes]).sum(dim=0).sqrt()
    shrink = (CLIP / (norm + 1e-6)).clamp_max(1)[:, None, None]
    updated = {}
    for (name, weight), slope in zip(weights.items(), slopes, strict=True):
        change = slope * shrink + DECAY * weight.detach()
        first, second = moments[name]
        first.mul_(0.9).add_(change, alpha=0.1)
        second.mul_(0.999).addcmul_(change, change, value=0.001)
        size = (second / (1 - 0.999**done)).sqrt() + 1e-8
        updated[name] = weight.detach() - rate[:, None, None] * first / (1 - 0.9**done) / size
    return updated
