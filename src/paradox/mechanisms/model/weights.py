"""What training changed in the weights: written in doses into a model, and measured.

A `Change` puts into an ordinary model, for chosen units, ``base + dose * (after - base)``; dose 0
is the base's weight and dose 1 the trained one, bit by bit. Weights are swapped, not copied.

>>> change = Change(base, after)                    # doctest: +SKIP
>>> with change.reset(change.units(MLP, [3])):      # trained, but block 3's MLP is the base's
...     base(**inputs)                              # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedModel

from paradox.errors import CheckpointError, problems
from paradox.mechanisms.model.architecture import find_blocks
from paradox.seeds import Key, keyed_rng

Keys = tuple[Key, ...]
MLP, ATTENTION, BOTH = "mlp", "attention", "both"
PARTS = {MLP: (MLP,), ATTENTION: (ATTENTION,), BOTH: (ATTENTION, MLP)}


class Unit(NamedTuple):
    """What is changed as one: a part (``mlp``, ``attention``) of a block, or `REST`."""

    part: str
    block: int


REST = Unit("rest", -1)


class Mix(NamedTuple):
    """Weights of a unit: ``base + dose * change + push * (the change, its entries shuffled)``.

    `shuffled` names the order: a change of the trained one's size, and none of its structure.
    """

    dose: float
    push: float = 0.0
    shuffled: Keys = ()


class Change:
    """The weights of a base, `model`, which is changed and run, and of the trained model `after`.

    `blocks`: the number of the model's blocks.
    `every`: all units: attention and MLP of each block, and `REST`.

    Raises `CheckpointError` when the two have not the same parameters.
    """

    def __init__(self, model: PreTrainedModel, after: PreTrainedModel) -> None:
        self.model = model
        self._live = dict(model.named_parameters())
        self._base = {name: live.data for name, live in self._live.items()}
        self._after = {name: live.data for name, live in after.named_parameters()}
        _require_same(self._base, self._after)
        parts = find_blocks(model)[0]
        owners = {
            id(parameter): Unit(part, number)
            for number, block in enumerate(parts)
            for part, module in ((ATTENTION, block.attention), (MLP, block.mlp))
            for parameter in module.parameters()
        }
        self.blocks = len(parts)
        self.every = [*self.units(BOTH, range(self.blocks)), REST]
        self._names: dict[Unit, list[str]] = {unit: [] for unit in self.every}
        for name, parameter in self._live.items():
            self._names[owners.get(id(parameter), REST)].append(name)

    def units(self, part: str, blocks: Iterable[int]) -> list[Unit]:
        """Return the units of ``mlp``, ``attention`` or ``both`` in these blocks."""
        return [Unit(one, block) for block in blocks for one in PARTS[part]]

    @contextmanager
    def mixed(self, mixes: Mapping[Unit, float | Mix]) -> Iterator[None]:
        """Give units their doses or mixes; all others stay as they are."""
        with self._put(
            (name, self._weight(name, mix if isinstance(mix, Mix) else Mix(mix)))
            for unit, mix in mixes.items()
            for name in self._names[unit]
        ):
            yield

    @contextmanager
    def reset(
        self, units: Iterable[Unit], dose: float = 0.0, shuffled: Keys | None = None
    ) -> Iterator[None]:
        """Give all units the trained weights and these the dose; none given: the trained model.

        With `shuffled`, these units are moved from the trained weights as far as `dose` would
        move them, by the shuffled change.
        """
        mix = Mix(dose) if shuffled is None else Mix(1.0, dose - 1, shuffled)
        with self.mixed(dict.fromkeys(self.every, 1.0)), self.mixed(dict.fromkeys(units, mix)):
            yield

    @contextmanager
    def keep(
        self, units: Iterable[Unit], dose: float = 1.0, shuffled: Keys | None = None
    ) -> Iterator[None]:
        """Give all units the base's weights and these the dose; none given: the base.

        With `shuffled`, the shuffled change takes the place of the trained one.
        """
        mix = Mix(dose) if shuffled is None else Mix(0.0, dose, shuffled)
        with self.mixed(dict.fromkeys(self.every, 0.0)), self.mixed(dict.fromkeys(units, mix)):
            yield

    def names(self, unit: Unit) -> list[str]:
        """Return the names of a unit's parameters."""
        return list(self._names[unit])

    def delta(self, name: str, shuffled: Keys | None = None) -> Tensor:
        """Return ``after - base`` of a parameter, its entries in random order if asked for."""
        delta = self._after[name] - self._base[name]
        if shuffled is None:
            return delta
        order = keyed_rng("shuffled change", *shuffled, name).permutation(delta.numel())
        return delta.flatten()[torch.from_numpy(order).to(delta.device)].view_as(delta)

    def norm(self, unit: Unit) -> float:
        """Return the Frobenius norm of what training changed in a unit."""
        squares = (self.delta(name).double().square().sum() for name in self._names[unit])
        return float(sum(squares, torch.zeros((), dtype=torch.float64))) ** 0.5

    def profile(self, key: Keys) -> pd.DataFrame:
        """Return how much and how training changed each parameter.

        Columns: ``block`` (-1: outside of attentions and MLPs), ``part``, ``parameter``,
        ``base_norm``, ``change_norm`` (Frobenius), ``relative`` (their ratio), and of matrices
        ``full_rank`` (the smaller side), ``effective_rank`` of the change and ``shuffled_rank``,
        that of its shuffled entries (named by `key`): what numbers of this size without any
        structure have.
        """
        rows = []
        for unit in self.every:
            for name in self._names[unit]:
                base, delta = self._base[name], self.delta(name)
                size, moved = float(base.double().norm()), float(delta.double().norm())
                row = {"block": unit.block, "part": unit.part, "parameter": name}
                row |= {"base_norm": size, "change_norm": moved}
                row["relative"] = moved / size if size else np.nan
                if delta.ndim == 2:
                    row["full_rank"] = min(delta.shape)
                    row["effective_rank"] = effective_rank(delta)
                    row["shuffled_rank"] = effective_rank(self.delta(name, key))
                rows.append(row)
        return pd.DataFrame(rows)

    def _weight(self, name: str, mix: Mix) -> Tensor:
        if mix.dose == 0:
            weight = self._base[name]
        elif mix.dose == 1:
            weight = self._after[name]
        else:
            weight = self._base[name] + mix.dose * self.delta(name)
        return weight + mix.push * self.delta(name, mix.shuffled) if mix.push else weight

    @contextmanager
    def _put(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[None]:
        """Swap parameters' tensors, and swap them back."""
        held: dict[str, Tensor] = {}
        try:
            for name, data in weights:
                held[name] = self._live[name].data
                self._live[name].data = data
            yield
        finally:
            for name, data in held.items():
                self._live[name].data = data


def effective_rank(matrix: Tensor) -> float:
    """Return exp of the entropy of the singular values' shares (1: one direction; 0: no change).

    >>> round(effective_rank(torch.eye(4)), 6), effective_rank(torch.zeros(2, 3))
    (4.0, 0.0)
    """
    wide = matrix.double() if matrix.shape[0] <= matrix.shape[1] else matrix.double().T
    # Of the small square matrix: tables of embeddings have sides of 50,000.
    values = torch.linalg.eigvalsh(wide @ wide.T).clamp(min=0).sqrt()
    if not float(values.sum()):
        return 0.0
    shares = values / values.sum()
    return float(torch.exp(torch.special.entr(shares).sum()))


def _require_same(base: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
    bad = [f"{name}: only in the base" for name in sorted(base.keys() - after.keys())]
    bad += [f"{name}: only in the trained model" for name in sorted(after.keys() - base.keys())]
    bad += [
        f"{name}: {tuple(base[name].shape)} in the base, {tuple(after[name].shape)} after training"
        for name in base
        if name in after and base[name].shape != after[name].shape
    ]
    if bad:
        raise CheckpointError(problems("base and trained model have not the same parameters", bad))
