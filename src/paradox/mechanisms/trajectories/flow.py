"""A neural differential equation of the residual stream, fitted to the states themselves.

The state of an item after block l is what its positions hold there, each scaled to root mean square
1, side by side, projected on the principal components of the training items (deviations from their
mean path). From the embedding (time 0) to the last block (time L) it follows dz/dt = f(z, t),

    f(z, t) = z A_l + g_l * tanh(z W + b_l) V,    l = floor(t).

No label is used: the fit minimises the squared error of the states after every block, relative to
their spread, *multi-step* (from the embedding on) plus *one block* (from the state before the
block). Fits 2n and 2n+1 share a split of the pairs: what one is trained on, the other holds out.
Every number is about held-out pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh
from torch import Tensor
from torchdiffeq import odeint

from paradox.seeds import keyed_rng, torch_seed
from paradox.stats.peaks import half

Array = NDArray[np.float64]
# Midpoint steps never ask for the field at the end of a block, where the next one begins.
SOLVER = {"method": "midpoint", "options": {"step_size": 0.5}}
RIDGE = 0.1  # of the linear start, relative to the mean variance of a coordinate
DECAY = 1e-3


class How(NamedTuple):
    """How flows are fitted: number of fits, coordinates, hidden units, epochs, learning rate."""

    fits: int
    latent: int
    hidden: int
    epochs: int
    learning_rate: float


class Fits(NamedTuple):
    """Flows and what they say about held-out pairs.

    Attributes
    ----------
    held
        Which pairs each fit holds out, shape (fits, pairs).
    order
        Number of the state at each time, shape (fits, times): 0, 1, .. or shuffled.
    multi_step, one_block, time_only
        R² of the states after each block, shape (fits, blocks): from the embedding on; from the
        state before the block, of what the block adds; and of a field of time alone.
    kept
        Share of the states' variance in the principal components.
    moved, moved_from_start, data
        Exposed minus twin of what a block adds, per fit of shape (held-out pairs, blocks,
        coordinates), over the root of the number of coordinates: by the field from the state before
        the block, by the field on its own path, and what the block really adds; of all what the
        principal components hold.
    """

    held: NDArray[np.bool_]
    order: NDArray[np.int64]
    multi_step: Array
    one_block: Array
    time_only: Array
    kept: Array
    moved: list[Array]
    moved_from_start: list[Array]
    data: list[Array]


class Field:
    """The fields of several fits; `seed` is that of the initial weights."""

    def __init__(self, fits: int, blocks: int, latent: int, hidden: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int, spread: float) -> Tensor:
            return spread * torch.randn(*shape, generator=generator)

        self.linear = torch.zeros(blocks, fits, latent, latent)
        self.inwards = normal(fits, latent, hidden, spread=latent**-0.5)
        self.bias = normal(blocks, fits, 1, hidden, spread=0.5)
        self.gain = torch.ones(blocks, fits, 1, hidden)
        self.outwards = normal(fits, hidden, latent, spread=0.1 * hidden**-0.5)
        self.blocks = blocks

    @property
    def parameters(self) -> list[Tensor]:
        """All weights."""
        return [self.linear, self.inwards, self.bias, self.gain, self.outwards]

    def __call__(self, time: Tensor, state: Tensor) -> Tensor:
        """Return dz/dt; the state has the shape (fits, items, latent)."""
        block = min(int(time), self.blocks - 1)
        hidden = torch.tanh(torch.baddbmm(self.bias[block], state, self.inwards))
        return state @ self.linear[block] + (hidden * self.gain[block]) @ self.outwards

    def through(self, block: int, state: Tensor) -> Tensor:
        """Return where the field takes a state in a block."""
        times = torch.tensor([block, block + 1], dtype=state.dtype)
        return odeint(self, state, times, **SOLVER)[1]

    def paths(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return states after each block: from the first state on, and from the one before.

        `states` are observed ones, shape (times, fits, items, latent).
        """
        items = states.shape[2]
        now, multi, single = states[0], [], []
        for block in range(self.blocks):
            both = self.through(block, torch.cat([now, states[block]], dim=1))
            now = both[:, :items]
            multi.append(now)
            single.append(both[:, items:])
        return torch.stack(multi), torch.stack(single)

    def start(self, states: Tensor) -> None:
        """Set the linear part to the ridge regression of what each block adds."""
        identity = torch.eye(states.shape[-1])
        for block in range(self.blocks):
            before = states[block]
            spread = before.transpose(1, 2) @ before
            size = spread.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]
            added = before.transpose(1, 2) @ (states[block + 1] - before)
            self.linear[block] = torch.linalg.solve(spread + RIDGE * size * identity, added)


def splits(
    names: Sequence[str], fits: int, *key: str | int, strata: Sequence[int] | None = None
) -> NDArray[np.bool_]:
    """Return which pairs each fit holds out, shape (fits, pairs): half of every stratum."""
    groups = np.zeros(len(names), dtype=int) if strata is None else np.asarray(strata)
    held = np.zeros((fits, len(names)), dtype=bool)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        members = [names[row] for row in rows]
        for fit in range(fits):
            one = half(members, "flow", *key, fit // 2)
            held[fit, rows] = one if fit % 2 else ~one
    return held


def orders(layers: int, fits: int, *key: str | int) -> NDArray[np.int64]:
    """Return shuffled orders of the states after the first, one per fit, none in true order."""
    numbers = []
    for fit in range(fits):
        rng = keyed_rng("layer order", *key, fit)
        order = np.arange(layers)
        while layers > 2 and (order == np.arange(layers)).all():
            order = np.concatenate([[0], 1 + rng.permutation(layers - 1)])
        numbers.append(order)
    return np.array(numbers)


def fit(
    states: Array,
    names: Sequence[str],
    settings: How,
    *key: str | int,
    shuffled: bool = False,
    first: int | None = None,
    strata: Sequence[int] | None = None,
) -> Fits:
    """Fit flows to states of shape (layers, pairs, 2, width).

    `names` of the pairs and `key` name the splits, which hold out half of each of the `strata`. If
    `shuffled`, each fit meets the states after the embedding in an order of its own. Motions are
    given in the `first` coordinates of the states.
    """
    layers = len(states)
    held = splits(names, settings.fits, *key, strata=strata)
    order = np.tile(np.arange(layers), (settings.fits, 1))
    if shuffled:
        order = orders(layers, settings.fits, *key)
    width = min(settings.latent, states.shape[-1])
    train, test, shares, bases = [], [], [], []
    for out, times in zip(held, order, strict=True):
        sides = [states[:, rows].reshape(layers, -1, states.shape[-1]) for rows in (~out, out)]
        middle = sides[0].mean(axis=1, keepdims=True)
        basis = components(sides[0] - middle, width)
        bases.append(basis[:first])
        projected = [(side - middle) @ basis for side in sides]
        spread = np.maximum(((sides[1] - middle) ** 2).sum((1, 2)), 1e-12)
        shares.append(((projected[1] ** 2).sum((1, 2)) / spread)[times[1:]])
        train.append(projected[0][times])
        test.append(projected[1][times])
    # One number per fit makes coordinates of size 1 and keeps their geometry.
    scales = np.array([of.std() or 1.0 for of in train])
    field = Field(settings.fits, layers - 1, width, settings.hidden, torch_seed("flow", *key))
    _train(field, _batched(train, scales), settings)
    observed = _batched(test, scales)
    with torch.no_grad():
        multi, single = field.paths(observed)
    after, before = observed[1:], observed[:-1]
    own_before = torch.cat([observed[:1], multi[:-1]])

    def moves(added: Tensor) -> list[Array]:
        motions = []
        for number, (scale, basis) in enumerate(zip(scales, bases, strict=True)):
            sides = added[:, number].double().numpy().reshape(layers - 1, -1, 2, width) * scale
            apart = (sides[:, :, 0] - sides[:, :, 1]).swapaxes(0, 1)
            motions.append(apart @ basis.T / np.sqrt(len(basis)))
        return motions

    return Fits(
        held=held,
        order=order,
        multi_step=_explained(multi - after, after),
        one_block=_explained(single - after, after - before),
        time_only=_explained(observed[:1] - after, after),
        kept=np.array(shares),
        moved=moves(single - before),
        moved_from_start=moves(multi - own_before),
        data=moves(after - before),
    )


def components(states: Array, width: int) -> Array:
    """Return the principal components of states of shape (layers, items, coordinates)."""
    flat = states.reshape(-1, states.shape[-1])
    last = flat.shape[1] - 1
    _, basis = eigh(flat.T @ flat, subset_by_index=[last - width + 1, last])
    return basis[:, ::-1]


def _train(field: Field, states: Tensor, settings: How) -> None:
    field.start(states)
    for weights in field.parameters:
        weights.requires_grad_(True)
    optimiser = torch.optim.Adam(field.parameters, lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.epochs
    )
    after = states[1:]
    spread = _squares(after).clamp_min(1e-12)
    for _ in range(settings.epochs):
        multi, single = field.paths(states)
        errors = (_squares(multi - after) + _squares(single - after)) / spread
        size = sum((of**2).sum() for of in (field.linear, field.inwards, field.outwards))
        optimiser.zero_grad()
        # Errors are means over blocks and sums over fits, which do not share weights.
        (errors.mean(dim=0).sum() + DECAY * size / field.blocks).backward()
        optimiser.step()
        schedule.step()


def _batched(states: list[Array], scales: Array) -> Tensor:
    scaled = [of / scale for of, scale in zip(states, scales, strict=True)]
    return torch.from_numpy(np.stack(scaled, axis=1)).float()


def _squares(values: Tensor) -> Tensor:
    return (values**2).sum(dim=(2, 3))


def _explained(errors: Tensor, values: Tensor) -> Array:
    """Return R² per fit and block."""
    share = 1 - _squares(errors) / _squares(values).clamp_min(1e-12)
    return share.T.double().numpy()
