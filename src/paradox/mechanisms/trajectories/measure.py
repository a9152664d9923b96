"""Step ``trajectories``: where along its layers the residual stream sets memory apart.

Components: steps at the position that predicts the first answer token (``answer``), at the last
token of the prompt before the recall scaffold (``prompt``, where that is another one), their mean
over the question's tokens (``question``), and those of a fitted equation at the answer position,
from the states before each block (``flow``) and on its own path (``flow_path``). Claim: 2601.11061.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.arms import with_arm
from paradox.errors import DataError
from paradox.files import read_table, write_table
from paradox.mechanisms.tables import words
from paradox.mechanisms.tables.pairs import Pairs
from paradox.mechanisms.trajectories import flow, published_flow
from paradox.mechanisms.trajectories.motions import (
    Motion,
    in_place,
    model_free,
    of_flow,
    positions,
    read_states,
    scaled,
)
from paradox.progress import Progress
from paradox.provenance.manifest import read_manifest
from paradox.stats.bootstrap import Resampling
from paradox.stats.peaks import half
from paradox.stats.separation import (
    detections,
    false_positives,
    kernel,
    null,
    pseudo_values,
    squared,
)
from paradox.tasks.api import ITEM_COLUMNS

Array = NDArray[np.float64]
RATE_PERMUTATIONS = 99  # behind each p-value that is counted only
LEAST = 8  # pairs that count: halves of halves (of items, of fits) still have two
PUBLISHED = ["variant", "fit", "layer", "force", "auc", "auc_low", "auc_high"]


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Follow the items of an arm's last checkpoint through its layers.

    ``pairs`` has a row per component, state, set of pairs, pair and layer, ``value`` its
    pseudo-value of the squared force (`paradox.stats.separation`); ``null`` the squared force of
    relabelled pairs that count; ``fits`` a row per model (``flow`` with layers as they are and
    shuffled; ``published`` and its nulls), fit and block. State ``change`` is the force between the
    changes of the steps since the untrained base; flows of two models are in different coordinates
    and have none.

    A `DataError` is raised when exposed items have no twins of their own, or pairs are too few.
    """
    items = read_table(inputs["items"], ITEM_COLUMNS)
    pairs = Pairs(items, spec["exposed_from"])
    settings = spec["trajectories"]
    if len(pairs.counted) < LEAST:
        raise DataError(
            f"key exposed_from: {len(pairs.counted)} pairs have {spec['exposed_from']} exposures "
            f"or more; {LEAST} are needed to cut them into halves."
        )
    trained = spec["arm"]["method"] != "base"
    states = read_states(spec, inputs["manifest"], items, pairs)
    before = read_states(spec, inputs["base"], items, pairs) if trained else None
    progress("parts", 1, 4, "states")
    motions = list(model_free(states, before))
    joint = np.concatenate([scaled(states[name]) for name in positions(states)], axis=-1)
    fitted = {
        order: flow.fit(
            joint,
            pairs.names,
            flow.How(**settings["flow"]),
            spec["seed"],
            shuffled=order == words.REORDERED,
            first=states[words.ANSWER].shape[-1],
            strata=2 * pairs.counts + selected(pairs, spec["seed"]),
        )
        for order in (words.ORDERED, words.REORDERED)
    }
    motions += of_flow(fitted[words.ORDERED], words.AFTER if trained else words.BASE)
    progress("parts", 2, 4, "flow")
    published = _published(states[words.TEXT][:, pairs.counts], spec)
    progress("parts", 3, 4, "published construction")
    tables = {
        "pairs": pd.concat([pair_rows(motion, pairs, spec["seed"]) for motion in motions]),
        "null": pd.concat([null_rows(motion, pairs, spec) for motion in motions]),
        "fits": pd.concat(
            [
                *(fit_rows(fits, pairs, order) for order, fits in fitted.items()),
                *([published_rows(published)] if published else []),
            ]
        ),
        "rates": rates(motions, pairs, spec),
    }
    step = max(read_manifest(inputs["manifest"]).steps)
    for name, whole in tables.items():
        write_table(outputs[name], with_arm(whole, spec["arm"], step=step))
    progress("parts", 4, 4)


# --- tables -------------------------------------------------------------------------------


def sets(motion: Motion, pairs: Pairs, seed: int) -> dict[str, NDArray[np.bool_]]:
    """Return the sets of pairs that have a force of their own: halves and exposures, too."""
    counts, first = pairs.counts, selected(pairs, seed)
    by_name = {words.COUNTED: counts, words.SELECTION: first, words.TEST: counts & ~first}
    exposures = sorted(set(pairs.exposures[pd.notna(pairs.exposures)]))
    by_name |= {str(int(times)): pairs.exposures == times for times in exposures}
    return {name: rows for name, rows in by_name.items() if motion.enough(rows)}


def selected(pairs: Pairs, seed: int) -> NDArray[np.bool_]:
    """Return the half of the pairs that count by which a block is selected."""
    chosen = np.zeros(len(pairs.names), dtype=bool)
    chosen[pairs.counts] = half(pairs.counted, "trajectories", seed)
    return chosen


def pair_rows(motion: Motion, pairs: Pairs, seed: int) -> pd.DataFrame:
    """Return the pseudo-values of single pairs."""
    tables = []
    for name, rows in sets(motion, pairs, seed).items():
        values = pseudo_values(kernel(motion.parts, rows))
        places = np.flatnonzero(rows)
        layers = values.shape[1]
        columns = {
            "component": motion.component,
            "state": motion.state,
            "set": name,
            "pair": np.repeat([pairs.names[n] for n in places], layers),
            "exposure": np.repeat(pairs.exposures[places], layers),
            "layer": np.tile(np.arange(layers), len(places)),
            "value": values.ravel(),
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def null_rows(motion: Motion, pairs: Pairs, spec: dict[str, Any]) -> pd.DataFrame:
    """Return the squared force of relabelled pairs; the draws are the same in all arms."""
    products = kernel(motion.parts, pairs.counts)
    permutations = spec["trajectories"]["permutations"]
    drawn, exact = null(products, permutations, "trajectories", spec["seed"])
    return pd.DataFrame(
        {
            "component": motion.component,
            "state": motion.state,
            "draw": np.repeat(np.arange(len(drawn)), drawn.shape[1]),
            "layer": np.tile(np.arange(drawn.shape[1]), len(drawn)),
            "value": drawn.ravel(),
            "exact": exact,
        }
    )


def fit_rows(fits: flow.Fits, pairs: Pairs, order: str) -> pd.DataFrame:
    """Return how well each fit describes held-out pairs, and its forces beside the data's."""
    motions = {"force": fits.moved, "force_path": fits.moved_from_start, "force_data": fits.data}
    forces = {
        name: np.array([squared(kernel([part], pairs.counts)) for part in in_place(of, fits.held)])
        for name, of in motions.items()
    }
    number, blocks = fits.multi_step.shape
    columns = {
        "model": words.FLOW,
        "variant": order,
        "fit": np.repeat(np.arange(number), blocks),
        "layer": np.tile(np.arange(blocks), number),
        "before": fits.order[:, :-1].ravel() - 1,
        "after": fits.order[:, 1:].ravel() - 1,
    }
    shown = ("multi_step", "one_block", "time_only", "kept")
    columns |= {name: getattr(fits, name).ravel() for name in shown}
    return pd.DataFrame(columns | {name: of.ravel() for name, of in forces.items()})


def _published(states: Array, spec: dict[str, Any]) -> dict[str, published_flow.Found]:
    """Return what the published construction finds; nothing for seeds it is not done for."""
    settings = dict(spec["trajectories"]["published"])
    if spec["arm"]["seed"] >= settings.pop("seeds"):
        return {}
    resampling = Resampling(spec["seed"], spec["resamples"])
    return published_flow.published(
        states, published_flow.How(**settings), resampling, spec["seed"]
    )


def published_rows(by_variant: dict[str, published_flow.Found]) -> pd.DataFrame:
    """Return the forces of the published construction; time 0 is layer -1, the embedding."""
    rows = []
    for variant, fits in by_variant.items():
        for fit, force in enumerate(fits.force):
            area = (fits.auc, fits.low, fits.high)
            rows += [(variant, fit, time - 1, value, *area) for time, value in enumerate(force)]
    return pd.DataFrame(rows, columns=PUBLISHED).assign(model=words.PUBLISHED_FLOW)


def rates(motions: list[Motion], pairs: Pairs, spec: dict[str, Any]) -> pd.DataFrame:
    """Return how often the test rejects with permuted labels, and with fewer pairs.

    Power is that of the steps of untrained bases, not of their flows: fits have halves of the
    pairs each.
    """
    settings = spec["trajectories"]
    runs, rows = settings["relabellings"], []
    for motion in motions:
        key = (spec["seed"], *spec["arm"].values(), motion.component, motion.state)
        products = kernel(motion.parts, pairs.counts)
        row = {"component": motion.component, "measure": "force", "state": motion.state}
        null_of = row | {"kind": "false_positive", "exposure": None, "pairs": len(pairs.counted)}
        hits = false_positives(products, RATE_PERMUTATIONS, runs, *key)
        rows.append(null_of | {"runs": runs, "rejected": hits})
        if motion.state != words.BASE or len(motion.parts) > 1:
            continue
        for exposure in settings["exposures"]:
            inside = pairs.exposures == exposure
            if not motion.enough(inside):
                continue
            products = kernel(motion.parts, inside)
            for size in (size for size in settings["sizes"] if size < int(inside.sum())):
                runs_of = settings["draws"], *key, int(exposure)
                hits = detections(products, size, RATE_PERMUTATIONS, *runs_of)
                counts = {"pairs": size, "runs": settings["draws"], "rejected": hits}
                rows.append(row | {"kind": "power", "exposure": exposure} | counts)
    return pd.DataFrame(rows)
