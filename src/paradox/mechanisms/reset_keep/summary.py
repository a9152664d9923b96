"""Step ``reset_keep_tests``: whether changes of neighbouring blocks stand out.

*Progress* is what resetting or keeping a set of blocks does to recall, positive where it goes from
the target model towards the source model, by the sign of the mean gap of the same contrast; where
the gap's interval holds zero, ``defined`` is false and ``share``, progress over gap, is empty.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.files import read_table, write_table
from paradox.mechanisms.reset_keep.block_sets import (
    CONTRASTS,
    ONE_SIDED,
    TWO_SIDED,
    How,
    Sets,
    above_zero,
    best_of,
    detectable,
    nearest,
    read_sets,
    sides,
)
from paradox.mechanisms.tables.pairs import ARM, KEYS, Groups
from paradox.mechanisms.tables.recovery import KINDS, PARTS
from paradox.mechanisms.tables.verdict import verdict
from paradox.mechanisms.tables.words import KEEP, RESET, UPSTREAM, WEIGHTS, WEIGHTS_NOISE
from paradox.progress import Progress
from paradox.stats.bootstrap import Estimate, Resampling, equivalence, mean
from paradox.stats.layers import TIE
from paradox.stats.peaks import half
from paradox.stats.ratios import Drawn, drawn
from paradox.tasks.api import ITEM_COLUMNS

ANCHOR, ANCHOR_SETS = "anchor_over_adapters", "anchor_over_sets"
WINDOW = "window_over_sets"
FULL = {RESET: "0", KEEP: "1", UPSTREAM: "1"}
Array = NDArray[np.float64]


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write the tables of all arms; ``doses`` has progress at every dose."""
    resampling = Resampling(spec["bootstrap"]["seed"], spec["bootstrap"]["resamples"])
    groups = Groups(read_table(inputs["items"], ITEM_COLUMNS), spec["exposed_from"])
    numbers = (spec[name] for name in ("permutations", "margin_share", "norm_tolerance"))
    settings = How(groups, resampling, *numbers)
    columns = [f"{measure}_{kind}" for measure in spec["measures"] for kind in KINDS]
    columns = [*KEYS, "blocks", "norm", *columns]
    arms = pd.concat([read_table(Path(path), columns) for path in inputs["tables"]]).groupby(ARM)
    rows: dict[str, list[dict[str, Any]]] = {"windows": [], "doses": [], "verdicts": []}
    for done, (arm, table) in enumerate(arms, start=1):
        key = dict(zip(ARM, arm, strict=True))
        for name, row in arm_rows(table, spec["measures"], settings):
            rows[name].append({**key, **row})
        progress("arms", done, len(arms))
    for name, lines in rows.items():
        write_table(outputs[name], pd.DataFrame(lines))


def arm_rows(
    table: pd.DataFrame, measures: list[str], settings: How
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield table and row of everything that is said about one arm."""
    by_name = dict(iter(table.groupby("component", sort=False)))
    parts = pd.DataFrame([name.split(":") for name in by_name], columns=list(PARTS))
    cells = parts[parts["source"] == WEIGHTS]
    widths = sorted({int(name) for name in cells["positions"] if name.isdigit()})
    blocks = max(len(str(names).split()) for names in table["blocks"].unique())
    for measure in measures:
        for row in cells.itertuples(index=False):
            name = ":".join(row)
            if row.positions.startswith("sets"):
                continue
            sets = read_sets(by_name[name], measure, settings.groups)
            key = {"measure": measure, "part": row.kind, "direction": row.direction}
            key |= {"set": row.positions}
            for progress in _values(sets, settings):
                yield "doses", {**key, "dose": float(row.effect), **progress}
            if row.effect == FULL[row.direction] and row.positions.isdigit():
                stem = ":".join([row.kind, "{}", row.direction, row.effect, "{}"])
                noise = by_name.get(stem.format(row.positions, WEIGHTS_NOISE))
                other = by_name.get(stem.format(f"sets{row.positions}", WEIGHTS))
                pool = sets
                if other is not None:
                    pool = sets.joined(read_sets(other, measure, settings.groups))
                moved = None if noise is None else read_sets(noise, measure, settings.groups)
                for window in window_rows(sets, pool, moved, blocks, settings):
                    yield "windows", {**key, **window}
                for name, test in tests(sets, pool, row.direction, blocks, widths, settings):
                    yield "verdicts", {"claim": name, **key, **test}


def tests(
    sets: Sets, pool: Sets, direction: str, blocks: int, widths: list[int], settings: How
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and row of each signature of a component's windows.

    ``smallest`` is the smallest p that a claim could have: for the best of W windows, more than 19
    W random sets are needed. Without a clear gap the margin is empty, and "not reproduced" cannot
    be said.
    """
    if direction == UPSTREAM:
        return
    width = len(sets.blocks[0].split())
    places = sides(blocks, width) if width == nearest(blocks, widths) else None
    more, whole = len(pool.layers) > len(sets.layers), math.comb(blocks, width) == len(pool.layers)
    if places and (more or whole):
        named = sets.layers.index(places[0])
        yield ANCHOR_SETS, over_sets(sets, pool, settings, named, whole)
    if more:
        yield WINDOW, over_sets(sets, pool, settings)
    if places and direction == RESET:
        yield ANCHOR, anchor(sets, places, settings)


# --- windows ------------------------------------------------------------------------------


def _values(sets: Sets, settings: How) -> Iterator[dict[str, Any]]:
    """Yield progress with its interval, per window and contrast."""
    level = settings.resampling.level
    for contrast in CONTRASTS:
        gap = drawn(sets.gap[contrast][:, None], settings.resampling, "pairs")
        defined = gap.clear_of_zero(level)
        turned = sets.sign(contrast)
        progress = drawn(sets.progress(contrast), settings.resampling, "pairs")
        low, high = progress.interval(level)
        share = progress / Drawn(turned * gap.value, turned * gap.draws)
        share_low, share_high = share.interval(level) if defined else (None, None)
        ends = gap.interval(level)
        for place, layer in enumerate(sets.layers):
            row = {"contrast": contrast, "layer": layer, "blocks": sets.blocks[place]}
            row |= {"value": progress.value[place], "low": low[place], "high": high[place]}
            row |= {"gap": gap.value[0], "gap_low": ends[0][0], "gap_high": ends[1][0]}
            row |= {"defined": defined, "share": share.value[place] if defined else None}
            row |= {"share_low": share_low[place] if defined else None}
            row |= {"share_high": share_high[place] if defined else None}
            yield row | {"items": len(sets.names), "seeds": sets.gap[contrast].shape[1]}


def window_rows(
    sets: Sets, pool: Sets, moved: Sets | None, blocks: int, settings: How
) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``windows``: progress in nats, or as share of items right.

    - ``detectable``: the mean that a two-sided 5 % test finds in 80 % of studies, the seeds given;
    - ``p_sets``: the share of all ``sets`` of as many blocks, this one among them, that make at
      least its progress, and ``set_low``, ``set_high``, the middle 95 % of them; ``p_norm``: that
      without a line in the sets' summed change norms; ``p_matched``: the same among the ``matched``
      sets whose norms are within `norm_tolerance`; ``norm_r``: correlation over the sets;
    - ``excess``: progress beyond that of shuffled changes of the same size; ``p_noise``, one-sided;
    - ``p_equivalent`` (twins only): that progress lies within +-``margin``, by two one-sided tests;
      the margin is `margin_share` of the exposed items' gap.

    `pool` has the windows, then the other sets of as many blocks; `moved` the windows under
    shuffled changes, if there are any; `blocks` is the model's number.
    """
    size, count = len(sets.layers), len(pool.layers)
    whole = math.comb(blocks, len(sets.blocks[0].split())) == count
    margin = settings.margin_share * abs(float(sets.gap["exposed"].mean()))
    for row in _values(sets, settings):
        contrast, place = row["contrast"], sets.layers.index(row["layer"])
        progress = sets.progress(contrast)[:, place]
        means = pool.progress(contrast).mean(axis=(0, 2))
        # Where not all sets are known, a window is compared with random ones only.
        among = np.ones(count, dtype=bool) if whole else np.arange(count) >= size
        among[place] = True
        row["detectable"] = detectable(progress, TWO_SIDED)
        row |= _rank(means[among], pool.norms[among], means[place], pool.norms[place], settings)
        row |= {"norm": sets.norms[place], "per_norm": _over(row["value"], sets.norms[place])}
        if moved is not None:
            noise = sets.sign(contrast) * moved.change[contrast][:, place]
            beyond = mean(progress - noise, settings.resampling, "pairs")
            row |= {"excess": beyond.value, "excess_low": beyond.low, "excess_high": beyond.high}
            row["p_noise"] = above_zero(progress - noise, settings)
        if contrast == "twin" and margin > 0:
            test = equivalence(progress, np.zeros_like(progress[:1]), margin, settings.resampling)
            row |= {"margin": margin, "p_equivalent": test.p}
        yield row


def _rank(means: Array, norms: Array, value: float, norm: float, settings: How) -> dict[str, Any]:
    """Compare a set's progress with all sets', itself among them."""
    row = {"sets": len(means), "p_sets": float((means >= value - TIE).mean())}
    low, high = np.quantile(means, [0.025, 0.975])
    row |= {"set_low": float(low), "set_high": float(high)}
    near = np.abs(norms - norm) <= settings.norm_tolerance * norm
    row |= {"matched": int(near.sum()), "p_matched": float((means[near] >= value - TIE).mean())}
    if len(means) > 2 and np.ptp(norms) > 0:
        slope = np.polyfit(norms, means, 1)[0]
        left = means - slope * norms
        row["p_norm"] = float((left >= value - slope * norm - TIE).mean())
        row["norm_r"] = float(np.corrcoef(norms, means)[0, 1]) if np.ptp(means) > 0 else 0.0
    return row


def _over(value: float, norm: float) -> float | None:
    return value / norm if norm > 0 else None


# --- verdicts -----------------------------------------------------------------------------


def anchor(sets: Sets, places: tuple[int, int], settings: How) -> dict[str, Any]:
    """Return the row of ``anchor_over_adapters``; `places`: see `sides`.

    Putting the MLPs of the last blocks before depth 3/4 back to the base hurts recall more than
    putting back as many from there on (published: 18-20 of 28 against 21 and 22; here the width
    nearest to 3/28 of the blocks), in exposed items and more than in twins.
    """
    # Recall that is lost by resetting, not turned: the claim is that resetting hurts.
    first, second = (sets.layers.index(place) for place in places)
    more = {c: sets.change[c][:, second] - sets.change[c][:, first] for c in CONTRASTS}
    parts = [
        (mean(more[c], settings.resampling, "pairs"), above_zero(more[c], settings))
        for c in ("difference", "exposed")
    ]
    blocks_of = f"{sets.blocks[first]} / {sets.blocks[second]}"
    norms = sets.norms[[first, second]]
    lost = sets.change["exposed"].mean(axis=(0, 2))[[first, second]]
    row = _verdict(parts, sets, detectable(more["difference"], ONE_SIDED), settings)
    row |= {"blocks": blocks_of, "smallest": 1 / (1 + settings.permutations)}
    row["p_difference"] = parts[0][1]
    # Of the same sizes, but not of the same changes.
    rates = [_over(-value, norm) for value, norm in zip(lost, norms, strict=True)]
    return row | {"per_norm": rates[0] - rates[1] if None not in rates else None}


def over_sets(
    sets: Sets, pool: Sets, settings: How, named: int | None = None, whole: bool = False
) -> dict[str, Any]:
    """Return the row of ``window_over_sets``, or ``anchor_over_sets`` of a `named` window.

    A window makes more progress in exposed items than the mean of all sets of as many blocks; ``p``
    is the larger of the pairs' and ``p_sets``. Where none is named, half of the pairs choose it,
    the other half test it, and ``p_sets`` is the chance that the best of as many random sets does
    as well. `whole`: the pool has all sets there are, so that windows are among those to beat.
    """
    size, count = len(sets.layers), len(pool.layers)
    progress = pool.progress("exposed")
    rest = np.ones(len(sets.names), dtype=bool)
    if named is None:
        first = half(sets.names, settings.resampling.seed, "reset_keep")
        place = int(progress[first][:, :size].mean(axis=(0, 2)).argmax())
        among, drawn_sets, rest = np.ones(count, dtype=bool), size, ~first
    else:
        place, drawn_sets = named, 1
        among = np.ones(count, dtype=bool) if whole else np.arange(count) >= size
        among[place] = True
    window, others = progress[rest][:, place], progress[rest][:, among]
    beyond = window - others.mean(axis=1)
    part = mean(beyond, settings.resampling, "pairs"), above_zero(beyond, settings)
    chance = best_of(others.mean(axis=(0, 2)), drawn_sets, float(window.mean()))
    row = _verdict([part], sets, detectable(beyond, ONE_SIDED), settings)
    p = max(part[1], chance)
    row |= {"p": p, "p_sets": chance, "verdict": verdict(p, row["high"], row["margin"])}
    compared = int(among.sum())
    smallest = max(
        best_of(np.arange(compared), drawn_sets, compared - 1), 1 / (1 + settings.permutations)
    )
    return row | {"blocks": sets.blocks[place], "smallest": smallest, "sets": compared}


def _verdict(
    parts: list[tuple[Estimate, float]], sets: Sets, least: float, settings: How
) -> dict[str, Any]:
    """Return effect, interval, p and verdict of the smallest part."""
    estimate, p = min(parts, key=lambda part: part[0].value)[0], max(part[1] for part in parts)
    gap = mean(sets.gap["exposed"], settings.resampling, "pairs")
    margin = settings.margin_share * abs(gap.value) if gap.clear_of_zero else float("nan")
    row = {"effect": estimate.value, "low": estimate.low, "high": estimate.high, "p": p}
    row |= {"margin": margin, "gap": gap.value, "detectable": least}
    row |= {"items": estimate.items, "seeds": estimate.seeds}
    return row | {"verdict": verdict(p, estimate.high, margin)}
