"""Step ``dose_response``: whether recall can be steered both ways, over all arms.

``doses``: as step ``by_layer``, with alpha (``dose``) and ``exposure``: ``counted`` (`exposed_from`
or more) or one exposure. Of an item's whole curve: ``trend`` (rank correlation of log odds and
alpha), ``rise`` (by isotonic fits, log odds), ``monotone`` and ``switched``. Random sets on the
same pairs: ``own`` of the chosen neurons, ``random``, ``random_low``, ``random_high`` (mean and
middle 95 % of sets), ``p_sets`` and ``corrected_sets``, two-sided.

``tests``: claims about some block, lower end and ``p`` corrected for their number, each against
twins or zero (items crossed with replicates) *and* random sets (``_p_sets``, the rank among them):
``steering``, the largest null dose raises the log odds of exposed items more than those of twins,
the smallest lowers them more; ``steering_accuracy``, the same of exposed items' accuracy;
``steering_dose`` and ``steering_switch``, more exposed items than twins are ``monotone``,
``switched``. ``steering_clean``: at the block of ``steering``, no null dose changes how many of the
twins' chains are worked out by more than `margin_share` of all; effect is what is left of that.

``side``: the mean change of the log-probability per token of twins' worked chains and of documents,
and ``specificity``: the change of exposed items' recall (nats) over it, empty where the interval of
what is divided by holds zero. ``rates``: as in step ``error_rates``, of ``intersection`` (both
sides of ``steering`` against twins) and ``trend``.
"""

from __future__ import annotations

import math
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
from paradox.mechanisms.tables.verdict import (
    ALPHA,
    CEILING,
    FLOOR,
    REPRODUCED,
    TOO_FEW,
    among,
    best,
    judged,
    spared,
    worst,
)
from paradox.mechanisms.tables.words import CHOSEN, COUNTED
from paradox.progress import Progress
from paradox.stats.crossed import Number, mean
from paradox.stats.doses import rise, trend
from paradox.stats.layers import LayerTest, max_test
from paradox.stats.rates import largest_layer
from paradox.tasks.api import ITEM_COLUMNS

CHANGES = ("odds_change", "logp_change", "correct_change")
WHOLE = ("trend", "rise", "monotone", "switched")
NOT_STEERED = "recall itself is not shown to be steered"


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
    side = _all(inputs["side"])
    write_table(outputs["tests"], pd.DataFrame(list(steered.tests(tables, whole, sets, side))))
    write_table(outputs["side"], steered.side(side, tables))
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


class Side(NamedTuple):
    """One number per block that a claim says is above 0."""

    number: Number  # its value has the shape (blocks,)
    sets: LayerTest  # against random sets
    margin: float
    unable: str = ""  # why it could not be decided, whatever the data


class Steered:
    """Tests over all arms on the tested items."""

    def __init__(self, items: pd.DataFrame, spec: dict[str, Any]) -> None:
        self.items, self.spec = items, spec
        self.groups = Groups(items, spec["exposed_from"])
        self.names = [*self.groups.exposed, *self.groups.twin]
        self.split = len(self.groups.exposed)
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
        rows = contrasts(
            tables, measures, groups, self.spec["bootstrap"]["seed"], self.spec["permutations"]
        )
        split = [parts(f"{name}:nan" if ":" not in name else name) for name in rows["component"]]
        rows["component"] = [where for where, _ in split]
        rows.insert(rows.columns.get_loc("measure") + 1, "dose", [dose for _, dose in split])
        rows.insert(rows.columns.get_loc("dose") + 1, "exposure", exposure)
        return rows

    # --- the claims -----------------------------------------------------------------------

    def tests(
        self,
        tables: list[pd.DataFrame],
        whole: list[pd.DataFrame],
        sets: pd.DataFrame,
        side: pd.DataFrame,
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows of ``tests``."""
        share = self.spec["margin_share"]
        planted = (self.spec["bases"]["planted"], "base", "none")
        plain = {curve.arm: curve for curve in self._of(tables, "all:1", "odds")}[planted]
        gap = self._apart(plain)[0].estimate()
        margin = share * gap.value if gap.low > 0 else math.nan
        for where in sorted(set(sets["component"])):
            for name, arm, state, sides in (
                *self._both_ways(tables, sets, where, margin),
                *self._accuracy(tables, sets, where, share),
                *self._modes(tables, whole, sets, where, share),
            ):
                key = dict(zip([*ARM, "state"], (*arm, state), strict=True))
                row = at_some_block(sides, plain.layers)
                yield {"signature": f"{name}: {where}", "component": where, **key, **row}
                if (name, where) == ("steering", "all"):
                    chains = _chains(side, arm, int(row["blocks"]))
                    if len(chains):
                        unable = "" if row["verdict"] == REPRODUCED else NOT_STEERED
                        same = unchanged(chains, self.ends, share, unable)
                        key |= {"blocks": row["blocks"]}
                        named = {"signature": f"steering_clean: {where}", "component": where}
                        yield {**named, **key, **same}

    def _both_ways(
        self, tables: list[pd.DataFrame], sets: pd.DataFrame, where: str, margin: float
    ) -> Iterator[tuple[str, tuple[str, ...], str, dict[str, Side]]]:
        ends = [self._of(tables, f"{where}:{dose:g}", "odds_change") for dose in self.ends]
        for up, down in zip(*ends, strict=True):
            means = _means(sets, up.arm, where, "odds")["difference"]
            more, less = (_against(means.xs(dose, level="dose"), up=dose > 1) for dose in self.ends)
            sides = {"up": Side(self._apart(up), more, margin)}
            sides["down"] = Side(self._apart(down) * -1, less, margin)
            yield "steering", up.arm, up.state, sides

    def _accuracy(
        self, tables: list[pd.DataFrame], sets: pd.DataFrame, where: str, share: float
    ) -> Iterator[tuple[str, tuple[str, ...], str, dict[str, Side]]]:
        """Yield sides in the accuracy of exposed items; none can rise that is right anyway."""
        ends = [self._of(tables, f"{where}:{dose:g}", "correct_change") for dose in self.ends]
        usual = self._right(tables, where)
        for up, down in zip(*ends, strict=True):
            means = _means(sets, up.arm, where, "correct")["exposed"]
            more, less = (_against(means.xs(dose, level="dose"), up=dose > 1) for dose in self.ends)
            right = usual[up.arm]
            full, empty = (CEILING if 1 - right <= share else ""), (FLOOR if right <= share else "")
            sides = {"up": Side(self._exposed(up), more, share * (1 - right), full)}
            sides["down"] = Side(self._exposed(down) * -1, less, share * right, empty)
            yield "steering_accuracy", up.arm, up.state, sides

    def _modes(
        self,
        tables: list[pd.DataFrame],
        whole: list[pd.DataFrame],
        sets: pd.DataFrame,
        where: str,
        share: float,
    ) -> Iterator[tuple[str, tuple[str, ...], str, dict[str, Side]]]:
        """Yield how many more exposed items than twins follow the dose, and are switched on."""
        usual = self._right(tables, where)
        for name, measure in (("steering_dose", "monotone"), ("steering_switch", "switched")):
            for curve in self._of(whole, where, measure):
                means = _means(sets, curve.arm, where, measure)["difference"]
                # Only what is wrong can be switched on.
                room = 1.0 if measure == "monotone" else 1 - usual[curve.arm]
                unable = CEILING if room <= share else ""
                against = _against(means.droplevel("dose"), up=True)
                side = Side(self._apart(curve), against, share * room, unable)
                yield name, curve.arm, curve.state, {"share": side}

    def _of(self, tables: list[pd.DataFrame], component: str, measure: str) -> list[Curve]:
        of_component = [table[table["component"] == component] for table in tables]
        by_arm = curves(of_component, measure, self.names)
        return [curve for curve in by_arm if curve.state != "change"]

    def _right(self, tables: list[pd.DataFrame], where: str) -> dict[tuple[str, ...], float]:
        """Return the share of exposed items that an arm has right as it is."""
        usual = self._of(tables, f"{where}:1", "correct")
        return {curve.arm: float(curve.values[: self.split].mean()) for curve in usual}

    def _exposed(self, curve: Curve) -> Number:
        """Return means of exposed items, over blocks."""
        return mean(curve.values[: self.split].swapaxes(1, 2), "pairs")

    def _apart(self, curve: Curve) -> Number:
        """Return exposed items minus twins, over blocks."""
        apart = curve.values[: self.split] - curve.values[self.split :]
        return mean(apart.swapaxes(1, 2), "pairs")

    # --- side effects ---------------------------------------------------------------------

    def side(self, side: pd.DataFrame, tables: list[pd.DataFrame]) -> pd.DataFrame:
        """Return the rows of ``side``."""
        usual = side[(side["dose"] == 1) & (side["set"] == CHOSEN)]
        keys = [*ARM, "seed", "what", "layer", "item"]
        side = side.merge(usual[[*keys, "logp"]], on=keys, suffixes=("", "_usual"))
        side["change"] = side["logp"] - side["logp_usual"]
        side["neurons"] = np.where(side["set"] == CHOSEN, "chosen", "random")
        side = side[side["dose"] != 1]
        rows = []
        for (*arm, what, neurons, dose), rows_of_dose in side.groupby(
            [*ARM, "what", "neurons", "dose"]
        ):
            wide = rows_of_dose.groupby(["item", "seed", "layer"])["change"].mean()
            shape = [len(level) for level in wide.index.levels]
            other = mean(wide.to_numpy().reshape(shape), what)
            ratio = None
            if neurons == "chosen":
                (curve,) = (
                    curve
                    for curve in self._of(tables, f"all:{dose:g}", "logp_change")
                    if curve.arm == tuple(arm)
                )
                ratio = self._exposed(curve) / other
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
            count(two, both_above, pairs, self.spec),
            count(trends, largest_layer(permutations), pairs, self.spec),
        ]
        return rates(pd.concat(counted, ignore_index=True))


def both_above(samples: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Test that two numbers are both above 0 at some layer, corrected for the number of layers.

    `samples`: shape (runs, pairs, 2, layers), the first number's layers first.
    """
    apart = samples[:, :, 0] - samples[:, :, 1]
    p = np.array([mean(sample[:, None]).above() for sample in apart])
    halves = np.maximum(*np.split(2 * p, 2, axis=1))
    return halves.min(axis=1) * halves.shape[1] <= ALPHA


# --- claims -------------------------------------------------------------------------------


def at_some_block(sides: dict[str, Side], layers: list[int]) -> dict[str, Any]:
    """Return the row of a claim that all sides are above 0 at one and the same block.

    A block is as good as its worst side; the claim holds where it does at some block, lower end and
    p corrected for their number, and is not reproduced where it is so at every block.
    """
    rows = []
    estimates = {name: side.number.estimates() for name, side in sides.items()}
    for place, layer in enumerate(layers):
        parts, row = [], {}
        for name, side in sides.items():
            one, p_sets = estimates[name][place], float(side.sets.corrected[place])
            few = TOO_FEW if 1 / side.sets.relabellings > ALPHA else ""
            parts.append(judged(among(one, len(layers)), side.margin, p_sets, side.unable or few))
            row |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
            row |= {f"{name}_p": one.p, f"{name}_p_sets": p_sets}
        rows.append({"blocks": str(layer), **worst(parts), **row})
    return best(rows)


def unchanged(
    chains: pd.DataFrame, doses: tuple[float, float], margin: float, unable: str
) -> dict[str, Any]:
    """Return the row of a claim that doses change a share by less than a margin, either way.

    An equivalence: what has to be above 0 is the margin minus the change and the margin plus it, at
    each dose. What is never right cannot be lost. Where nothing changed, the interval is exact.

    `chains`: ``correct`` by item (rows), dose and seed (columns).
    """
    usual = chains[1.0].to_numpy(float)
    unable = unable or (FLOOR if usual.mean() <= margin else "")
    parts = []
    for dose in doses:
        change = chains[dose].to_numpy(float) - usual
        left = [(mean(change, "chains") * sign + margin).estimate() for sign in (-1.0, 1.0)]
        left = left if np.ptp(change) else [spared(*change.shape, margin, bool(change.any()))]
        parts += [judged(one, 0.0, unable=unable) for one in left]
    return worst(parts)


def _chains(side: pd.DataFrame, arm: tuple[str, ...], block: int) -> pd.DataFrame:
    """Return whether chains are worked out with the chosen neurons of a block scaled."""
    rows = (side["what"] == "chain") & (side["set"] == CHOSEN) & (side["layer"] == block)
    for name, value in zip(ARM, arm, strict=True):
        rows &= side[name] == value
    return side[rows].pivot(index="item", columns=["dose", "seed"], values="correct")


# --- beside random sets -------------------------------------------------------------------


def _means(sets: pd.DataFrame, arm: tuple[str, ...], where: str, measure: str) -> pd.DataFrame:
    """Return the means over seeds, by dose, set and layer."""
    chosen = sets[(sets["component"] == where) & (sets["measure"] == measure)]
    for name, value in zip(ARM, arm, strict=True):
        chosen = chosen[chosen[name] == value]
    means = chosen.groupby(["dose", "set", "layer"], dropna=False)[["exposed", "twin"]].mean()
    return means.assign(difference=means["exposed"] - means["twin"])


def _against(means: pd.Series, up: bool) -> LayerTest:
    """Return where the chosen set is among random ones.

    `means`: by set and layer; `up`: whether large values count, or small ones.
    """
    values = (means if up else -means).unstack("layer")
    return max_test(values.loc[CHOSEN], values.drop(CHOSEN).to_numpy(), two_sided=False)


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


def _side_rows(
    key: dict[str, Any], other: Number, ratio: Number | None
) -> Iterator[dict[str, Any]]:
    shares = ratio.estimates() if ratio else None
    for layer, one in enumerate(other.estimates()):
        row = key | {"layer": layer, "value": one.value, "low": one.low, "high": one.high}
        row |= dict.fromkeys(("specificity", "specificity_low", "specificity_high"), np.nan)
        if shares and one.clear_of_zero:
            share = shares[layer]
            row |= {"specificity": share.value}
            row |= {"specificity_low": share.low, "specificity_high": share.high}
        yield row
