"""Probes against direct solutions, planted and absent signals, and false-positive rates."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from paradox.stats import linear
from paradox.stats.linear import (
    Folds,
    Ridge,
    areas,
    detections,
    false_positives,
    fit_logistic,
    probe,
    split,
)


def _states(
    seed: int, layers: int = 4, pairs: int = 30, width: int = 12, signal: float = 0.0, at: int = 2
) -> tuple[np.ndarray, list[str]]:
    """Return states in which exposed items are shifted along one direction at one layer."""
    rng = np.random.default_rng(seed)
    exposed = np.arange(2 * pairs) % 2 == 0
    states = rng.normal(size=(layers, 2 * pairs, width))
    # Pairs share much, as items of one form do.
    states += np.repeat(rng.normal(size=(layers, pairs, width)), 2, axis=1)
    states[at, exposed] += signal * rng.normal(size=width) / np.sqrt(width)
    return states.reshape(layers, pairs, 2, width), [f"p{n}" for n in range(pairs)]


def _labels(pairs: int) -> np.ndarray:
    return np.where(np.arange(2 * pairs) % 2 == 0, 1.0, -1.0)


def _solve(x: np.ndarray, target: np.ndarray, penalty: float) -> np.ndarray:
    return np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ target)


def test_areas_are_shares_of_ordered_pairs() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 5, size=(12, 3)).astype(float)
    signs = np.where(rng.random((6, 3)) < 0.5, -1.0, 1.0)
    for column, found in enumerate(areas(scores, signs)):
        positive = np.repeat(signs[:, column], 2) * _labels(6) > 0
        above, below = scores[positive, column], scores[~positive, column]
        wins = np.sign(above[:, None] - below[None, :])
        assert found == pytest.approx((wins + 1).mean() / 2)


def test_logistic_is_the_minimum() -> None:
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(40, 5)), _labels(20)
    for strength in (1e-3, 0.1, 10.0):
        found = fit_logistic(features, labels, strength, np.zeros(5))

        def loss(w: np.ndarray, strength: float = strength) -> float:
            mean = np.logaddexp(0, -labels * (features @ w)).mean()
            return float(mean + strength / 2 * w @ w)

        reference = optimize.minimize(loss, np.zeros(5), tol=1e-12).x
        np.testing.assert_allclose(found, reference, atol=2e-4)
        assert loss(found) <= loss(reference) + 1e-10
        # From afar, whole Newton steps would overshoot.
        afar = fit_logistic(features, labels, strength, np.full(5, 40.0))
        np.testing.assert_allclose(afar, found, atol=1e-6)
    # Separable data: only the penalty keeps the weights finite.
    far = fit_logistic(labels[:, None] * 3.0, labels, 1e-3, np.zeros(1))
    assert np.isfinite(far).all() and far[0] > 1


def test_turned_coordinates_give_the_same_scores() -> None:
    rng = np.random.default_rng(2)
    for width in (5, 60):  # narrower and wider than there are items
        train, test = rng.normal(size=(20, width)), rng.normal(size=(6, width))
        signs = np.where(rng.random((10, 4)) < 0.5, -1.0, 1.0)
        labels = np.stack([signs, -signs], axis=1).reshape(20, 4)
        middle, spread = train.mean(axis=0), train.std(axis=0)
        x, y = (train - middle) / spread, (test - middle) / spread
        ridge = Ridge(train, test)
        found = ridge.scores(signs)
        rounded = ridge.scores(signs.astype(np.float32))
        assert rounded.dtype == np.float32
        np.testing.assert_allclose(rounded, found, atol=1e-4, rtol=1e-3)
        for column in range(4):
            errors, scores = [], []
            target = labels[:, column]
            for strength in linear.STRENGTHS:
                error = 0.0
                for pair in range(10):
                    out = np.arange(20) // 2 == pair
                    weights = _solve(x[~out], target[~out], 20 * strength)
                    error += ((target[out] - x[out] @ weights) ** 2).sum()
                errors.append(error)
                scores.append(y @ _solve(x, target, 20 * strength))
            np.testing.assert_allclose(found[:, column], scores[int(np.argmin(errors))], atol=1e-8)
        # The logistic path against the same fit in the features themselves.
        path = list(linear._path(train, test))
        direct = fit_logistic(x, _labels(10), linear.STRENGTHS[-1], np.zeros(width))
        np.testing.assert_allclose(path[-1], y @ direct, atol=1e-4)


def test_the_penalty_is_chosen_on_whole_pairs() -> None:
    chosen = set()
    for seed in range(6):
        rng = np.random.default_rng(seed)
        base = np.repeat(rng.normal(size=(12, 8)), 2, axis=0) * 2
        train = base + rng.normal(size=(24, 8)) + np.outer(_labels(12), np.arange(8) == 0) * seed
        test = rng.normal(size=(6, 8))
        losses = np.zeros(len(linear.STRENGTHS))
        for fold in range(3):
            held = np.isin(np.arange(24) // 2, np.arange(fold, 12, 3))
            for place, score in enumerate(linear._path(train[~held], train[held])):
                losses[place] += np.log1p(np.exp(-_labels(4) * score)).sum()
        best = int(losses.argmin())
        chosen.add(best)
        expected = list(linear._path(train, test))[best]
        np.testing.assert_allclose(linear._logistic(train, test, 3), expected)
    assert len(chosen) > 1


def test_a_planted_signal_is_found_at_its_layer() -> None:
    found = probe(*_states(3, signal=5.0), Folds(5, 2, ("a",)))
    assert found.ridge.peak == 2 == found.auc.argmax() and found.auc[2] > 0.8
    assert found.ridge.overall == pytest.approx(1 / 200)
    assert found.won[2].mean() > 0.8 and (np.delete(found.ridge.corrected, 2) > 0.05).all()
    assert found.won.shape == (4, 30)


def test_no_signal_is_found_as_rarely_as_stated() -> None:
    runs, alone, overall, areas_found = 80, 0, 0, []
    for run in range(runs):
        states = _states(1000 + run, layers=3, pairs=12, width=4)
        found = probe(*states, Folds(3, 1, (run,)), permutations=99)
        alone += found.ridge.p[1] <= 0.05
        overall += found.ridge.overall <= 0.05
        areas_found.append(found.auc)
    low, high = stats.binom.ppf([0.0005, 0.9995], runs, 0.05)
    assert low <= alone <= high and low <= overall <= high
    # The areas of held-out pairs centre on one half.
    drawn = np.array(areas_found)
    assert abs(drawn.mean() - 0.5) < 4 * drawn.mean(axis=1).std() / np.sqrt(runs)


def test_relabelled_data_are_tested_as_data_are() -> None:
    states, names = _states(8, layers=3, pairs=16, width=5, signal=6.0)
    how = Folds(4, 2, ("a",))
    found, outer, won = false_positives(states, names, how, "draws", permutations=49, runs=30)
    for run in range(4):  # swapping the sides is the same as swapping the labels
        turned = np.where(outer[:, run][None, :, None, None] > 0, states, states[:, :, ::-1])
        again = probe(turned, names, how, 49)
        np.testing.assert_allclose(won[..., run], again.won)
    # The signal is there, but not in the relabelled data.
    assert probe(states, names, how, 49).ridge.overall == 0.02 and found.mean() < 0.3


def test_rates_of_permuted_labels_are_as_stated() -> None:
    states, names = _states(9, layers=3, pairs=14, width=5, signal=6.0)
    how = {"permutations": 39, "runs": 400}
    hits = false_positives(states, names, Folds(3, 1, ("a",)), **how)[0].sum()
    low, high = stats.binom.ppf([0.0005, 0.9995], 400, 0.05)
    assert low <= hits <= high


def test_power_grows_with_pairs_and_signal() -> None:
    strong, names = _states(10, layers=2, pairs=40, signal=7.0, at=1)
    weak, _ = _states(10, layers=2, pairs=40, at=1)
    how = Folds(3, 1, ("a",)), 39
    few, many = (detections(strong, names, *how, size, 12) for size in (8, 30))
    assert few < many == 12 and detections(weak, names, *how, 30, 12) < 5


def test_pairs_stay_together() -> None:
    names = [f"p{n}" for n in range(23)]
    places = split(names, 5, "a")
    assert set(np.bincount(places)) <= {4, 5}
    turned = split(names[::-1], 5, "a")
    assert (turned[::-1] == places).all() and (split(names, 5, "b") != places).any()
    # A code for each pair, of opposite sign in its twin, is worthless on other pairs; were an
    # item's twin in the training set, it would give the label away.
    codes = np.stack([np.eye(23), -np.eye(23)], axis=1)
    noise = np.random.default_rng(0).normal(size=codes.shape) * 1e-3
    found = probe((codes + noise)[None], names, Folds(5, 1, ("a",)), 50)
    assert 0.2 < found.auc[0] < 0.8 and found.ridge.overall > 0.02


def test_a_shared_position_has_no_signal() -> None:
    states, names = _states(4)
    # Equal up to rounding, which must not be blown up to a signal.
    states[0] = states[0, 0, 0] * (1 + 1e-12 * np.array([1, 0])[:, None])
    found = probe(states, names, Folds(5, 1, ("a",)), 50)
    assert found.auc[0] == found.ridge.curve[0] == 0.5 and (found.won[0] == 0.5).all()
    assert found.ridge.corrected[0] == 1


def test_wrong_input_is_refused() -> None:
    states, names = _states(6)
    with pytest.raises(ValueError, match="expected"):
        probe(states[:, :, 0], names, Folds(5, 1))
    with pytest.raises(ValueError, match="too few"):
        probe(states, names, Folds(20, 1))
    states[1, 3, 0, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        probe(states, names, Folds(5, 1))
