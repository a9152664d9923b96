"""The signatures of patching: training changed recall through the MLPs of middle blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.files import read_table
from paradox.mechanisms.tables.pairs import Groups
from paradox.mechanisms.tables.recovery import Curve, curve
from paradox.mechanisms.tables.signatures import MISSING, Given, Part, Rows, by_arm, row, span
from paradox.mechanisms.tables.verdict import ANCHOR, MIDDLE, NO_GAP, inside
from paradox.stats.crossed import UNKNOWN, Number, mean

MEASURES = ("gold_logp", "mode_logp")
DIRECTIONS = ("denoise", "noise")
NOT_MEASURED = "the prompt's states alone are not patched at this scale"


class Share(NamedTuple):
    """What share of the gap between base and trained arm an output's states carry, per block.

    Attributes
    ----------
    recovered
        Of exposed items: change beyond noise of the same size, over the gap.
    over_twins
        The same minus the twins' change, over the exposed items' gap.
    """

    recovered: Number
    over_twins: Number


def patching(given: Given) -> Rows:
    """Yield a row ``patching: MEASURE`` per arm and measure (2601.11061).

    What an MLP's states at all prompt positions carry back (``denoise``) and take away
    (``noise``), beyond noise of the same size, as a share of the gap of exposed items: larger in
    middle blocks than in others, and at middle blocks more than in twins. Four parts, of which
    each has to be above 0.
    """
    for name, key, shares, lack in _arms(given, ("mlp_out",)):
        parts = []
        for share in shares["mlp_out"]:
            chosen = inside(share.recovered.value.size, MIDDLE)
            middle, rest = _over(share.recovered, chosen), _over(share.recovered, ~chosen)
            parts.append(_part(middle - rest, span(chosen)))
            parts.append(_part(_over(share.over_twins, chosen), span(chosen)))
        yield row(name, key, parts or [Part(UNKNOWN, unable=lack)], given.share)


def patching_drop(given: Given) -> Rows:
    """Yield the rows of ``patching_drop`` (2601.11061): an abrupt drop right after the anchor.

    The share that the anchor's MLPs carry (blocks at the published depth), minus that of the next
    block, in exposed items, both directions.
    """
    for name, key, shares, lack in _arms(given, ("mlp_out",)):
        parts = []
        for share in shares["mlp_out"]:
            chosen = inside(share.recovered.value.size, ANCHOR)
            if not chosen.any():
                parts.append(MISSING)
                continue
            after = int(np.flatnonzero(chosen)[-1]) + 1
            drop = _over(share.recovered, chosen) - share.recovered[after]
            parts.append(_part(drop, f"{span(chosen)} / {after}"))
        yield row(name, key, parts or [Part(UNKNOWN, unable=lack)], given.share)


def patching_mlp(given: Given) -> Rows:
    """Yield the rows of ``patching_mlp`` (2601.11061): MLPs carry more than attention.

    Mean over middle blocks of the share that an MLP's states carry minus that of the attention's,
    in exposed items, both directions.
    """
    for name, key, shares, lack in _arms(given, ("mlp_out", "attn_out")):
        parts = []
        for mlp, attention in zip(shares["mlp_out"], shares["attn_out"], strict=True):
            chosen = inside(mlp.recovered.value.size, MIDDLE)
            apart = _over(mlp.recovered, chosen) - _over(attention.recovered, chosen)
            parts.append(_part(apart, span(chosen)))
        yield row(name, key, parts or [Part(UNKNOWN, unable=lack)], given.share)


def _arms(
    given: Given, kinds: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, ...], dict[str, list[Share]], str]]:
    """Yield name and key of each row with the shares of both directions, or why there are none."""
    wanted = {
        (kind, direction): [
            f"{kind}:prompt:{direction}:total:{source}" for source in ("states", "states_noise")
        ]
        for kind in kinds
        for direction in DIRECTIONS
    }
    needed = [name for names in wanted.values() for name in names]
    # Of tables with a row per item, cell and block only these fit into memory side by side.
    tables = (read_table(path) for path in given.paths)
    # A row of each arm stays in any case.
    chosen = [rows[rows["component"].isin(needed) | (rows.index == 0)] for rows in tables]
    for key, rows in by_arm(pd.concat(chosen, ignore_index=True)):
        components = dict(iter(rows.groupby("component", sort=False)))
        for measure in MEASURES:
            shares: dict[str, list[Share]] = {kind: [] for kind in kinds}
            lack = "" if set(needed) <= set(components) else NOT_MEASURED
            for (kind, _), names in wanted.items() if not lack else ():
                both = [curve(components[name], measure, name) for name in names]
                if share := _share(*both, given.test.groups):
                    shares[kind].append(share)
            # A gap is that of two models, so it is there for both directions or for none.
            if not all(len(of_kind) == len(DIRECTIONS) for of_kind in shares.values()):
                shares, lack = {kind: [] for kind in kinds}, lack or NO_GAP
            yield f"{given.name}: {measure}", key, shares, lack


def _share(states: Curve, noise: Curve, groups: Groups) -> Share | None:
    place = {name: number for number, name in enumerate(states.items)}
    names = ("pairs", "pairs") if groups.pairs else ("exposed", "twin")
    exposed, twin = ([place[name] for name in side] for side in (groups.exposed, groups.twin))
    if not mean(states.gap[exposed]).estimate().clear_of_zero:
        return None
    beyond = (states.change - noise.change).swapaxes(1, 2)
    layers = beyond.shape[2]
    gap = mean(np.repeat(states.gap[exposed][..., None], layers, axis=2), names[0])
    change, of_twins = mean(beyond[exposed], names[0]), mean(beyond[twin], names[1])
    return Share(change / gap, (change - of_twins) / gap)


def _over(number: Number, blocks: NDArray[np.bool_]) -> Number:
    """Return the mean over chosen blocks."""
    return number @ (blocks / blocks.sum())


def _part(number: Number, blocks: str) -> Part:
    return Part(number.estimate(), blocks)
