"""Recall under many mixtures of base and trained weights, at the cost of what they do not share.

Variants run side by side, unit by unit in the order of the forward pass: those that agree up to a
unit have one state there, and a unit's weights are mixed once for all states that need them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paradox.mechanisms.model.access import Access
from paradox.mechanisms.model.recalls import Batch, Recall, batches
from paradox.mechanisms.model.traces import Trace, trace
from paradox.mechanisms.model.weights import ATTENTION, REST, Change, Mix, Unit
from paradox.progress import Progress

MEASURES = ("gold_logp", "mode_logp", "correct")
STATES_MB = 256  # all states of one go
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Variant:
    """The weights of a model: dose of `REST`, mix of each unit in the order of `Change.every`."""

    rest: float
    units: tuple[Mix, ...]


def variant(
    change: Change, everywhere: float, units: Iterable[Unit] = (), mix: Mix | None = None
) -> Variant:
    """Return the model that has one dose everywhere, and `mix` at the given units."""
    chosen = set(units)
    default = Mix(everywhere) if mix is None else mix
    return Variant(
        default.dose if REST in chosen else everywhere,
        tuple(default if unit in chosen else Mix(everywhere) for unit in change.every[:-1]),
    )


@torch.no_grad()
def outcomes(
    access: Access,
    change: Change,
    variants: Iterable[Variant],
    prompts: Sequence[Recall],
    scaffolds: Sequence[int],
    batch_size: int,
    progress: Progress | None = None,
) -> dict[Variant, Array]:
    """Return what each variant recalls, shape (`MEASURES`, items).

    ``gold_logp`` is the mean log-probability of the answer's tokens given the scaffold (nats),
    ``mode_logp`` that of the scaffold's tokens after the prompt (whether the model goes for
    recall), ``correct`` whether each answer token is the first choice: what greedy decoding after
    the scaffold gives. `access` is of the change's model; `scaffolds` says how many of each
    prompt's last tokens belong to the scaffold, `batch_size` is rows at a time.
    """
    wanted = sorted(set(variants), key=lambda one: (one.rest, one.units))
    scored = {one: np.zeros((len(MEASURES), len(prompts)), dtype=np.float32) for one in wanted}
    done = 0
    for batch in batches(prompts, batch_size, access.model.device):
        scaffold = torch.tensor([scaffolds[row] for row in batch.rows], device=batch.ids.device)
        for rest in dict.fromkeys(one.rest for one in wanted):
            of_rest = [one for one in wanted if one.rest == rest]
            with change.mixed({REST: rest}):
                run = _Run(access, change, batch, scaffold, batch_size)
                for some in _parts(of_rest, run.trace.residual[0]):
                    for one, values in run.measured(some):
                        scored[one][:, batch.rows] = values
        done += len(batch.rows)
        if progress:
            progress("items", done, len(prompts))
    return scored


def _parts(variants: list[Variant], state: Tensor) -> Iterator[list[Variant]]:
    """Yield variants in goes whose states fit into memory; neighbours share most."""
    most = max(8, int(STATES_MB * 1e6 / (state.numel() * state.element_size())))
    for start in range(0, len(variants), most):
        yield variants[start : start + most]


class _Run:
    """A batch under one dose of `REST`."""

    def __init__(
        self, access: Access, change: Change, batch: Batch, scaffold: Tensor, batch_size: int
    ) -> None:
        self.access, self.change, self.batch = access, change, batch
        self.trace: Trace = trace(access, batch.ids, batch.mask)
        self.scaffold = scaffold
        self.start = batch.at - int(scaffold.max())
        self.together = max(1, batch_size // len(batch.rows))

    def measured(self, variants: list[Variant]) -> Iterator[tuple[Variant, Array]]:
        """Yield each variant's measures (measures, items)."""
        groups = {one: 0 for one in variants}
        states = {0: self.trace.residual[0]}
        for place, unit in enumerate(self.change.every[:-1]):
            known: dict[tuple[int, Mix], int] = {}
            for one, group in groups.items():
                groups[one] = known.setdefault((group, one.units[place]), len(known))
            if place == 2 * self.change.blocks - 1:
                # After the last attention only what predicts a scored token counts.
                states = {group: state[:, self.start :] for group, state in states.items()}
            states = self._through(unit, states, known)
        scores = self._scored(states)
        for one, group in groups.items():
            yield one, scores[group]

    def _through(
        self, unit: Unit, states: Mapping[int, Tensor], known: Mapping[tuple[int, Mix], int]
    ) -> dict[int, Tensor]:
        """Return the states after a unit."""
        by_mix: dict[Mix, list[tuple[int, int]]] = {}
        for (group, mix), new in known.items():
            by_mix.setdefault(mix, []).append((group, new))
        after: dict[int, Tensor] = {}
        for mix, moves in by_mix.items():
            with self.change.mixed({unit: mix}):
                for start in range(0, len(moves), self.together):
                    some = moves[start : start + self.together]
                    joined = torch.cat([states[group] for group, _ in some])
                    moved = joined + self._added(unit, joined, len(some))
                    after |= dict(zip([n for _, n in some], moved.chunk(len(some)), strict=True))
        return after

    def _added(self, unit: Unit, residual: Tensor, times: int) -> Tensor:
        block = self.access.blocks[unit.block]
        if unit.part != ATTENTION:
            return block.feed_forward(residual)
        mask, rotary = self.trace.masks[unit.block], self.trace.rotary[unit.block]
        return block.attend(
            residual,
            attention_mask=_repeated(mask, times),
            position_embeddings=tuple(_repeated(part, times) for part in rotary),
        )

    def _scored(self, states: Mapping[int, Tensor]) -> dict[int, Array]:
        batch, split = self.batch, self.batch.at - self.start
        gold = torch.cat([batch.ids[:, self.start + 1 : batch.at + 1], batch.gold], 1)
        column = torch.arange(gold.shape[1], device=gold.device)
        written = (column < split) & (column >= split - self.scaffold[:, None])
        answer = torch.cat([torch.zeros_like(written[:, :split]), batch.real], 1)
        scored = {}
        for group, state in states.items():
            logits = self.access.logits(state).float()
            logp = logits.log_softmax(-1).gather(-1, gold[..., None])[..., 0]
            right = (logits.argmax(-1) == gold) | ~answer
            values = [_mean(logp, answer), _mean(logp, written), right.all(-1).to(logp)]
            scored[group] = torch.stack(values).cpu().numpy()
        return scored


def _mean(values: Tensor, where: Tensor) -> Tensor:
    return torch.where(where, values, 0).sum(-1) / where.sum(-1)


def _repeated(value: Tensor, times: int) -> Tensor:
    return value if len(value) == 1 else value.repeat(times, *[1] * (value.ndim - 1))
