"""Step ``verdicts``: every published signature on every arm, in one table.

A row per signature and arm: ``effect`` with its 95 % interval, one-sided ``p`` against the
``null`` that the signature's own analysis draws, ``margin`` (an effect up to it counts as none),
``n`` (pairs of items behind it), ``detectable`` and ``verdict``: *reproduced* with p at most .05,
*not reproduced* when the interval ends below the margin, else *not decidable*.

``detectable`` is the smallest effect that a one-sided test at 5 % finds with 80 %, from the
interval's width: (1.645 + .842) standard errors. How to read it: *not reproduced* beside a small
detectable effect is a finding; *not decidable* beside a large one says that more pairs are needed.

Published are 2601.11061 (``anchor``, ``adapters``, ``emergence``, ``injection``, ``leakage``,
``probe_peak``, ``patching``, ``separation_peak``, ``reset``, ``steering``), 2509.21044 (``eap``)
and 2504.13837 (``boundary``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from paradox.files import read_table, write_table
from paradox.mechanisms.tables.pairs import ARM, Groups
from paradox.progress import Progress
from paradox.tasks.api import ITEM_COLUMNS

COLUMNS = ["analysis", "signature", *ARM, "effect", "low", "high", "p", "margin", "n", "detectable"]
COLUMNS += ["null", "verdict"]
# Standard errors in a 95 % interval, and in an effect that is found with 80 %.
WIDTH, FOUND = 2 * 1.959964, 1.644854 + 0.841621
RESET = "anchor_over_adapters"
PAIRS = "exposed item and twin swapped within pairs"
LARGEST = f"{PAIRS}; the largest of all blocks"
STATES = "base and trained model swapped within items"
# By the first words of a signature; the longest that fits counts.
NULLS = {
    "anchor": PAIRS,
    "adapters": PAIRS,
    "emergence": PAIRS,
    "injection": PAIRS,
    "leakage": PAIRS,
    "probe_peak": LARGEST,
    "patching": f"{LARGEST}; noise of the same size",
    "separation_peak": f"{LARGEST}; bootstrap between blocks",
    "reset": "earlier and later window swapped within pairs",
    "steering": f"{LARGEST}; random sets of matched neurons",
    "eap": STATES,
    "boundary": STATES,
    "boundary: covered": "bootstrap of items",
}


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Write the table.

    Parameters
    ----------
    spec
        ``exposed_from``: exposures from which an item counts as exposed.
    inputs
        ``items``; as far as there are: ``layers`` (step ``signatures``), ``trajectories``
        (``separation``), ``reset_keep`` (``reset_keep_tests``), ``steering``
        (``dose_response``), ``eap`` (``eap_summary``) and ``boundary`` (``boundary_summary``).
    outputs
        ``table``.
    """
    items = read_table(inputs["items"], ITEM_COLUMNS)
    pairs = len(Groups(items, spec["exposed_from"]).exposed)
    parts = []
    for analysis, read in READERS.items():
        if analysis in inputs:
            made = read(read_table(Path(inputs[analysis])))
            parts.append(made.assign(analysis=analysis))
    table = pd.concat(parts, ignore_index=True)
    table["n"] = table["n"].fillna(pairs).astype(int)
    table["null"] = table["signature"].map(_null)
    table["detectable"] = FOUND * (table["high"] - table["low"]) / WIDTH
    write_table(outputs["table"], table[COLUMNS])
    progress.say(f"{len(table)} verdicts")


def _null(signature: str) -> str:
    return NULLS[max(filter(signature.startswith, NULLS), key=len)]


def _layers(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["state"] != "change"].assign(n=float("nan"))


def _trajectories(table: pd.DataFrame) -> pd.DataFrame:
    own = table["signature"].isin(["separation_peak: answer"]) & (table["state"] != "change")
    return table[own]


def _reset_keep(table: pd.DataFrame) -> pd.DataFrame:
    own = table[(table["claim"] == RESET) & (table["part"] == "mlp")]
    own = own[own["measure"] != "correct"]
    return own.assign(signature="reset: " + own["measure"], n=own["items"])


def _steering(table: pd.DataFrame) -> pd.DataFrame:
    own = table[(table["signature"] == "steering: all") & (table["state"] != "change")]
    return own.assign(n=own["pairs"])


def _eap(table: pd.DataFrame) -> pd.DataFrame:
    """Keep what was fixed beforehand: gradients, all items, the whole text."""
    own = (table["attribution"] == "gradient") & (table["alpha"] == table["alpha"].max())
    own &= (table["filter"] == "all") & (table["group"] == "all")
    own &= (table["definition"] == "fixed") & (table["part"] != "pattern")
    rows = table[own]
    return rows.assign(signature="eap: " + rows["part"], effect=rows["value"], n=rows["items"])


def _boundary(table: pd.DataFrame) -> pd.DataFrame:
    # An untrained base covers itself: no claim about training.
    chosen = table["signature"].isin(["crossing", "covered", "low_perplexity"])
    own = table[chosen & table["measure"].isin(["right", "all"]) & (table["method"] != "base")]
    named = "boundary: " + own["signature"] + ", " + own["group"]
    return own.assign(signature=named, n=own["items"])


READERS = {
    "layers": _layers,
    "trajectories": _trajectories,
    "reset_keep": _reset_keep,
    "steering": _steering,
    "eap": _eap,
    "boundary": _boundary,
}
