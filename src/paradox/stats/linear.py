"""Linear probes of paired items, relabelled as often as one likes.

A pair is always wholly in the training items or wholly held out, so that nothing about a pair can
be learnt; penalties are chosen inside the training pairs. *Logistic* regression (L2) gives areas
under the curve. *Ridge* regression on labels of +-1 has a closed form: the squared error with each
pair left out is a quadratic form of the relabelling (+1 or -1 per pair) and the scores are linear
in it, so one factorisation serves thousands of relabellings, and all tests are of the ridge probe.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from paradox.seeds import Key, keyed_rng, keyed_uniform
from paradox.stats.layers import LayerTest, flips, max_test

Array = NDArray[np.float64]
# Penalties of the squared weights, relative to the mean loss over training items.
STRENGTHS = (10.0, 1.0, 0.1, 0.01, 0.001)
# Spread below this share of a feature's size is rounding.
CONSTANT = 1e-6
NEWTON_STEPS = 50
ALPHA = 0.05
# Relabellings at a time: keeps tables of (items, relabellings) in a processor's cache.
CHUNK = 4096


@dataclass(frozen=True)
class Folds:
    """How a probe is cross-validated: folds per split, and splits, which `key` names."""

    folds: int
    repeats: int
    key: tuple[Key, ...] = ()


@dataclass(frozen=True)
class Probe:
    """What the probes of all layers found."""

    auc: Array  # area under the curve of the logistic probe per layer, mean over folds and repeats
    # Shape (layers, pairs): how often the ridge probe scored the exposed item above its own
    # twin (a tie is 1/2), in the folds in which the pair was held out
    won: Array
    ridge: LayerTest  # the ridge probe's areas against those of permuted labels, one-sided
    pairs: list[str]  # their names


def probe(states: ArrayLike, pairs: Sequence[str], design: Folds, permutations: int = 199) -> Probe:
    """Probe every layer for whether an item is exposed.

    `states` are activations of shape (layers, pairs, 2, width), the exposed item of each pair
    first; `permutations` relabellings are drawn for the null. A `ValueError` tells of shapes that
    do not fit, of a value that is not finite, and of fewer than 2 pairs per fold.
    """
    checked = _checked(states, pairs, design)
    auc = np.zeros(len(checked))
    for held in _held(pairs, design):
        for layer, x in enumerate(checked):
            score = _logistic(_rows(x[~held]), _rows(x[held]), design.folds - 1)
            auc[layer] += areas(score[:, None], np.ones((held.sum(), 1)))[0]
    test, won = _tested(checked, pairs, design, permutations)
    return Probe(auc / (design.folds * design.repeats), won, test, list(pairs))


def _tested(
    states: Array, pairs: Sequence[str], design: Folds, permutations: int
) -> tuple[LayerTest, Array]:
    signs, _ = flips(len(pairs), permutations, "probe", *design.key)
    # The observed labels are the first column; max_test adds them to the null.
    labels = np.vstack([np.ones(len(pairs)), signs]).T
    curves, won = ridge_curves(states, pairs, design, labels, 1)
    return max_test(curves[:, 0], curves[:, 1:].T, two_sided=False), won[..., 0]


def ridge_curves(
    states: Array, pairs: Sequence[str], design: Folds, signs: Array, judged: int = 0
) -> tuple[Array, Array]:
    """Return the ridge probe's areas and who won: (layers, relabellings), (layers, pairs, judged).

    Parameters
    ----------
    states
        Shape (layers, pairs, 2, width).
    signs
        Shape (pairs, relabellings): -1 where the labels of a pair are swapped.
    judged
        Of this many first relabellings, also return how often each held-out pair's labelled item
        scored higher.
    """
    curves = np.zeros((len(states), signs.shape[1]))
    won = np.zeros((len(states), len(pairs), judged))
    for held in _held(pairs, design):
        for layer, x in enumerate(states):
            ridge = Ridge(_rows(x[~held]), _rows(x[held]))
            for start in range(0, signs.shape[1], CHUNK):
                part = slice(start, start + CHUNK)
                scores = ridge.scores(signs[~held, part])
                curves[layer, part] += areas(scores, signs[held, part])
                if start < judged:
                    first = slice(0, min(CHUNK, judged - start))
                    gap = np.sign(scores[0::2, first] - scores[1::2, first])
                    gap *= signs[held, part][:, first]
                    won[layer, held, start : start + CHUNK] += (gap + 1) / 2
    return curves / (design.folds * design.repeats), won / design.repeats


def false_positives(
    states: ArrayLike,
    pairs: Sequence[str],
    design: Folds,
    *key: Key,
    permutations: int,
    runs: int,
) -> tuple[NDArray[np.bool_], Array, Array]:
    """Test relabelled data, each relabelling as if it were the data.

    Every run swaps the labels within a random half of the pairs and has `permutations` of its own
    to be compared with, so that runs are independent (ranks within one shared set of relabellings
    would reject the stated share by construction). `key` names the draws.

    Return whether each run rejects at the level `ALPHA`; the runs' relabellings, shape (pairs,
    runs); and who won in them, shape (layers, pairs, runs).
    """
    checked = _checked(states, pairs, design)
    rng = keyed_rng("probe rates", *key)
    outer = rng.integers(0, 2, (len(pairs), runs)) * 2.0 - 1
    inner = rng.integers(0, 2, (len(pairs), runs, permutations)) * 2.0 - 1
    # Half the digits are twice as fast, and ranks do not need more.
    labels = np.hstack([outer, (outer[:, :, None] * inner).reshape(len(pairs), -1)])
    labels = labels.astype(np.float32)
    curves, won = ridge_curves(checked, pairs, design, labels, runs)
    null = curves[:, runs:].reshape(len(checked), runs, permutations)
    tests = (max_test(curves[:, n], null[:, n].T, two_sided=False) for n in range(runs))
    return np.array([test.overall <= ALPHA for test in tests]), outer, won


def detections(
    states: ArrayLike, pairs: Sequence[str], design: Folds, permutations: int, size: int, runs: int
) -> int:
    """Return in how many of `runs` random choices of `size` pairs the ridge probe finds something.

    Pairs are drawn without replacement: a copy of a pair in another fold would give it away.
    """
    checked = _checked(states, pairs, design)
    rejections = 0
    for run in range(runs):
        rng = keyed_rng("probe power", *design.key, size, run)
        chosen = np.sort(rng.choice(len(pairs), size, replace=False))
        names = [pairs[row] for row in chosen]
        rejections += _tested(checked[:, chosen], names, design, permutations)[0].overall <= ALPHA
    return rejections


def split(names: Sequence[str], folds: int, *key: Key) -> NDArray[np.int64]:
    """Return the fold of each pair; it depends on `key` and on the set of names only."""
    order = sorted(range(len(names)), key=lambda n: keyed_uniform("folds", *key, names[n]))
    places = np.empty(len(names), dtype=np.int64)
    places[order] = np.arange(len(names)) % folds
    return places


def areas(scores: Array, signs: Array) -> Array:
    """Return the area under the curve per column; ties count one half.

    `scores` has shape (2 x pairs, columns), exposed item and twin of each pair in turn; `signs`
    (pairs, columns), -1 where the labels of a pair are swapped.
    """
    labelled = np.where(signs > 0, scores[0::2], scores[1::2])
    other = np.where(signs > 0, scores[1::2], scores[0::2])
    # Twice the share of (labelled, other) that are in order: > counts one, >= counts ties, too.
    wins = sum((labelled > row).sum(axis=0) + (labelled >= row).sum(axis=0) for row in other)
    return wins / (2 * len(signs) ** 2)


def _checked(states: ArrayLike, pairs: Sequence[str], design: Folds) -> Array:
    values, count = np.asarray(states, dtype=np.float64), len(pairs)
    if values.ndim != 4 or values.shape[1:3] != (count, 2):
        raise ValueError(f"expected (layers, {count} pairs, 2, width): {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("an activation is not finite")
    if count < 2 * design.folds or design.folds < 3:
        raise ValueError(
            f"{count} pairs are too few for {design.folds} folds (2 each, 3 folds or more)"
        )
    return values


def _held(pairs: Sequence[str], design: Folds) -> Iterator[NDArray[np.bool_]]:
    """Yield which pairs are held out, fold by fold."""
    for repeat in range(design.repeats):
        places = split(pairs, design.folds, *design.key, repeat)
        yield from (places == fold for fold in range(design.folds))


def _rows(states: Array) -> Array:
    return states.reshape(-1, states.shape[-1])


def _factors(train: Array, test: Array) -> tuple[Array, Array, Array]:
    """Return left vectors and singular values of the standardised `train`, and `test` turned.

    A penalty on squared weights does not change when features are turned, so both probes work
    in these coordinates: as many as there are training items at most, however wide the layer.
    """
    middle, spread = train.mean(axis=0), train.std(axis=0)
    moves = spread > CONSTANT * np.abs(train).max(axis=0)
    scale = np.where(moves, spread, np.inf)
    left, values, right = np.linalg.svd((train - middle) / scale, full_matrices=False)
    large = values > 1e-9 * max(values[0], 1e-300)
    return left[:, large], values[large], ((test - middle) / scale) @ right[large].T


class Ridge:
    """The ridge probe of one fold and layer, for any relabelling of the training pairs.

    Labels are +-1 and every pair has both, so there is no intercept. Squared errors with each pair
    left out are exact for given features: (I - H_pp)^-1 times the pair's residuals. `train` and
    `test` have shape (2 x pairs, width), exposed item and twin of each pair in turn.
    """

    def __init__(self, train: Array, test: Array) -> None:
        left, values, turned = _factors(train, test)
        pairs = len(train) // 2
        sides = left.reshape(pairs, 2, -1)
        # Relabellings enter as the difference of a pair's two rows.
        apart = sides[:, 0] - sides[:, 1]
        labels = np.kron(np.eye(pairs), [[1.0], [-1.0]])
        self._forms, self._maps = [], []
        for strength in STRENGTHS:
            shrunk = values**2 / (values**2 + strength * len(train))
            residuals = (labels - (left * shrunk) @ apart.T).reshape(pairs, 2, pairs)
            systems = np.eye(2) - (sides * shrunk) @ sides.transpose(0, 2, 1)
            out = np.linalg.solve(systems, residuals).reshape(len(train), pairs)
            self._forms.append(out.T @ out)
            self._maps.append((turned * (shrunk / values)) @ apart.T)

    def scores(self, signs: Array) -> Array:
        """Return test scores of shape (items, columns), the penalty chosen for each column.

        `signs` has shape (training pairs, columns): -1 where the labels of a pair are swapped.
        """
        forms = (form.astype(signs.dtype) for form in self._forms)
        errors = [((form @ signs) * signs).sum(axis=0) for form in forms]
        best = np.argmin(errors, axis=0)
        scores = np.empty((len(self._maps[0]), signs.shape[1]), dtype=signs.dtype)
        for place in np.unique(best):
            columns = best == place
            scores[:, columns] = self._maps[place].astype(signs.dtype) @ signs[:, columns]
        return scores


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
    """Minimise mean log loss + strength / 2 x squared weights by Newton's method from `start`.

    `features` have shape (items, width), and no intercept is added; labels are -1 or 1.
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
