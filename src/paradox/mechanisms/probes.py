"""Linear probes: at which layers exposed items can be told from their twins.

A probe is a linear classifier of one layer's activations at one position (the one that predicts
the answer). It is trained on some pairs and asked about others; an item and its twin are always
on the same side, so that nothing about a pair can be learnt. Penalties are chosen inside the
training pairs (nested cross-validation).

Two probes are run on the same folds. *Logistic* regression (L2, Newton's method) gives the areas
under the curve. *Ridge* regression on the labels has a closed form: the factorisation of a
fold's activations serves all relabellings at once, and so does leaving out each pair in turn to
choose the penalty. The null of the largest layer is therefore that of the ridge probe, refitted
for every relabelling (labels swapped within pairs), and the p-values are about its curve.

How to read it: an area of 1/2 is guessing, and the largest of several layers exceeds it by
chance; `corrected` takes that into account. Readable is not used: a probe shows where an
exposed item looks different, not that the model acts on it. Layer 0 is the embedding output;
given as the mean over the question's tokens it is the lexical baseline (what the words alone
give away). At a single position that all prompts share it is constant, and its area is 1/2.
Layer l + 1 is the residual after block l.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from scipy.stats import rankdata

from paradox.seeds import Key, keyed_uniform
from paradox.stats.bootstrap import Resampling, mean
from paradox.stats.layers import LayerTest, flips, max_test

Array = NDArray[np.float64]
# Penalties of the squared weights, relative to the mean loss over training items.
STRENGTHS = (10.0, 1.0, 0.1, 0.01, 0.001)
# Spread below this share of a feature's size is rounding.
CONSTANT = 1e-6
NEWTON_STEPS = 50


@dataclass(frozen=True)
class Probe:
    """What the probes of all layers found.

    Attributes
    ----------
    auc
        Area under the curve of the logistic probe per layer, mean over folds and repeats.
    won
        Shape (layers, pairs): how often the exposed item scored above its own twin (a tie is
        1/2), in the folds in which the pair was held out.
    ridge
        The ridge probe's areas against those of permuted labels, one-sided.
    pairs
        Names of the pairs.
    """

    auc: Array
    won: Array
    ridge: LayerTest
    pairs: list[str]


def probe(
    activations: ArrayLike,
    exposed: ArrayLike,
    pairs: Sequence[str],
    *key: Key,
    folds: int = 5,
    repeats: int = 3,
    permutations: int = 200,
) -> Probe:
    """Probe every layer for whether an item is exposed.

    Parameters
    ----------
    activations
        Shape (layers + 1, items, width); see the module's text for layer 0.
    exposed
        Which items are exposed.
    pairs
        The pair of each item; every pair has one exposed item and one twin.
    key
        Names the folds and the permutations.
    folds, repeats
        Folds per split, and splits.

    Raises
    ------
    ValueError
        When shapes do not fit, a pair is not one exposed item and one twin, a value is not
        finite, or there are fewer than 2 pairs per fold.
    """
    states, names = _by_pair(activations, exposed, pairs)
    count = len(names)
    if count < 2 * folds or folds < 3:
        raise ValueError(f"{count} pairs are too few for {folds} folds (2 each, 3 folds or more)")
    splits = [split(names, folds, *key, repeat) for repeat in range(repeats)]
    signs, _ = flips(count, permutations, "probe", *key)
    # The observed labels are the first column; max_test adds them to the null.
    signs = np.vstack([np.ones(count), signs]).T
    auc, ridge = np.zeros(len(states)), np.zeros((len(states), signs.shape[1]))
    won = np.zeros((len(states), count))
    for layer, x in enumerate(states):
        for held in (places == fold for places in splits for fold in range(folds)):
            train, test = x[~held].reshape(-1, x.shape[-1]), x[held].reshape(-1, x.shape[-1])
            score = _logistic(train, test, folds - 1)
            auc[layer] += areas(score[:, None], np.ones((held.sum(), 1)))[0]
            gap = np.sign(score[0::2] - score[1::2])
            won[layer, held] += (gap + 1) / 2
            ridge[layer] += areas(_ridge(train, test, signs[~held]), signs[held])
    ridge /= folds * repeats
    test = max_test(ridge[:, 0], ridge[:, 1:].T, two_sided=False)
    return Probe(auc / (folds * repeats), won / repeats, test, names)


def table(found: Probe, resampling: Resampling) -> pd.DataFrame:
    """Return one row per layer.

    ``auc`` (logistic); ``pair_auc``, the share of pairs whose exposed item scores higher, with
    its interval over pairs; ``ridge_auc`` with the middle 95 % of its null, ``p`` of the layer
    alone, and ``corrected`` for the largest of all layers.
    """
    rows = []
    for layer, won in enumerate(found.won):
        share = mean(won, resampling, "pairs")
        row = {"layer": _name(layer), "auc": found.auc[layer], "pair_auc": share.value}
        row |= {"pair_auc_low": share.low, "pair_auc_high": share.high}
        row |= {"ridge_auc": found.ridge.curve[layer], "null_low": found.ridge.low[layer]}
        row |= {"null_high": found.ridge.high[layer], "p": found.ridge.p[layer]}
        rows.append(row | {"corrected": found.ridge.corrected[layer], "pairs": share.items})
    return pd.DataFrame(rows)


def compare(before: Probe, after: Probe, resampling: Resampling) -> pd.DataFrame:
    """Return the change of ``pair_auc`` from one model to another, one row per layer.

    ``p`` and ``corrected`` swap the two models within pairs (two-sided).

    Raises
    ------
    ValueError
        When the two were not probed on the same pairs and layers.
    """
    if before.pairs != after.pairs or before.won.shape != after.won.shape:
        raise ValueError("the two models were probed on different pairs or layers")
    change = (after.won - before.won).T
    signs, exact = flips(len(change), resampling.resamples, "probes", resampling.seed)
    test = max_test(change.mean(axis=0), signs @ change / len(change), exact)
    rows = []
    for layer, moved in enumerate(change.T):
        found = mean(moved, resampling, "pairs")
        row = {"layer": _name(layer), "change": found.value, "low": found.low}
        row |= {"high": found.high, "p": test.p[layer], "corrected": test.corrected[layer]}
        rows.append(row)
    return pd.DataFrame(rows)


def split(names: Sequence[str], folds: int, *key: Key) -> NDArray[np.int64]:
    """Return the fold of each pair; it depends on `key` and on the set of names only."""
    order = sorted(range(len(names)), key=lambda n: keyed_uniform("folds", *key, names[n]))
    places = np.empty(len(names), dtype=np.int64)
    places[order] = np.arange(len(names)) % folds
    return places


def areas(scores: Array, signs: Array) -> Array:
    """Return the area under the curve per column; ties count one half.

    Parameters
    ----------
    scores
        Shape (2 x pairs, columns): exposed item and twin of each pair in turn.
    signs
        Shape (pairs, columns): -1 where the labels of a pair are swapped.
    """
    ranks = rankdata(scores, axis=0)
    pairs = len(signs)
    labelled = np.where(signs > 0, ranks[0::2], ranks[1::2]).sum(axis=0)
    return (labelled - pairs * (pairs + 1) / 2) / pairs**2


def _name(layer: int) -> str:
    return str(layer - 1) if layer else "emb"


def _by_pair(
    activations: ArrayLike, exposed: ArrayLike, pairs: Sequence[str]
) -> tuple[Array, list[str]]:
    """Return states of shape (layers + 1, pairs, 2, width), exposed first, and the pairs."""
    states, labels = np.asarray(activations, dtype=np.float64), np.asarray(exposed, dtype=bool)
    if states.ndim != 3 or not states.shape[1] == len(labels) == len(pairs):
        raise ValueError(
            f"expected (layers + 1, items, width), (items,) and (items,): {states.shape}, "
            f"{labels.shape}, {len(pairs)}"
        )
    if not np.isfinite(states).all():
        raise ValueError("an activation is not finite")
    rows: dict[str, list[list[int]]] = {}
    for row, (pair, label) in enumerate(zip(pairs, labels, strict=True)):
        rows.setdefault(pair, [[], []])[0 if label else 1].append(row)
    if any(len(side) != 1 for sides in rows.values() for side in sides):
        raise ValueError("every pair needs exactly one exposed item and one twin")
    places = np.array([[sides[0][0], sides[1][0]] for sides in rows.values()])
    return states[:, places], list(rows)


def _factors(train: Array, test: Array) -> tuple[Array, Array, Array]:
    """Return left vectors and singular values of the standardised `train`, and `test` turned.

    A penalty on squared weights does not change when features are turned, so both probes work
    in these coordinates: as many as there are training items at most, however wide the layer.
    """
    middle, spread = train.mean(axis=0), train.std(axis=0)
    moves = spread > CONSTANT * np.abs(train).max(axis=0)
    scale = np.where(moves, spread, np.inf)
    left, values, right = np.linalg.svd((train - middle) / scale, full_matrices=False)
    kept = values > 1e-9 * max(values[0], 1e-300)
    return left[:, kept], values[kept], ((test - middle) / scale) @ right[kept].T


def _ridge(train: Array, test: Array, signs: Array) -> Array:
    """Return test scores of shape (items, columns), the penalty chosen for each column.

    Labels are +-1 and every pair has both, so there is no intercept. Squared errors with each
    pair left out are exact for given features: (I - H_pp)^-1 times the pair's residuals.
    """
    left, values, turned = _factors(train, test)
    labels = np.stack([signs, -signs], axis=1).reshape(len(train), -1)
    inside = left.T @ labels
    by_pair = left.reshape(len(signs), 2, -1)
    errors, scores = [], []
    for strength in STRENGTHS:
        shrunk = values**2 / (values**2 + strength * len(train))
        residuals = labels - left @ (shrunk[:, None] * inside)
        own = np.eye(2) - np.einsum("pir,r,pjr->pij", by_pair, shrunk, by_pair)
        out = np.linalg.solve(own, residuals.reshape(len(signs), 2, -1))
        errors.append((out**2).sum(axis=(0, 1)))
        scores.append(turned @ ((shrunk / values)[:, None] * inside))
    best = np.argmin(errors, axis=0)
    return np.take_along_axis(np.array(scores), best[None, None, :], 0)[0]


def _logistic(train: Array, test: Array, folds: int) -> Array:
    """Return test scores of a logistic probe whose penalty is chosen on folds of `train`."""
    pairs = len(train) // 2
    losses = np.zeros(len(STRENGTHS))
    for fold in range(folds):
        held = np.repeat(np.arange(pairs) % folds == fold, 2)
        labels = np.where(np.arange(held.sum()) % 2 == 0, 1.0, -1.0)
        for place, score in enumerate(_path(train[~held], train[held])):
            losses[place] += np.logaddexp(0, -labels * score).sum()
    scores = list(_path(train, test, int(losses.argmin()) + 1))
    return scores[-1]


def _path(train: Array, test: Array, most: int | None = None) -> Iterator[Array]:
    """Yield test scores for each penalty, the strongest first; each fit starts at the last."""
    left, values, turned = _factors(train, test)
    features = left * values
    labels = np.where(np.arange(len(train)) % 2 == 0, 1.0, -1.0)
    weights = np.zeros(features.shape[1])
    for strength in STRENGTHS[:most]:
        weights = fit_logistic(features, labels, strength, weights)
        yield turned @ weights


def fit_logistic(features: Array, labels: Array, strength: float, start: Array) -> Array:
    """Minimise mean log loss + strength / 2 x squared weights by Newton's method.

    Parameters
    ----------
    features
        Shape (items, width); no intercept is added.
    labels
        -1 or 1.
    start
        Weights to start from.
    """

    def loss(weights: Array) -> float:
        margins = labels * (features @ weights)
        return float(np.logaddexp(0, -margins).mean() + strength / 2 * weights @ weights)

    weights, now = start, loss(start)
    for _ in range(NEWTON_STEPS):
        wrong = expit(-labels * (features @ weights))
        slope = strength * weights - features.T @ (labels * wrong) / len(labels)
        if not slope.size or np.abs(slope).max() < 1e-8:
            break
        bend = (features.T * (wrong * (1 - wrong))) @ features / len(labels)
        step = np.linalg.solve(bend + strength * np.eye(len(weights)), slope)
        size = 1.0
        # The loss is convex, so some part of the step always helps.
        while (new := loss(weights - size * step)) > now and size > 1e-6:
            size /= 2
        weights, now = weights - size * step, new
    return weights
