"""The neural differential equation, on flows that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from paradox.mechanisms.trajectories import flow
from paradox.mechanisms.trajectories.flow import Field, How, fit, orders, splits
from paradox.stats.separation import Part, kernel, separation_test, squared

PAIRS, WIDTH, BLOCKS = 60, 6, 5
NAMES = [f"p{n}" for n in range(PAIRS)]
HOW = How(fits=4, latent=6, hidden=8, epochs=40, learning_rate=0.01)


def _turn(rng: np.random.Generator) -> np.ndarray:
    free = rng.normal(size=(WIDTH, WIDTH)) * 0.3
    return free - free.T


def _linear(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return states of a linear flow that turns, and its matrix."""
    rng = np.random.default_rng(seed)
    turn = _turn(rng)
    states = [rng.normal(size=(PAIRS, 2, WIDTH))]
    for _ in range(BLOCKS):
        states.append(states[-1] @ expm(turn))
    return np.stack(states), turn


def test_a_linear_flow_is_recovered() -> None:
    states, turn = _linear()
    longer = HOW._replace(epochs=120, learning_rate=0.02)
    found = fit(states, NAMES, longer, "linear")
    assert found.multi_step.min() > 0.98 and found.one_block.min() > 0.98
    assert found.time_only[:, -1].max() < 0.5
    # The field itself, in the coordinates of the first fit.
    items = states.reshape(BLOCKS + 1, -1, WIDTH)
    field = Field(1, BLOCKS, WIDTH, 8, 0)
    flow._train(field, torch.from_numpy(items[:, None] / items.std()).float(), longer)
    at = torch.randn(1, 50, WIDTH, generator=torch.Generator().manual_seed(1))
    for time in (0.25, 2.5, 4.75):
        true = at @ torch.from_numpy(turn).float()
        with torch.no_grad():
            error = field(torch.tensor(time), at) - true
        assert float(error.norm() / true.norm()) < 0.1


def _planted(block: int, gain: float = 1.5) -> np.ndarray:
    """Return states in which one block moves items along by a feature that exposed items have.

    The feature stands in the embedding already, so that a flow can know of it.
    """
    rng = np.random.default_rng(block)
    first = rng.normal(size=(PAIRS, 2, WIDTH))
    first[:, 0, 0] += 1.0
    states = [first]
    for number in range(BLOCKS):
        added = 0.05 * rng.normal(size=first.shape)
        if number == block:
            added[..., 1] += gain * states[-1][..., 0]
        states.append(states[-1] + added)
    return np.stack(states)


@pytest.mark.parametrize("block", [1, 3])
def test_a_planted_separation_peaks_where_it_is(block: int) -> None:
    found = fit(_planted(block), NAMES, HOW, "planted")
    for moved in (found.moved, found.moved_from_start, found.data):
        of = kernel([Part(_in_place(d, out), out) for d, out in _pairs(moved, found)], EVERY)
        test = separation_test(of, 199, "planted")
        assert test.peak == block and test.corrected[block] <= 0.01
        # 1.5 x the difference of 1 that is planted in the feature
        assert abs(np.sqrt(WIDTH * squared(of)[block]) - 1.5) < 0.5


def test_it_follows_the_layers_when_they_are_shuffled() -> None:
    found = fit(_planted(2), NAMES, HOW, "shuffled", shuffled=True)
    for number, (moved, data) in enumerate(zip(found.moved, found.data, strict=True)):
        every = np.ones(len(moved), dtype=bool)
        own, truth = (squared(kernel([Part(of, every)], every)) for of in (moved, data))
        # A jump over the planted block shows at each slot where the order crosses it.
        crossed = (found.order[number][:-1] > 2) != (found.order[number][1:] > 2)
        assert crossed[own.argmax()] and crossed[truth.argmax()]


EVERY = np.ones(PAIRS, dtype=bool)


def _pairs(moved, found):
    return zip(moved, found.held, strict=True)


def _in_place(moved: np.ndarray, held: np.ndarray) -> np.ndarray:
    whole = np.zeros((PAIRS, *moved.shape[1:]))
    whole[held] = moved
    return whole


def test_splits_are_halves_and_their_complements() -> None:
    held = splits(NAMES, 6, "a")
    assert (held.sum(axis=1) == PAIRS // 2).all()
    assert (held[0::2] != held[1::2]).all() and (held.sum(axis=0) == 3).all()
    assert not (held[0] == held[2]).all()
    few = [1] * 8 + [0] * (PAIRS - 8)
    assert (splits(NAMES, 6, "a", strata=few)[:, :8].sum(axis=1) == 4).all()
    shuffled = orders(6, 20, "a")
    assert (np.sort(shuffled, axis=1) == np.arange(6)).all() and (shuffled[:, 0] == 0).all()
    assert not (shuffled == np.arange(6)).all(axis=1).any()


def test_equal_keys_give_equal_fits_and_steps_are_small_enough(monkeypatch) -> None:
    states = _planted(3)
    once, again = (fit(states, NAMES, HOW, "same") for _ in range(2))
    assert (once.moved[0] == again.moved[0]).all()
    # A fit must not hang on its solver: with steps of a quarter the answer stays.
    finer = {"method": "midpoint", "options": {"step_size": 0.125}}
    monkeypatch.setattr(flow, "SOLVER", finer)
    other = fit(states, NAMES, HOW, "same")
    assert np.abs(once.multi_step - other.multi_step).max() < 0.02
