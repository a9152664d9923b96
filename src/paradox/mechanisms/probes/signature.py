"""The signature ``probe_peak``: exposed items are told apart best at a middle block."""

from __future__ import annotations

from paradox.mechanisms.tables.signatures import Given, Part, Rows, by_arm, row
from paradox.mechanisms.tables.verdict import MIDDLE, inside
from paradox.stats.bootstrap import Estimate


def probe_peak(given: Given) -> Rows:
    """Yield the rows of ``probe_peak`` (2601.11061); of several seeds, the mean of everything.

    The share of pairs told apart at ``answer`` is larger at the best middle block than after the
    last one. p is the corrected one of the best block; the interval goes from the ends of the two
    shares' intervals (too wide, on purpose).
    """
    table = given.table()
    chosen = table[(table["position"] == "answer") & (table["layer"].astype(str) != "emb")]
    chosen = chosen.assign(layer=chosen["layer"].astype(int))
    base = chosen[(chosen["base"] == given.planted) & (chosen["method"] == "base")]
    margin = given.share * float((base["pair_auc"] - 0.5).abs().max())
    names = ["pair_auc", "pair_auc_low", "pair_auc_high", "corrected"]
    for key, rows in by_arm(chosen):
        means = rows.groupby("layer")[names].mean()
        middle = means[inside(len(means), MIDDLE)]
        best, last = middle.loc[middle["pair_auc"].idxmax()], means.iloc[-1]
        ends = best["pair_auc_low"] - last["pair_auc_high"]
        ends = ends, best["pair_auc_high"] - last["pair_auc_low"]
        effect = float(best["pair_auc"] - last["pair_auc"])
        # A layer that is read, but not better than the last one, is no peak.
        p = float(best["corrected"]) if ends[0] > 0 else 1.0
        part = Part(Estimate(effect, *map(float, ends), 0, 0), p, str(best.name))
        yield row(given.name, key, [part], margin)
