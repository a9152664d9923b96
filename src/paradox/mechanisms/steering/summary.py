"""Step ``dose_response``: whether recall can be steered both ways, over all arms.

``doses``: as step ``by_layer``, with alpha (``dose``) and ``exposure``: ``counted`` (`exposed_from`
or more) or one exposure. Of an item's whole curve: ``trend`` (rank correlation of log odds and
alpha), ``rise`` (by isotonic fits, log odds), ``monotone`` and ``switched``. Random sets on the
same pairs: ``own`` of the chosen neurons, ``random``, ``random_low``, ``random_high`` (mean and
middle 95 % of sets), ``p_sets`` and ``corrected_sets``, two-sided.

``tests``: at one block four one-sided tests, each corrected for all blocks: the largest null dose
raises the log odds of exposed items more than those of twins, the smallest lowers them more, and
both by more than random sets do. p is the largest of the four at the best block; effect and
interval are the smaller side's; the margin is `margin_share` of the untrained planted base's gap.

``side``: the mean change of the log-probability per token of twins' worked chains and of documents,
and ``specificity``: the change of exposed items' recall (nats) over it, empty where the interval of
what is divided by holds zero. ``rates``: as in step ``error_rates``, of ``intersection`` (the first
two of the four) and ``trend``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paradox.files import read_table, write_table
from paradox.mechanisms.tables.by_layer import Curve, contrasts, curves
from paradox.mechanisms.tables.pairs import ARM, KEYS, Array, Groups, Pairs
from paradox.mechanisms.tables.rates import ALL, Sides, count, rates
from paradox.mechanisms.tables.verdict import verdict
from paradox.mechanisms.tables.words import CHOSEN, COUNTED
from paradox.progress import Progress
from paradox.stats.bootstrap import Estimate, Resampling, mean
from paradox.stats.doses import rise, trend
from paradox.stats.layers import LayerTest, flips, label_test, max_test
from paradox.stats.rates import ALPHA, Test, largest_layer
from paradox.stats.ratios import Drawn, drawn
from paradox.tasks.api import ITEM_COLUMNS

CHANGES = ("odds_change", "logp_change", "correct_change")
WHOLE = ("trend", "rise", "monotone", "switched")
SIDES = ("up", "down")


def main(
    spec: dict[str, Any], inputs: dict[str, Any], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write the tables of all arms.

    ``spec``: ``exposed_from``, ``bootstrap``, ``permutations``, ``bases`` (names of the ``planted``
    base and, or null, of the ``clean`` one), ``margin_share``, ``null_doses`` and ``error_rates``.
    ``inputs``: ``items``, and ``tables``, ``sets`` and ``side`` of step ``steering``, one per arm
    and seed, the untrained bases among them. ``outputs``: ``doses``, ``tests``, ``side`` and
    ``rates``.
    """
    tables = [read_table(Path(path), [*KEYS, *CHANGES]) for path in inputs["tables"]]
    sets = _all(inputs["sets"])
    tested = set(tables[0]["item"])
    items = read_table(inputs["items"], ITEM_COLUMNS)
    items = items[items["item"].isin(tested)]
    steered = Steered(items, spec)
    whole = [whole_curves(table, spec["null_doses"]) for table in tables]
    progress("tables", 1, 4)
    doses = pd.concat(steered.by_dose(tables, whole), ignore_index=True)
    write_table(outputs["doses"], beside_sets(doses, sets))
    progress("tables", 2, 4)
    write_table(outputs["tests"], pd.DataFrame(list(steered.tests(tables, sets))))
    write_table(outputs["side"], steered.side(_all(inputs["side"]), tables))
    progress("tables", 3, 4)
    write_table(outputs["rates"], steered.rates(tables, whole))
    progress("tables", 4, 4)


def _all(paths: list[Any]) -> pd.DataFrame:
    return pd.concat([read_table(Path(path)) for path in paths], ignore_index=True)


def parts(component: str) -> tuple[str, float]:
    """Return positions and alpha of a component of step ``steering``.

    >>> parts("all:0.2")
    ('all', 0.2)
    """
    where, _, dose = component.partition(":")
    return where, float(dose)


def whole_curves(table: pd.DataFrame, null_doses: list[float]) -> pd.DataFrame:
    """Return one row per item, layer and positions, with the measures `WHOLE`."""
    where, dose = zip(*map(parts, table["component"]), strict=True)
    index = [name for name in KEYS if name != "component"]
    wide = table.assign(component=where, dose=dose).pivot(
        index=[*index, "component"], columns="dose", values=["odds", "correct"]
    )
    odds, chosen = wide["odds"], sorted({*null_doses, 1.0})
    right = wide["correct"][chosen].to_numpy(float) > 0
    return pd.DataFrame(
        {
            "trend": trend(odds.to_numpy(float)),
            "rise": rise(odds.to_numpy(float)),
            "monotone": (np.diff(odds[chosen].to_numpy(float), axis=1) > 0).all(axis=1) * 1.0,
            "switched": (right[:, -1] & ~right[:, :-1].any(axis=1)) * 1.0,
        },
        index=wide.index,
    ).reset_index()


class Part(NamedTuple):
    """One side of steering: what it changes per block, and p-values corrected for blocks."""

    cube: Array
    labels: Array
    sets: Array


class Steered:
    """Tests over all arms on the tested items."""

    def __init__(self, items: pd.DataFrame, spec: dict[str, Any]) -> None:
        self.items, self.spec = items, spec
        self.groups = Groups(items, spec["exposed_from"])
        self.resampling = Resampling(spec["bootstrap"]["seed"], spec["bootstrap"]["resamples"])
        self.names = [*self.groups.exposed, *self.groups.twin]
        self.low, self.high = min(spec["null_doses"]), max(spec["null_doses"])
        self.ends = (self.high, self.low)

    def by_dose(
        self, tables: list[pd.DataFrame], whole: list[pd.DataFrame]
    ) -> Iterator[pd.DataFrame]:
        """Yield the rows of ``doses``, without those of random sets."""
        every = [table[~table["component"].str.endswith(":1")] for table in tables]
        yield self._contrasts(every, CHANGES, self.groups, COUNTED)
        yield self._contrasts(whole, WHOLE, self.groups, COUNTED)
        ends = tuple(f":{dose:g}" for dose in (self.low, self.high))
        outer = [table[table["component"].str.endswith(ends)] for table in tables]
        pairs = self.items["pair"].map(self.items.groupby("pair")["exposure"].max())
        for exposure in sorted(pairs.dropna().unique()):
            groups = Groups(self.items[pairs == exposure], 0)
            yield self._contrasts(outer, CHANGES[:1], groups, f"{exposure:g}")

    def _contrasts(
        self, tables: list[pd.DataFrame], measures: tuple[str, ...], groups: Groups, exposure: str
    ) -> pd.DataFrame:
        rows = contrasts(tables, measures, groups, self.resampling, self.spec["permutations"])
        split = [parts(f"{name}:nan" if ":" not in name else name) for name in rows["component"]]
        rows["component"] = [where for where, _ in split]
        rows.insert(rows.columns.get_loc("measure") + 1, "dose", [dose for _, dose in split])
        rows.insert(rows.columns.get_loc("dose") + 1, "exposure", exposure)
        return rows

    # --- the signature --------------------------------------------------------------------

    def tests(self, tables: list[pd.DataFrame], sets: pd.DataFrame) -> Iterator[dict[str, Any]]:
        """Yield the rows of ``tests``."""
        planted = (self.spec["bases"]["planted"], "base", "none")
        plain = {curve.arm: curve for curve in self._of(tables, "all:1", "odds")}[planted]
        split = len(self.groups.exposed)
        gap = plain.values[:split].mean() - plain.values[split:].mean()
        margin = self.spec["margin_share"] * float(gap)
        for where in sorted(set(sets["component"])):
            ends = [self._of(tables, f"{where}:{dose:g}", "odds_change") for dose in self.ends]
            for up, down in zip(*ends, strict=True):
                means = _means(sets, up.arm, where, "odds")
                yield self._signature(where, up, down, means, margin)

    def _of(self, tables: list[pd.DataFrame], component: str, measure: str) -> list[Curve]:
        of_component = [table[table["component"] == component] for table in tables]
        by_arm = curves(of_component, measure, self.names)
        return [curve for curve in by_arm if curve.state != "change"]

    def _signature(
        self, where: str, up: Curve, down: Curve, sets: pd.DataFrame, margin: float
    ) -> dict[str, Any]:
        sides = []
        for cube, dose in ((up.values, self.high), (-down.values, self.low)):
            labels = self._swapped(cube).corrected
            sign = 1 if dose == self.high else -1
            gaps = sign * sets.xs(dose, level="dose")["difference"].unstack("layer")
            drawn_sets = gaps.drop(CHOSEN).to_numpy()
            against = max_test(gaps.loc[CHOSEN], drawn_sets, two_sided=False).corrected
            sides.append(Part(cube, labels, against))
        p = np.max([side for part in sides for side in (part.labels, part.sets)], axis=0)
        split = len(self.groups.exposed)
        estimates = [
            [self._mean(part.cube[:split, n] - part.cube[split:, n]) for part in sides]
            for n in range(len(p))
        ]
        least = [min(two, key=lambda estimate: estimate.value) for two in estimates]
        best = int(np.lexsort([[-one.value for one in least], p])[0])
        row = {"signature": f"steering: {where}"}
        row |= dict(zip([*ARM, "state"], (*up.arm, up.state), strict=True))
        row |= {"blocks": str(up.layers[best]), "effect": least[best].value}
        row |= {"low": least[best].low, "high": least[best].high, "p": float(p[best])}
        for name, part, estimate in zip(SIDES, sides, estimates[best], strict=True):
            row |= {name: estimate.value, f"{name}_low": estimate.low}
            row[f"{name}_high"] = estimate.high
            row[f"{name}_p_labels"] = float(part.labels[best])
            row[f"{name}_p_sets"] = float(part.sets[best])
        row |= {"margin": margin, "pairs": split, "seeds": up.values.shape[2]}
        return row | {"verdict": verdict(row["p"], row["high"], margin)}

    def _swapped(self, cube: Array) -> LayerTest:
        labels = np.arange(len(cube)) < len(self.groups.exposed)
        return label_test(
            cube.mean(axis=2),
            labels,
            self.resampling.seed,
            pairs=(self.groups.pairs or []) * 2,
            permutations=self.spec["permutations"],
            two_sided=False,
        )

    def _mean(self, values: Array) -> Estimate:
        return mean(values, self.resampling, "pairs")

    # --- side effects ---------------------------------------------------------------------

    def side(self, side: pd.DataFrame, tables: list[pd.DataFrame]) -> pd.DataFrame:
        """Return the rows of ``side``."""
        usual = side[(side["dose"] == 1) & (side["set"] == CHOSEN)]
        keys = [*ARM, "seed", "what", "layer", "item"]
        side = side.merge(usual[[*keys, "logp"]], on=keys, suffixes=("", "_usual"))
        side["change"] = side["logp"] - side["logp_usual"]
        side["neurons"] = np.where(side["set"] == CHOSEN, "chosen", "random")
        side = side[side["dose"] != 1]
        exposed = len(self.groups.exposed)
        rows = []
        for (*arm, what, neurons, dose), rows_of_dose in side.groupby(
            [*ARM, "what", "neurons", "dose"]
        ):
            wide = rows_of_dose.groupby(["item", "layer", "seed"])["change"].mean()
            shape = [len(level) for level in wide.index.levels]
            other = drawn(wide.to_numpy().reshape(shape), self.resampling, what)
            ratio = None
            if neurons == "chosen":
                (curve,) = (
                    curve
                    for curve in self._of(tables, f"all:{dose:g}", "logp_change")
                    if curve.arm == tuple(arm)
                )
                ratio = drawn(curve.values[:exposed], self.resampling, "pairs") / other
            key = {**dict(zip(ARM, arm, strict=True)), "what": what, "neurons": neurons}
            rows += _side_rows(key | {"dose": dose, "texts": shape[0]}, other, ratio)
        return pd.DataFrame(rows)

    # --- error rates ----------------------------------------------------------------------

    def rates(self, tables: list[pd.DataFrame], whole: list[pd.DataFrame]) -> pd.DataFrame:
        """Return the rows of ``rates``."""
        pairs = Pairs(self.items, self.spec["exposed_from"])
        permutations = self.spec["error_rates"]["permutations"]

        def sides(curve: Curve, measure: str, values: Array) -> Sides:
            both = pairs.sides(values.mean(axis=2))
            name = ("steering", curve.component.partition(":")[0], measure, *curve.arm, curve.state)
            inside = np.ones(len(pairs.names), dtype=bool)
            return Sides(name, ALL, both, inside, list(range(both.shape[2])))

        two: list[Sides] = []
        where = sorted({name.partition(":")[0] for name in set(tables[0]["component"])})
        for one in where:
            ends = [
                [table[table["component"] == f"{one}:{dose:g}"] for table in tables]
                for dose in self.ends
            ]
            both_ends = (curves(end, "odds_change", pairs.items) for end in ends)
            for up, down in zip(*both_ends, strict=True):
                if up.state != "change":
                    values = np.concatenate([up.values, -down.values], axis=1)
                    two.append(sides(up, "intersection", values))
        trends = [
            sides(curve, "trend", curve.values)
            for curve in curves(whole, "trend", pairs.items)
            if curve.state != "change"
        ]
        counted = [
            count(two, intersection(permutations), pairs, self.spec),
            count(trends, largest_layer(permutations), pairs, self.spec),
        ]
        return rates(pd.concat(counted, ignore_index=True))


def intersection(permutations: int) -> Test:
    """Return the test that two numbers are both above 0 at some layer, by swapping within pairs.

    The first number's layers come first; every p is one-sided and corrected for the layers.
    """

    def test(samples: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
        rejected = []
        for sample in samples:
            apart = sample[:, 0] - sample[:, 1]
            signs, exact = flips(len(apart), permutations, int(rng.integers(2**31)))
            halves = np.split(apart, 2, axis=1)
            p = [
                max_test(one.mean(axis=0), signs @ one / len(one), exact, two_sided=False).corrected
                for one in halves
            ]
            rejected.append(np.max(p, axis=0).min() <= ALPHA)
        return np.array(rejected)

    return test


# --- beside random sets -------------------------------------------------------------------


def _means(sets: pd.DataFrame, arm: tuple[str, ...], where: str, measure: str) -> pd.DataFrame:
    """Return the means over seeds, by dose, set and layer."""
    chosen = sets[(sets["component"] == where) & (sets["measure"] == measure)]
    for name, value in zip(ARM, arm, strict=True):
        chosen = chosen[chosen[name] == value]
    means = chosen.groupby(["dose", "set", "layer"], dropna=False)[["exposed", "twin"]].mean()
    return means.assign(difference=means["exposed"] - means["twin"])


def beside_sets(doses: pd.DataFrame, sets: pd.DataFrame) -> pd.DataFrame:
    """Return the table with what random sets have, where they were tried."""
    names = {name: name.removesuffix("_change") for name in (*CHANGES, *WHOLE)}
    tables = []
    for (*arm, where, measure), rows in doses[
        (doses["state"] != "change") & (doses["exposure"] == COUNTED)
    ].groupby([*ARM, "component", "measure"]):
        means = _means(sets, tuple(arm), where, names[measure])
        key = {**dict(zip(ARM, arm, strict=True)), "component": where, "measure": measure}
        for dose, by_set in means.groupby(level="dose", dropna=False):
            for contrast in sorted(set(rows["contrast"])):
                table = _beside(by_set.droplevel("dose")[contrast].unstack("layer"))
                tables.append(table.assign(**key, dose=dose, contrast=contrast, exposure=COUNTED))
    keys = [*ARM, "component", "measure", "dose", "exposure", "contrast", "layer"]
    random = pd.concat(tables, ignore_index=True)
    changed = doses["state"] == "change"
    whole = doses[~changed].merge(random, on=keys, how="left")
    return pd.concat([whole, doses[changed]], ignore_index=True)


def _beside(values: pd.DataFrame) -> pd.DataFrame:
    """Return where the chosen set lies among the others; `values` by set and layer."""
    drawn_sets = values.drop(CHOSEN).to_numpy()
    test = max_test(values.loc[CHOSEN], drawn_sets)
    low, high = np.quantile(drawn_sets, [0.025, 0.975], axis=0)
    return pd.DataFrame(
        {
            "layer": values.columns,
            "own": test.curve,
            "random": drawn_sets.mean(axis=0),
            "random_low": low,
            "random_high": high,
            "p_sets": test.p,
            "corrected_sets": test.corrected,
        }
    )


def _side_rows(key: dict[str, Any], other: Drawn, ratio: Drawn | None) -> Iterator[dict[str, Any]]:
    low, high = other.interval(0.95)
    ends = ratio.interval(0.95) if ratio else None
    for layer, value in enumerate(other.value):
        row = key | {"layer": layer, "value": value, "low": low[layer], "high": high[layer]}
        row |= dict.fromkeys(("specificity", "specificity_low", "specificity_high"), np.nan)
        if ratio and ends and (low[layer] > 0 or high[layer] < 0):
            row["specificity"] = ratio.value[layer]
            row["specificity_low"], row["specificity_high"] = ends[0][layer], ends[1][layer]
        yield row
