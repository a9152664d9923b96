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
    How,
    Sets,
    best_of,
    over_pairs,
    read_sets,
    sides,
)
from paradox.mechanisms.tables.pairs import ARM, KEYS, Groups
from paradox.mechanisms.tables.recovery import KINDS, PARTS
from paradox.mechanisms.tables.verdict import ALPHA, NOT_THERE, TOO_FEW, judged, worst
from paradox.mechanisms.tables.words import KEEP, RESET, UPSTREAM, WEIGHTS, WEIGHTS_NOISE
from paradox.progress import Progress
from paradox.stats.crossed import UNKNOWN, Estimate, Number, mean
from paradox.stats.layers import TIE
from paradox.stats.peaks import half
from paradox.tasks.api import ITEM_COLUMNS

# Claims, called as their signatures.
HURTS, ALONE, ANCHOR_SETS, WINDOW = "reset", "alone", "anchor_over_sets", "window_over_sets"
NO_BLOCK = "no block at the published depth"
NONE_KEPT = "keeping all recovers nothing either"
FULL = {RESET: "0", KEEP: "1", UPSTREAM: "1"}
# Standard errors in an effect that a two-sided 5 % test finds with 80 %.
FOUND = 1.959964 + 0.841621
Array = NDArray[np.float64]


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write the tables of all arms; ``doses`` has progress at every dose."""
    groups = Groups(read_table(inputs["items"], ITEM_COLUMNS), spec["exposed_from"])
    numbers = (spec[name] for name in ("margin_share", "norm_tolerance"))
    settings = How(groups, spec["bootstrap"]["seed"], *numbers)
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
    blocks = max(len(str(names).split()) for names in table["blocks"].unique())
    for measure in measures:
        known: dict[tuple[str, str, str], tuple[Sets, Sets]] = {}
        for row in cells.itertuples(index=False):
            name = ":".join(row)
            if row.positions.startswith("sets"):
                continue
            sets = read_sets(by_name[name], measure, settings.groups)
            key = {"measure": measure, "part": row.kind, "direction": row.direction}
            key |= {"set": row.positions}
            for progress in _values(sets, settings):
                yield "doses", {**key, "dose": float(row.effect), **progress}
            if row.effect != FULL[row.direction]:
                continue
            pool = sets
            if row.positions.isdigit():
                stem = ":".join([row.kind, "{}", row.direction, row.effect, "{}"])
                noise = by_name.get(stem.format(row.positions, WEIGHTS_NOISE))
                other = by_name.get(stem.format(f"sets{row.positions}", WEIGHTS))
                if other is not None:
                    pool = sets.joined(read_sets(other, measure, settings.groups))
                moved = None if noise is None else read_sets(noise, measure, settings.groups)
                for window in window_rows(sets, pool, moved, blocks, settings):
                    yield "windows", {**key, **window}
            known[row.kind, row.direction, row.positions] = sets, pool
        for part in dict.fromkeys(kind for kind, _, positions in known if positions.isdigit()):
            of_part = {key[1:]: sets for key, sets in known.items() if key[0] == part}
            for claim in claims(of_part, blocks, settings):
                yield "verdicts", {"measure": measure, "part": part, **claim}


def claims(
    known: dict[tuple[str, str], tuple[Sets, Sets]], blocks: int, settings: How
) -> Iterator[dict[str, Any]]:
    """Yield the row of each claim about a part of the blocks.

    `known`: by direction and kind of set (a width, or ``all``), these sets, and with them all other
    sets of as many blocks. ``smallest`` is the smallest p that a claim about sets could have: for
    the best of W windows, more than 19 W sets are needed.
    """
    widths = sorted({int(kind) for _, kind in known if kind.isdigit()})
    places = sides(blocks, widths)
    named = f"{len(places[0])}" if places else ""
    for direction in (RESET, KEEP):
        for width in widths:
            key = {"direction": direction, "set": f"{width}"}
            sets, pool = known[direction, f"{width}"]
            more = len(pool.layers) > len(sets.layers)
            whole = math.comb(blocks, width) == len(pool.layers)
            if places and f"{width}" == named and (more or whole):
                row = over_sets(sets, pool, settings, sets.named(places[0]), whole)
                yield {"claim": ANCHOR_SETS, **key, **row}
            if more:
                yield {"claim": WINDOW, **key, **over_sets(sets, pool, settings)}
    for claim, direction in ((HURTS, RESET), (ALONE, KEEP)):
        row = {"blocks": "", **judged(UNKNOWN, math.nan, unable=NO_BLOCK)}
        if places:
            sets, whole_set = known[direction, named][0], known[KEEP, "all"][0]
            row = (
                hurts(sets, places, settings)
                if claim == HURTS
                else alone(sets, whole_set, places, settings)
            )
        yield {"claim": claim, "direction": direction, "set": named, **row}


# --- windows ------------------------------------------------------------------------------


def _values(sets: Sets, settings: How) -> Iterator[dict[str, Any]]:
    """Yield progress with its interval, per window and contrast."""
    for contrast in CONTRASTS:
        distance = sets.distance(contrast)
        gap, number = distance.estimate(), over_pairs(sets.progress(contrast))
        values = number.estimates()
        # The same gap below every set's progress.
        below = {name: part[..., None] for name, part in distance.parts.items()}
        share = number / (Number(distance.value, below) * sets.sign(contrast))
        shares = share.estimates() if gap.clear_of_zero else [UNKNOWN] * len(values)
        for place, layer in enumerate(sets.layers):
            row = {"contrast": contrast, "layer": layer, "blocks": sets.blocks[place]}
            for name, one in (("value", values[place]), ("gap", gap), ("share", shares[place])):
                stem = "" if name == "value" else f"{name}_"
                row |= {name: one.value, f"{stem}low": one.low, f"{stem}high": one.high}
            error = values[place].se
            row |= {"defined": gap.clear_of_zero, "detectable": FOUND * error if error else None}
            yield row | {"items": gap.items, "replicates": gap.replicates}


def window_rows(
    sets: Sets, pool: Sets, moved: Sets | None, blocks: int, settings: How
) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``windows``: progress in nats, or as share of items right.

    - ``detectable``: the mean that a two-sided 5 % test finds in 80 % of studies; empty where
      nothing varies;
    - ``p_sets``: the share of all ``sets`` of as many blocks, this one among them, that make at
      least its progress, and ``set_low``, ``set_high``, the middle 95 % of them; ``p_norm``: that
      without a line in the sets' summed change norms; ``p_matched``: the same among the ``matched``
      sets whose norms are within `norm_tolerance`; ``norm_r``: correlation over the sets;
    - ``excess``: progress beyond that of shuffled changes of the same size, ``p_noise``: that it is
      above 0;
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
        row |= _rank(means[among], pool.norms[among], means[place], pool.norms[place], settings)
        row |= {"norm": sets.norms[place], "per_norm": _over(row["value"], sets.norms[place])}
        if moved is not None:
            noise = sets.sign(contrast) * moved.change[contrast][:, place]
            beyond = mean(progress - noise, "pairs").estimate()
            row |= {"excess": beyond.value, "excess_low": beyond.low, "excess_high": beyond.high}
            row["p_noise"] = beyond.p
        if contrast == "twin" and margin > 0:
            row |= {"margin": margin, "p_equivalent": mean(progress, "pairs").equivalence(margin).p}
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


def hurts(
    sets: Sets, places: tuple[tuple[int, ...], tuple[int, ...]], settings: How
) -> dict[str, Any]:
    """Return the row of ``reset``; `places`: see `sides`.

    Putting the MLPs at the published anchor back to the base hurts recall more than putting back
    as many after it, in exposed items and more than in twins. Where training did not raise recall
    there is nothing to undo.
    """
    first, second = (sets.named(blocks) for blocks in places)
    margin, gap = _margin(sets, settings)
    # A reset goes to the base: where training raised recall, the gap is below 0.
    unable = NOT_THERE if gap.low > 0 else ""
    blocks = f"{sets.blocks[first]} / {sets.blocks[second]}"
    rows = []
    for contrast in ("difference", "exposed"):
        more = sets.change[contrast][:, second] - sets.change[contrast][:, first]
        rows.append(judged(mean(more, "pairs").estimate(), margin, unable=unable))
    # Of the same sizes, but not of the same changes.
    lost = sets.change["exposed"].mean(axis=(0, 2))
    rates = [_over(-lost[place], sets.norms[place]) for place in (first, second)]
    per_norm = rates[0] - rates[1] if None not in rates else None
    return {"blocks": blocks, "gap": gap.value, **worst(rows), "per_norm": per_norm}


def alone(
    sets: Sets, whole: Sets, places: tuple[tuple[int, ...], tuple[int, ...]], settings: How
) -> dict[str, Any]:
    """Return the row of ``alone``; `whole` keeps the change of all MLPs, `places`: see `sides`.

    Keeping the change of all MLPs recovers more recall of exposed items than keeping the anchor's,
    *and* more than keeping as many after it. Nothing can fall short of what recovers nothing.
    """
    margin, gap = _margin(sets, settings)
    unable = NOT_THERE if gap.high < 0 else ""
    every = whole.change["exposed"][:, 0]
    unable = unable or ("" if mean(every, "pairs").estimate().low > 0 else NONE_KEPT)
    rows = []
    for blocks in places:
        place = sets.named(blocks)
        short = mean(every - sets.change["exposed"][:, place], "pairs").estimate()
        rows.append({"blocks": sets.blocks[place], **judged(short, margin, unable=unable)})
    return {"gap": gap.value, **worst(rows)}


def over_sets(
    sets: Sets, pool: Sets, settings: How, named: int | None = None, whole: bool = False
) -> dict[str, Any]:
    """Return the row of ``window_over_sets``, or ``anchor_over_sets`` of a `named` window.

    A window makes more progress in exposed items than the mean of all sets of as many blocks *and*
    is beaten by few of them (``p_sets``, at most .05). Where none is named,
    half of the pairs choose it, the other half test it, and ``p_sets`` is the chance that the best
    of as many random sets does as well. `whole`: the pool has all sets there are, so that windows
    are among those to beat.
    """
    size, count = len(sets.layers), len(pool.layers)
    progress = pool.progress("exposed")
    rest = np.ones(len(sets.names), dtype=bool)
    if named is None:
        first = half(sets.names, settings.seed, "reset_keep")
        place = int(progress[first][:, :size].mean(axis=(0, 2)).argmax())
        among, drawn_sets, rest = np.ones(count, dtype=bool), size, ~first
    else:
        place, drawn_sets = named, 1
        among = np.ones(count, dtype=bool) if whole else np.arange(count) >= size
        among[place] = True
    window, others = progress[rest][:, place], progress[rest][:, among]
    estimate = mean(window - others.mean(axis=1), "pairs").estimate()
    chance = best_of(others.mean(axis=(0, 2)), drawn_sets, float(window.mean()))
    compared = int(among.sum())
    smallest = best_of(np.arange(compared), drawn_sets, compared - 1)
    margin, gap = _margin(sets, settings)
    row = judged(estimate, margin, chance, TOO_FEW if smallest > ALPHA else "")
    row |= {"blocks": sets.blocks[place], "gap": gap.value, "p_sets": chance}
    return row | {"smallest": smallest, "sets": compared}


def _margin(sets: Sets, settings: How) -> tuple[float, Estimate]:
    """Return the margin, NaN without a clear gap between the two models, and the gap."""
    gap = sets.distance().estimate()
    return settings.margin_share * abs(gap.value) if gap.clear_of_zero else math.nan, gap
